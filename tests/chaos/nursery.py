"""A process that has everything loaded and forks workers: `chaos.nursery KIND DATABASE MODEL_PORT SPOOLS`.

Reads seeds, one a line; for each lets the workers of that round live and prints what they said and how they ended, as
one line of JSON. It has no threads, so that forking is safe.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from support import PENNY, PRICES, ask

import tokenguard as tg
from chaos.plan import Kind, Plan, plan_of
from chaos.worker import live
from tokenguard.backends.scripted import ScriptedBackend
from tokenguard.core.budget import Unit
from tokenguard.core.clock import SystemClock
from tokenguard.core.ids import RandomIds
from tokenguard.errors import LedgerUnavailable
from tokenguard.ledger.sql import SqlLedger
from tokenguard.ledger.tx import Tx

_GRACE_S: Final = 0.5
"""Between the deadline, when workers begin nothing new, and the kill of those that still live."""


@dataclass(eq=False)
class _Child:
    """A process that was forked here; not reaped before the round is over, so that its number stays its own."""

    pid: int
    pipe: int
    said: bytearray = field(default_factory=bytearray)
    alive: bool = True

    def send(self, signal_number: int) -> None:
        if self.alive:
            os.kill(self.pid, signal_number)


class _Round:
    """The processes of one round."""

    def __init__(self, plan: Plan, ledger: SqlLedger, model_port: int, spools: Path) -> None:
        self._plan, self._ledger = plan, ledger
        self._began_s = time.monotonic()
        self._selector = selectors.DefaultSelector()
        model = ("127.0.0.1", model_port)
        mine = spools / str(plan.seed)
        self._workers = [
            self._fork(lambda say, one=one: live(plan, one, ledger, spools=mine, model=model, say=say))
            for one in plan.workers
        ]
        self._children = list(self._workers)
        self._acts = sorted(self._planned(), key=lambda one: one[0])

    def run(self) -> dict[str, Any]:
        """Let them live; what the workers said and how they ended."""
        with self._selector:
            while any(one.alive for one in self._workers):
                while self._acts and self._acts[0][0] <= self._now_s():
                    self._acts.pop(0)[1]()
                wait_s = max(0.0, self._acts[0][0] - self._now_s()) if self._acts else None
                for key, _ in self._selector.select(wait_s):
                    self._listen(key.data)
            for child in self._children[len(self._workers) :]:
                child.send(signal.SIGKILL)
        ends = [os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]) for child in self._children]
        said = [line for child in self._workers for line in child.said.decode().splitlines()]
        return {"said": said, "ends": ends[: len(self._workers)]}

    def _now_s(self) -> float:
        return time.monotonic() - self._began_s

    def _planned(self) -> Iterator[tuple[float, Callable[[], None]]]:
        """What happens to the processes, each with its time."""
        for worker, child in zip(self._plan.workers, self._workers, strict=True):
            if worker.killed_at_s is not None:
                yield worker.killed_at_s, partial(child.send, signal.SIGKILL)
            if worker.stopped is not None:
                at_s, for_s = worker.stopped
                yield at_s, partial(child.send, signal.SIGSTOP)
                yield at_s + for_s, partial(child.send, signal.SIGCONT)
            yield self._plan.deadline_s + _GRACE_S, partial(child.send, signal.SIGKILL)
        if self._plan.hog is not None:
            at_s, for_s = self._plan.hog
            yield at_s, self._let_a_hog_loose
            yield at_s + for_s, lambda: self._children[-1].send(signal.SIGKILL)

    def _let_a_hog_loose(self) -> None:
        self._children.append(self._fork(lambda say: _hog(self._ledger, say)))

    def _fork(self, work: Callable[[Callable[[str], None]], None]) -> _Child:
        """A child that does some work, saying lines, and ends without a goodbye."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                # One write of a short line is whole, also where the process is killed.
                work(lambda line: _whole(writing, line))
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(writing)
        child = _Child(pid, reading)
        self._selector.register(reading, selectors.EVENT_READ, child)
        return child

    def _listen(self, child: _Child) -> None:
        said = os.read(child.pipe, 65_536)
        child.said += said
        if not said:
            child.alive = False
            self._selector.unregister(child.pipe)
            os.close(child.pipe)


def _whole(pipe: int, line: str) -> None:
    os.write(pipe, line.encode())


def _hog(ledger: SqlLedger, say: Callable[[str], None]) -> None:
    """Change every balance in a transaction that never ends."""
    ledger.dispose(forked=True)

    def hold_on(tx: Tx) -> None:
        if not ledger._database.address.is_sqlite:
            tx._driver.execute("SELECT id FROM tg_balance ORDER BY id FOR UPDATE")  # as everybody locks them
        tx._driver.execute("UPDATE tg_balance SET held = held + 1, settled = settled + 1, cap = cap + 1")
        say("holding on\n")
        signal.pause()

    with contextlib.suppress(LedgerUnavailable):  # the database may be away
        ledger._database.transact(hold_on)


def main(kind: Kind, database: str, model_port: int, spools: Path) -> None:
    """Serve rounds until the input ends."""
    ledger = _warm_ledger(database)
    _say("ready")
    for line in sys.stdin:
        _say(json.dumps(_Round(plan_of(int(line), kind), ledger, model_port, spools).run()))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _warm_ledger(database: str) -> SqlLedger:
    """Books without connections, after a whole call: every module is loaded, every statement compiled."""
    ledger = SqlLedger.open(database, SystemClock(), RandomIds())
    budget = tg.Budget(usd=1, per="total")
    # On a path like the workers': statements are compiled for a number of accounts.
    backend = ScriptedBackend(["warm"])
    with tg.Guard(ledger=ledger, backend=backend, prices=PRICES, scope="warm/team", budget=budget) as guard:
        ledger.set_cap("scope:warm", Unit.USD, "total", "UTC", 10**12, by="ada", at=SystemClock().now())
        with guard.run("run", budget=tg.Budget(usd=1, calls=5)), guard.run("agent", budget=tg.Budget(usd=1)):
            guard.completion(PENNY, ask(), max_tokens=400)
    return ledger


if __name__ == "__main__":
    main(cast("Kind", sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
