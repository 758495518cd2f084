"""A process after the other is killed at a random moment: `litter.py DATABASE MODEL_PORT COUNT SEED`.

Each is forked from this one, which has everything loaded, and calls a model in a run of its own until it is killed;
eight live at a time. Prints how many were killed, as JSON. A call costs at most a cent.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from random import Random

from chaos.backend import BrokenCall, PlainBackend
from support import PENNY, PRICES, ask

import tokenguard as tg
from tokenguard.backends.scripted import ScriptedBackend
from tokenguard.core.clock import SystemClock
from tokenguard.core.ids import RandomIds
from tokenguard.ledger.sql import SqlLedger

AT_ONCE = 8
LATEST_S = 0.06
"""A call takes some ten milliseconds, so that the kill falls into any part of one of the first."""
CAP = tg.Budget(usd="12", per="total")


def warm(database: str) -> SqlLedger:
    """Books without connections, after a whole call: every module is loaded, every statement compiled."""
    ledger = SqlLedger.open(database, SystemClock(), RandomIds())
    with tg.Guard(ledger=ledger, backend=ScriptedBackend(["warm"]), prices=PRICES, scope="warm", budget=CAP) as guard:
        with guard.run("warm"):
            guard.completion(PENNY, ask(), max_tokens=400)
    return ledger


def live(ledger: SqlLedger, model_port: int, begun: int) -> None:
    """Call until the end, which comes from outside."""
    ledger.dispose(forked=True)
    backend = PlainBackend("127.0.0.1", model_port)
    guard = tg.Guard(ledger=ledger, backend=backend, prices=PRICES, scope="fleet", budget=CAP)
    with guard.run("litter"):
        os.write(begun, b"+")
        while True:
            try:
                guard.completion(PENNY, ask(time.monotonic_ns()), max_tokens=400, num_retries=0)
            except (tg.TokenguardError, BrokenCall):
                time.sleep(0.01)


def fork(ledger: SqlLedger, model_port: int) -> tuple[int, int]:
    """One process: its id, and a pipe on which it says that its run has begun."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            live(ledger, model_port, writing)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(writing)
    return pid, reading


def main(database: str, model_port: int, count: int, seed: int) -> None:
    dice = Random(seed)  # a plan, not a secret
    ledger, ends = warm(database), list[int]()
    for start in range(0, count, AT_ONCE):
        born = [fork(ledger, model_port) for _ in range(min(AT_ONCE, count - start))]
        for _, begun in born:
            os.read(begun, 1)
            os.close(begun)
        moments = sorted((dice.uniform(0, LATEST_S), pid) for pid, _ in born)
        began_s = time.monotonic()
        for at_s, pid in moments:
            time.sleep(max(0.0, began_s + at_s - time.monotonic()))
            os.kill(pid, signal.SIGKILL)
        ends += [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid, _ in born]
    sys.stdout.write(json.dumps({"killed": ends.count(-signal.SIGKILL)}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
