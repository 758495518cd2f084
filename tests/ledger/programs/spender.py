"""Reserves and settles a cent at a time until the budget says no: `spender.py DATABASE CAP ATTEMPTS [--settle=no]`.

`CAP` is in cents. Prints how many were granted; with `--settle=no` leaves the holds open and prints their ids at once.
"""

from __future__ import annotations

import sys
from datetime import timedelta

from tokenguard.core.account import Amounts, Scope, accounts_on
from tokenguard.core.books import Booking, CallFacts, Hold, Status
from tokenguard.core.budget import Budget
from tokenguard.core.clock import SystemClock
from tokenguard.core.ids import RandomIds
from tokenguard.core.usage import Quality
from tokenguard.core.verdict import Ask, Grant, Reason, Short
from tokenguard.ledger.sql import SqlLedger

CENT = 10**10


def main(database: str, cap_cents: int, attempts: int, *, settles: bool) -> None:
    clock, ids = SystemClock(), RandomIds()
    ledger = SqlLedger.open(database, clock, ids, busy_timeout_s=60)
    outer = Scope("scope:acme", "acme", (Budget(usd=f"{cap_cents / 100:.2f}"),))
    path = (outer, Scope("run:shared", "shared", (Budget(usd="1000"),)))
    ledger.declare(outer, clock.now())
    granted = 0
    for _ in range(attempts):
        at = clock.now()
        facts = CallFacts("call", 1, "chat", "m", "openai", "shared", "shared", "shared", None, "acme")
        keys = tuple(one.key for one in path)
        lease = at + timedelta(minutes=5)
        hold = Hold(ids.new(), at, "owner", lease, accounts_on(path, at), keys, ("shared",), facts)
        verdict = ledger.reserve(hold, Ask(fixed_pico=CENT))
        if isinstance(verdict, Grant):
            granted += 1
            if settles:
                ledger.settle(hold.id, Booking(clock.now(), Status.OK, Quality.REPORTED, Amounts(CENT, 0, 1)))
            else:
                sys.stdout.write(f"{hold.id}\n")
                sys.stdout.flush()
        elif isinstance(verdict, Short) and verdict.reason is not Reason.BUSY:
            break
    if settles:
        sys.stdout.write(f"{granted}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), settles="--settle=no" not in sys.argv)
