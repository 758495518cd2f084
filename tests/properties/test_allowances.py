"""Leases of several processes on one ledger, in any order of calls, deaths, outages, stops and raised caps.

After every act: settled + held never exceeds the cap, in the books as anybody reads them, and no call is granted that
is not held there. At the end, when the dead have been inherited and leases have ended, the books replay, and hold at
least what the provider counted.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tokenguard.core.account import Amounts, Scope, accounts_on
from tokenguard.core.allowance import Exchange, Exchanged, together
from tokenguard.core.books import Booking, CallFacts, Closure, Hold, Status
from tokenguard.core.budget import Budget, Unit
from tokenguard.core.usage import Quality
from tokenguard.core.verdict import Ask, Grant
from tokenguard.errors import LedgerUnavailable, TokenguardError
from tokenguard.ledger import schema
from tokenguard.ledger.allowances import Allowances
from tokenguard.ledger.conditions import Conditions
from tokenguard.ledger.forwarding import Forwarding
from tokenguard.ledger.sql import SqlLedger
from tokenguard.testing import FakeClock
from tokenguard.testing.ids import CountingIds

CENT = 10**10
NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
SCOPE = Scope("scope:acme", "acme", (Budget(usd="4.00", per="total", allowance="1.00"),))
RUN = Scope("run:r", "run", (Budget(usd="3.00", calls=150),))
ACCOUNTS = accounts_on((SCOPE, RUN), NOON)
MEMBERS = st.integers(0, 2)
FATES = st.sampled_from(["answered", "answered", "later", "lost"])


class Shaky(Forwarding):
    """A ledger that can be away, or lose the answer to what it did."""

    def __init__(self, inner: SqlLedger) -> None:
        super().__init__(inner)
        self.books = inner
        self.away = False
        self.loses_answer = False

    def reserve(self, hold: Hold, ask: Ask) -> Any:
        self._look()
        return self.inner.reserve(hold, ask)

    def caps(self, hold: Hold) -> Any:
        self._look()
        return self.books.caps(hold)

    def exchange(self, request: Exchange) -> Exchanged:
        self._look()
        done = self.books.exchange(request)
        if self.loses_answer:
            self.loses_answer = False
            lost = LedgerUnavailable("the answer was lost.", database="test")
            lost.in_doubt = True
            raise lost
        return done

    def _look(self) -> None:
        if self.away:
            raise LedgerUnavailable("away.", database="test")


class Silent:
    """Hears everything and says nothing."""

    def leasing(self) -> bool:
        return True

    def exchanged(self, request: Exchange, done: Exchanged) -> None:
        del request
        assert not done.refused

    def failed(self, error: TokenguardError) -> None:
        assert isinstance(error, LedgerUnavailable), error


class Fleet(RuleBasedStateMachine):
    """Three processes and the provider that they call."""

    @initialize(bridges=st.booleans())
    def begin(self, *, bridges: bool) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.clock = FakeClock(NOON)
        self.ids = CountingIds()
        self.names = 0
        self.bridges = bridges
        self.books = self.opened()
        self.shaky = [Shaky(self.opened()) for _ in range(3)]
        self.members = [self.member(one) for one in self.shaky]
        self.in_flight: list[dict[str, int]] = [{}, {}, {}]
        self.counted = 0

    def opened(self) -> SqlLedger:
        return SqlLedger.open(str(self.folder / "ledger.db"), self.clock, self.ids, now=self.clock.now)

    def member(self, ledger: Shaky) -> Allowances:
        self.names += 1
        owner = f"process-{self.names}"
        conditions = Conditions(self.folder / "spools", self.clock, self.ids, lambda: owner, Silent(), tick_s=None)
        return Allowances(ledger, replace(conditions, bridges=self.bridges))

    @rule(who=MEMBERS, calls=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 4), FATES), min_size=1, max_size=10))
    def work(self, who: int, calls: list[tuple[int, int, str]]) -> None:
        """Calls in a row: worst case and cost in cents, and whether the answer comes, is lost, or takes longer."""
        for ceiling, cost, fate in calls:
            hold_id = self.reserved(who, ceiling)
            if hold_id is None:
                continue
            self.in_flight[who][hold_id] = min(cost, ceiling)
            if fate != "later":
                self.end(who, hold_id, lost=fate == "lost")
            self.no_cap_is_passed()

    def reserved(self, who: int, ceiling: int) -> str | None:
        facts = CallFacts("c", 1, "chat", "m", "p", "r", "r", "r", "a", "acme")
        now, keys = self.clock.now(), (SCOPE.key, RUN.key)
        ends = now + timedelta(seconds=120)
        hold = Hold(self.ids.new(), now, f"process-{who}", ends, ACCOUNTS, keys, ("r",), facts)
        try:
            verdict = self.members[who].reserve(hold, Ask(fixed_pico=ceiling * CENT))
        except LedgerUnavailable:
            return None
        if not isinstance(verdict, Grant):
            return None
        assert verdict.amounts.usd_pico == ceiling * CENT
        return hold.id

    @rule(who=MEMBERS, lost=st.booleans())
    def end_all(self, who: int, *, lost: bool) -> None:
        for hold_id in list(self.in_flight[who]):
            self.end(who, hold_id, lost=lost)

    def end(self, who: int, hold_id: str, *, lost: bool) -> None:
        """The provider answered; where that is lost, it bills all the same."""
        cost, now = self.in_flight[who].pop(hold_id), self.clock.now()
        self.counted += cost * CENT
        if lost:
            self.members[who].keep(hold_id, Booking(now, Status.UNRESOLVED, Quality.ASSUMED, Amounts()))
        else:
            booking = Booking(now, Status.OK, Quality.REPORTED, Amounts(cost * CENT, 0, 1, 0))
            self.members[who].settle(hold_id, booking)

    @rule(who=MEMBERS)
    def tick(self, who: int) -> None:
        self.members[who]._purses.tend()  # what its thread does

    @rule(seconds=st.sampled_from([0.3, 1.1, 40.0, 130.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(who=MEMBERS)
    def kill(self, who: int) -> None:
        """It dies, and another process takes its place."""
        spool = self.members[who]._purses._spool  # the kernel lets go of its lock
        if spool is not None:
            spool.close()
        self.counted += sum(self.in_flight[who].values()) * CENT
        self.in_flight[who] = {}
        self.shaky[who].away = self.shaky[who].loses_answer = False
        self.members[who] = self.member(self.shaky[who])

    @rule(who=MEMBERS)
    def relinquish(self, who: int) -> None:
        self.members[who].relinquish()

    @rule(who=MEMBERS, away=st.booleans())
    def outage(self, who: int, *, away: bool) -> None:
        self.shaky[who].away = away

    @rule(who=MEMBERS)
    def lost_answer(self, who: int) -> None:
        self.shaky[who].loses_answer = True

    @precondition(lambda self: not any(one.away for one in self.shaky))
    @rule(who=MEMBERS, cents=st.integers(1, 20))
    def raise_cap(self, who: int, cents: int) -> None:
        self.members[who].top_up(SCOPE.key, Unit.USD, cents * CENT, by="ada", at=self.clock.now())

    @rule(stopped=st.booleans())
    def stop(self, *, stopped: bool) -> None:
        now = self.clock.now()
        if stopped:
            self.books.close_run(Closure("r", "run_revoked", "stop.", {}, now, "ada"))
        else:
            self.books.reopen("r", by="ada", why="go on", at=now)

    @invariant()
    def no_cap_is_passed(self) -> None:
        if hasattr(self, "books"):
            for state in self.books.states(ACCOUNTS, self.clock.now()):
                assert state.settled + state.held <= state.cap, state
                assert state.held >= 0, state
                assert state.live >= 0, state

    @invariant()
    def what_is_promised_is_held(self) -> None:
        """In every process: what is in flight, kept, or paid and not told is in a lease that the books hold."""
        if not hasattr(self, "books"):
            return
        held = self.held()
        for member in self.members:
            for purse in member._purses._snapshot():  # what no port tells
                asked = purse.unanswered
                if asked is not None and asked.lease.id in held:
                    leases, paid, kept = [asked.lease.id], purse.paid, purse.kept
                else:
                    told = (asked.paid, asked.kept) if asked is not None else ((), ())
                    leases, paid, kept = [*purse.lease_ids], [*purse.paid, *told[0]], [*purse.kept, *told[1]]
                promised = [one.amounts for one in (*purse.open.values(), *(one.promise for one in kept))]
                spent = together([*promised, *(one.booking.amounts for one in paid)]).usd_pico
                if all(lease_id in held for lease_id in leases):  # One that ended is charged whole.
                    assert spent <= sum(held[lease_id] for lease_id in leases)
                    room = purse.room.usd_pico if not purse.shut else 0
                    assert spent + room <= sum(held[lease_id] for lease_id in leases) or room <= 0

    def held(self) -> dict[str, int]:
        row = schema.hold.c
        with sqlite3.connect(self.folder / "ledger.db") as connection:
            return dict(connection.execute(str(sa.select(row.id, row.usd_pico))).fetchall())

    def teardown(self) -> None:
        if not hasattr(self, "books"):
            return
        for who in range(3):
            self.kill(who)
        self.members[0].take_over()
        self.clock.advance(200)
        self.books.sweep()
        usd, _, calls = self.books.states(ACCOUNTS, self.clock.now())
        assert usd.held == calls.held == usd.live == calls.live == 0
        assert self.counted <= usd.settled <= usd.cap
        assert sum(one.usd.pico for one in self.books.spend([])) == usd.settled
        verified = self.books.verify()
        assert verified.ok, verified.findings
        for one in (self.books, *(shaky.books for shaky in self.shaky)):
            one.dispose()
        shutil.rmtree(self.folder)


Fleet.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestFleet = Fleet.TestCase
