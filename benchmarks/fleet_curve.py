"""A fleet on one hot budget, simulated: contention, the size of an allowance, and money that is leased and not used.

    python benchmarks/fleet_curve.py [--minutes 4] [--write]

Two hundred processes call a model at random times under one organisation's budget, whose row only one transaction can
have at a time. What a process leases, when it asks and what the ledger lends are the rules of the package
(`core/allowance.py` and the seconds of `ledger/purses.py`); what a transaction takes is measured (`allowances.py`, on
PostgreSQL). It ends near the cap, where what is leased and not used is what others wait for. No bar: it is a curve, and
`Budget(allowance=True)` means the size at which it bends.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
from dataclasses import dataclass, field
from statistics import mean
from typing import Final

from figures import Figures, quantile

from tokenguard.core.account import Account, Amounts
from tokenguard.core.allowance import TIMES_FIRST, next_times, times_lent
from tokenguard.core.budget import DEFAULT_ALLOWANCE, Unit
from tokenguard.core.money import Money
from tokenguard.core.verdict import AccountState

PROCESSES: Final = 200
CALLS_PER_S: Final = 1.0
"""Of each process, in bursts: one process in five makes five times as many."""
CALL_S: Final = 2.0
END: Final = 0.99
"""Of the cap: what comes after it is refusals."""
CEILING: Final = Money("0.02").pico
COST: Final = Money("0.005").pico
TRANSACTION_S: Final = 0.0025
"""How long one transaction has the hot row (allowances.py: eight processes settle some 400 calls a second there)."""
PER_CALL_S: Final = 0.0001
"""What each paid call adds to an exchange."""
TELL_S, IDLE_S, SOON_S, REST_S = 5.0, 5.0, 2.0, 1.0
SIZES: Final = ("0", "0.05", "0.10", "0.25", "0.50", "1", "2", "5")


@dataclass
class Process:
    """What one process has leased."""

    rate: float
    leased: int = 0
    room: int = 0
    times: int = TIMES_FIRST
    used: int = 0
    paid: int = 0
    exchanged_s: float = 0.0
    used_s: float = 0.0
    rests_until_s: float = 0.0


@dataclass
class Fleet:
    """The budget and everybody under it; time in seconds."""

    allowance: int
    cap: int
    seed: int = 7
    settled: int = 0
    held: int = 0
    leases: int = 0
    free_at: float = 0.0
    transactions: int = 0
    waits: list[float] = field(default_factory=list)
    unused: list[float] = field(default_factory=list)
    sent: int = 0
    ended_s: float = 0.0
    refused: int = 0
    refused_below: list[float] = field(default_factory=list)

    def at_the_row(self, now: float, calls: int = 0) -> float:
        """One transaction after those that wait already; when it has ended."""
        began = max(now, self.free_at)
        self.free_at = began + TRANSACTION_S + PER_CALL_S * calls
        self.transactions += 1
        return self.free_at

    def exchange(self, one: Process, now: float, times: int) -> float:
        """Settle up and lease for `times` calls besides those in flight."""
        in_flight = one.leased - one.room - one.paid * COST
        ended = self.at_the_row(now, one.paid)
        self.settled += one.paid * COST
        self.held -= one.leased
        self.leases -= one.leased > 0
        one.paid, one.exchanged_s = 0, now
        account = Account("a", "scope:acme", "acme", Unit.USD, "day", "", self.cap, allowance_pico=self.allowance)
        state = AccountState(account, self.cap, self.settled, self.held + in_flight, self.leases)
        lent = times_lent(Amounts(CEILING), times, [state]) if times else 0
        one.room = lent * CEILING
        one.leased = in_flight + one.room
        self.held += one.leased
        self.leases += one.leased > 0
        one.used = 0
        return ended

    def call(self, one: Process, now: float) -> tuple[float, bool] | None:
        """When a call may be sent, and whether a lease pays for it; None: refused."""
        one.used_s = now
        ready = now
        if self.allowance and one.room < CEILING and now >= one.rests_until_s:
            short = now - one.exchanged_s < SOON_S
            one.times = next_times(one.times, one.used, short=short) if one.leased else one.times
            ready = self.exchange(one, now, one.times)
            if one.room < CEILING:
                one.rests_until_s = now + REST_S
        if one.room >= CEILING:
            one.room -= CEILING
            one.used += 1
            self.sent += 1
            return ready, True
        ended = self.at_the_row(ready)
        if self.settled + self.held + CEILING > self.cap:
            self.refused += 1
            self.refused_below.append(1 - self.settled / self.cap)
            return None
        self.held += CEILING
        self.sent += 1
        return ended, False

    def answer(self, one: Process, now: float, *, leased: bool) -> None:
        """The call is answered: what it did not cost is room again, or it is settled at once."""
        if leased:
            one.room += CEILING - COST
            one.paid += 1
            return
        self.at_the_row(now)
        self.held -= CEILING
        self.settled += COST

    def tend(self, one: Process, now: float) -> None:
        """What the thread of a process does twice a second."""
        if one.leased and now - one.used_s >= IDLE_S and one.room:
            self.exchange(one, now, 0)
        elif one.paid and now - one.exchanged_s >= TELL_S:
            one.times = next_times(one.times, one.used, short=False)
            self.exchange(one, now, one.times)


def run(allowance: int, seconds: float, cap: int) -> Fleet:
    """Play it."""
    fleet, chance = Fleet(allowance, cap), random.Random(7)
    processes = [Process(CALLS_PER_S * (3.0 if number % 5 == 0 else 0.5)) for number in range(PROCESSES)]
    queue: list[tuple[float, int, str, Process, bool]] = []
    count = 0

    def later(at: float, what: str, one: Process, *, leased: bool = False) -> None:
        nonlocal count
        count += 1
        heapq.heappush(queue, (at, count, what, one, leased))

    for one in processes:
        later(chance.expovariate(one.rate), "call", one)
        later(chance.random() * 0.5, "tick", one)
    now = 0.0
    while now < seconds and fleet.settled < cap * END:
        now, _, what, one, leased = heapq.heappop(queue)
        if what == "call":
            granted = fleet.call(one, now)
            if granted is not None:
                fleet.waits.append(granted[0] - now)
                later(granted[0] + chance.expovariate(1 / CALL_S), "answer", one, leased=granted[1])
            later(now + chance.expovariate(one.rate), "call", one)
        elif what == "answer":
            fleet.answer(one, now, leased=leased)
        else:
            fleet.tend(one, now)
            fleet.unused.append(sum(each.room for each in processes) / cap if one is processes[0] else -1.0)
            later(now + 0.5, "tick", one)
    fleet.ended_s = now
    return fleet


def main(minutes: float) -> int:
    figures = Figures("fleet_curve", __doc__.partition("\n")[0])
    seconds = 60 * minutes
    # Spent before the time is over, so that the end of the budget is seen too.
    cap = round(PROCESSES * CALLS_PER_S * seconds * 0.9) * COST
    figures.add("processes", PROCESSES, "")
    figures.add("cap", cap / 1e12, "USD")
    for size in SIZES:
        fleet = run(Money(size).pico, seconds, cap)
        unused = [one for one in fleet.unused if one >= 0]
        where = f"allowance ${size}" if size != "0" else "no allowance"
        figures.add(f"{where}: transactions on the row, of each call", fleet.transactions / fleet.sent, "")
        figures.add(f"{where}: calls sent", fleet.sent / fleet.ended_s, "a second")
        figures.add(f"{where}: wait for the row, p50", 1e3 * quantile(fleet.waits, 0.5), "ms")
        figures.add(f"{where}: wait for the row, p99", 1e3 * quantile(fleet.waits, 0.99), "ms")
        figures.add(f"{where}: leased and not used, mean", 100 * mean(unused), "% of cap")
        figures.add(f"{where}: leased and not used, most", 100 * max(unused), "% of cap")
        left = 100 * fleet.refused_below[0] if fleet.refused_below else 100 * (1 - fleet.settled / cap)
        figures.add(f"{where}: not spent at the first refusal", left, "% of cap")
    figures.add("Budget(allowance=True)", DEFAULT_ALLOWANCE.pico / 1e12, "USD")
    return figures.finish()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=4.0, help="simulated time")
    parser.add_argument("--write", action="store_true", help="keep the figures in benchmarks/results")
    sys.exit(main(parser.parse_args().minutes))
