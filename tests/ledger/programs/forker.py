"""Forks while the ledger is in use: `forker.py DATABASE busy|closing|inside`. Children pay a cent each.

`busy`: four threads pay all the time while eight children are forked. `closing`: the parent closes before its child has
paid. `inside`: the fork falls into a transaction. Prints the children's exit codes, which an alarm bounds: 0 where the
cent was paid, 2 where the ledger refused.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from datetime import timedelta

from tokenguard.core.account import Amounts, Scope, accounts_on
from tokenguard.core.books import Booking, CallFacts, Hold, Status
from tokenguard.core.budget import Budget
from tokenguard.core.clock import SystemClock
from tokenguard.core.ids import RandomIds
from tokenguard.core.usage import Quality
from tokenguard.core.verdict import Ask
from tokenguard.errors import LedgerUnavailable
from tokenguard.ledger.sql import SqlLedger

CENT = 10**10
CHILDREN = 8
GIVE_UP_S = 30
THREADS = 4

CLOCK, IDS = SystemClock(), RandomIds()
TEAM = Scope("scope:acme", "acme", (Budget(usd="1000"),))


def pay(ledger: SqlLedger) -> None:
    at = CLOCK.now()
    facts = CallFacts("call", 1, "chat", "m", "openai", None, None, None, None, "acme")
    hold = Hold(IDS.new(), at, "owner", at + timedelta(minutes=5), accounts_on((TEAM,), at), (TEAM.key,), (), facts)
    ledger.reserve(hold, Ask(fixed_pico=CENT))
    ledger.settle(hold.id, Booking(CLOCK.now(), Status.OK, Quality.REPORTED, Amounts(CENT, 0, 1)))


def child_that(acts: Callable[[], object]) -> int:
    """The process id of a child that does this."""
    child = os.fork()
    if child == 0:
        signal.alarm(GIVE_UP_S)
        code = 1
        try:
            acts()
            code = 0
        except LedgerUnavailable:
            code = 2
        finally:
            os._exit(code)
    return child


def busy(ledger: SqlLedger) -> list[int]:
    over, warm = threading.Event(), threading.Barrier(THREADS + 1)

    def work() -> None:
        pay(ledger)
        warm.wait()
        while not over.is_set():
            pay(ledger)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    warm.wait()
    children: list[int] = []
    for _ in range(CHILDREN):
        children.append(child_that(lambda: pay(ledger)))
        pay(ledger)
    codes = [code_of(child) for child in children]
    over.set()
    for thread in threads:
        thread.join()
    return codes


def closing(ledger: SqlLedger) -> list[int]:
    was_paid, paid = os.pipe()
    was_closed, closed = os.pipe()

    def pay_twice() -> None:
        pay(ledger)
        os.write(paid, b".")
        os.read(was_closed, 1)
        pay(ledger)

    child = child_that(pay_twice)
    os.read(was_paid, 1)
    ledger.dispose()
    os.write(closed, b".")
    return [code_of(child)]


def inside(ledger: SqlLedger) -> list[int]:
    def work(tx: object) -> int:
        del tx
        return code_of(child_that(lambda: pay(ledger)))

    return [ledger._database.transact(work)]


def code_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(database: str, way: str) -> None:
    ledger = SqlLedger.open(database, CLOCK, IDS)
    ledger.declare(TEAM, CLOCK.now())
    pay(ledger)
    codes = {"busy": busy, "closing": closing, "inside": inside}[way](ledger)
    sys.stdout.write(f"{codes}\n")
    ledger.dispose()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
