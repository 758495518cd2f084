"""Two ledgers, one history: memory and SQL answer the same, no cap is passed, and the books replay."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from tokenguard.core.account import Amounts, Scope, accounts_on
from tokenguard.core.adjusting import Adjustment, Adjusts
from tokenguard.core.books import Booking, CallFacts, Closure, Entry, Hold, Kind, Status
from tokenguard.core.budget import Budget, Limits, Unit
from tokenguard.core.usage import Quality
from tokenguard.core.verdict import Ask, Grant
from tokenguard.errors import AdjustRefused, LedgerConflict
from tokenguard.ledger.memory import MemoryLedger
from tokenguard.ledger.sql import SqlLedger

START = datetime(2026, 3, 14, 23, 50, tzinfo=UTC)
ROOT = Scope(
    "scope:acme", "acme", (Budget(usd="0.000000000900", per="hour"), Budget(tokens=1_500, per="day", tz="Asia/Kolkata"))
)
TEAM = Scope("scope:acme/search", "acme/search", (Budget(calls=30), Budget(usd="0.000000000500", per="rolling 10m")))
RUNS = {name: Scope(f"run:{name}", f"run {name}", (Budget(usd="0.000000000400", steps=20),)) for name in ("a", "b")}

PACE = Limits(usd_per_minute="0.000000000060", tokens_per_minute=40)
"""Of run b."""

picos = st.integers(0, 80)
tokens = st.integers(0, 60)
names = st.sampled_from(sorted(RUNS))


class CountingIds:
    def __init__(self) -> None:
        self._numbers = count()

    def new(self) -> str:
        return f"id-{next(self._numbers):06d}"


class SteppedClock:
    """Tells the time of a test."""

    def __init__(self, now: Callable[[], datetime] = lambda: START) -> None:
        self.now = now

    def monotonic(self) -> float:
        return (self.now() - START).total_seconds()


@cache
def _empty_ledger() -> bytes:
    """A file with the tables, made once: building them takes longer than an example."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.db"
        SqlLedger.open(str(file), SteppedClock(), CountingIds()).dispose()
        return file.read_bytes()


class Ledgers(RuleBasedStateMachine):
    """Every act goes to both; every answer is compared."""

    open_holds = Bundle("open_holds")
    known_holds = Bundle("known_holds")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now = START
        clock = SteppedClock(lambda: self.now)
        self.memory = MemoryLedger(clock, CountingIds())
        file = Path(self.folder.name) / "ledger.db"
        file.write_bytes(_empty_ledger())
        self.sql = SqlLedger.open(str(file), clock, CountingIds(), now=clock.now)
        self.numbers = count(1)
        self.accounts: dict[str, Any] = {}
        self.passed: set[str] = set()
        """Accounts whose cap was passed by an overrun, a charge, an observed call or a lowered cap."""
        self.both(lambda ledger: ledger.declare(ROOT, START))
        paced = Entry("b", Kind.RUN, "b", "b", None, "acme", START, "o", runs=("b",), limits=PACE)
        self.both(lambda ledger: ledger.enter(paced))

    def both(self, act: Callable[[Any], Any]) -> Any:
        """Do it in both ledgers; the same answer, or the same error."""
        answers = []
        for ledger in (self.memory, self.sql):
            try:
                answers.append(act(ledger))
            except (LedgerConflict, AdjustRefused) as error:
                answers.append((type(error), error.sentence))
        assert answers[0] == answers[1]
        return answers[0]

    def hold(self, run: str, *, enforce: bool, inner: bool) -> Hold:
        path = (ROOT, TEAM, RUNS[run]) if inner else (ROOT, RUNS[run])
        accounts = accounts_on(path, self.now)
        self.accounts.update({one.id: one for one in accounts})
        facts = CallFacts(
            "call", 1, "chat", f"model-{run}", "openai", run, run, run, "agent", "acme", labels={"run": run}
        )
        return Hold(
            id=f"hold-{next(self.numbers):05d}",
            at=self.now,
            owner="owner",
            lease_until=self.now + timedelta(seconds=90),
            accounts=accounts,
            scope_keys=tuple(one.key for one in path),
            run_ids=(run,),
            facts=facts if enforce else replace(facts, mode="observe"),
            enforce=enforce,
            paced=("b",) if run == "b" else (),
        )

    def may_pass(self, hold: Hold) -> None:
        self.passed.update(one.id for one in hold.accounts)

    @rule(seconds=st.sampled_from([1, 40, 100, 700]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(
        target=open_holds,
        run=names,
        usd=picos,
        used=tokens,
        out=st.integers(0, 9),
        given=st.booleans(),
        inner=st.booleans(),
    )
    def reserve(self, run: str, usd: int, used: int, out: int, *, given: bool, inner: bool) -> Any:
        hold = self.hold(run, enforce=True, inner=inner)
        ask = Ask(usd, 2, used, min(out, 2), out, given, steps=1)
        verdict = self.both(lambda ledger: ledger.reserve(hold, ask))
        if not isinstance(verdict, Grant):
            return multiple()
        assert self.both(lambda ledger: ledger.reserve(hold, ask)) == verdict
        return hold

    @rule(target=open_holds, run=names, usd=picos)
    def observe(self, run: str, usd: int) -> Hold:
        hold = self.hold(run, enforce=False, inner=True)
        self.may_pass(hold)
        self.both(lambda ledger: ledger.reserve(hold, Ask(usd)))
        return hold

    @rule(
        target=known_holds,
        run=names,
        usd=picos,
        used=tokens,
        ending=st.sampled_from(["settle", "void", "keep", "vanish"]),
        seconds=st.sampled_from([1, 100]),
        enforce=st.booleans(),
    )
    def call(self, run: str, usd: int, used: int, ending: str, seconds: int, *, enforce: bool) -> Any:
        """A whole call, some time long: the common course, which single acts rarely line up to."""
        hold = self.hold(run, enforce=enforce, inner=True)
        if not enforce:
            self.may_pass(hold)
        ask = Ask(usd, 1, used, 0, 10, output_given=False)
        if not isinstance(self.both(lambda ledger: ledger.reserve(hold, ask)), Grant):
            return multiple()
        if ending == "keep":
            self.keep(hold)
        self.now += timedelta(seconds=seconds)
        if ending == "settle":
            self.settle(hold, 0, estimated=seconds > 1)
        elif ending == "void":
            self.void(hold)
        return hold

    @rule(target=known_holds, hold=consumes(open_holds), share=st.integers(0, 4), estimated=st.booleans())
    def settle(self, hold: Hold, share: int, *, estimated: bool) -> Hold:
        if share == 4:
            self.may_pass(hold)
        quality = Quality.ESTIMATED if estimated else Quality.REPORTED
        booking = Booking(self.now, Status.OK, quality, Amounts(20 * share, 15 * share, 1, 1))
        held = next((one for one in [self.memory._open.get(hold.id)] if one), None)
        if held is not None:
            most = held.grant.amounts
            if booking.amounts.usd_pico > most.usd_pico or booking.amounts.tokens > most.tokens or not most.steps:
                self.may_pass(hold)
        else:
            self.may_pass(hold)
        self.both(lambda ledger: ledger.settle(hold.id, booking))
        self.both(lambda ledger: ledger.settle(hold.id, booking))
        return hold

    @rule(target=known_holds, hold=consumes(open_holds))
    def void(self, hold: Hold) -> Hold:
        self.both(
            lambda ledger: ledger.settle(hold.id, Booking(self.now, Status.REJECTED, Quality.REPORTED, Amounts()))
        )
        return hold

    @rule(target=known_holds, hold=consumes(open_holds))
    def keep(self, hold: Hold) -> Hold:
        unknown = Booking(self.now, Status.UNRESOLVED, Quality.ASSUMED, Amounts(), error_class="Timeout")
        self.both(lambda ledger: ledger.keep(hold.id, unknown))
        return hold

    @rule(hold=open_holds, seconds=st.integers(1, 600))
    def renew(self, hold: Hold, seconds: int) -> None:
        self.both(lambda ledger: ledger.renew("owner", [hold.id], float(seconds)))

    @rule(hold=known_holds, usd=picos)
    def settle_again_with_any_numbers(self, hold: Hold, usd: int) -> None:
        self.may_pass(hold)
        booking = Booking(self.now, Status.OK, Quality.REPORTED, Amounts(usd, 0, 1, 1))
        self.both(lambda ledger: ledger.settle(hold.id, booking))

    @rule(hold=known_holds, usd=picos, kind=st.sampled_from(Adjusts), told=st.integers(0, 20))
    def adjust(self, hold: Hold, usd: int, kind: Adjusts, told: int) -> None:
        self.may_pass(hold)
        usd = usd or 1
        adjustment = Adjustment(f"adjustment-{told}", hold.id, kind, usd, "billed otherwise", "ada", self.now)
        self.both(lambda ledger: ledger.adjust(adjustment))
        self.both(lambda ledger: ledger.adjust(adjustment))

    @rule(target=known_holds, run=names, usd=picos)
    def charge(self, run: str, usd: int) -> Hold:
        hold = self.hold(run, enforce=True, inner=False)
        self.may_pass(hold)
        booking = Booking(self.now, Status.CHARGED, Quality.REPORTED, Amounts(usd))
        self.both(lambda ledger: ledger.charge(hold, booking))
        return hold

    @rule()
    def sweep(self) -> None:
        self.both(lambda ledger: ledger.sweep())

    @rule(run=names, number=st.integers(0, 4))
    def enter(self, run: str, number: int) -> None:
        steps = tuple(one for one in accounts_on((RUNS[run],), self.now) if one.unit is Unit.STEPS)
        entry = Entry(f"{run}-{number}", Kind.STEP, "step", run, run, "acme", self.now, "o", {}, (run,), steps)
        root = Entry(run, Kind.RUN, run, run, None, "acme", self.now, "o")
        self.both(lambda ledger: ledger.enter(root))
        self.both(lambda ledger: ledger.enter(entry))

    @rule(run=names)
    def leave(self, run: str) -> None:
        self.both(lambda ledger: ledger.leave(run, outcome="completed", at=self.now))

    @rule(run=names, amount=picos, unit=st.sampled_from([Unit.USD, Unit.TOKENS, Unit.STEPS]))
    def top_up(self, run: str, amount: int, unit: Unit) -> None:
        for key in (RUNS[run].key, ROOT.key):
            self.both(lambda ledger, key=key: ledger.top_up(key, unit, amount, by="ada", at=self.now))

    @rule(cap=st.integers(0, 300))
    def set_cap(self, cap: int) -> None:
        self.passed.update(self.accounts)
        self.both(lambda ledger: ledger.set_cap(ROOT.key, Unit.USD, "hour", "UTC", cap, by="ada", at=self.now))

    @rule(calls=st.integers(1, 20))
    def declare(self, calls: int) -> None:
        self.passed.update(self.accounts)
        scope = replace(TEAM, budgets=(Budget(calls=calls), TEAM.budgets[1]))
        self.both(lambda ledger: ledger.declare(scope, self.now))

    @rule(run=names, by_cap=st.booleans())
    def close(self, run: str, *, by_cap: bool) -> None:
        account = accounts_on((RUNS[run],), self.now)[-1].id if by_cap else None
        closure = Closure(run, "stopped", "it stops.", {}, self.now, "guard", account)
        self.both(lambda ledger: ledger.close_run(closure))

    @rule(run=names)
    def reopen(self, run: str) -> None:
        self.both(lambda ledger: ledger.reopen(run, by="ada", why="fixed", at=self.now))

    @invariant()
    def no_cap_is_passed_unless_the_truth_was_above_it(self) -> None:
        accounts = list(self.accounts.values())
        for state in self.memory.states(accounts, self.now):
            assert state.held >= 0
            if state.account.id not in self.passed:
                assert state.settled + state.held <= state.cap

    def teardown(self) -> None:
        accounts = list(self.accounts.values())
        minute = self.now.replace(second=0, microsecond=0)
        for read in (
            lambda ledger: ledger.states(accounts, self.now),
            lambda ledger: ledger.closures(sorted(RUNS)),
            lambda ledger: [ledger.lineage(run) for run in RUNS],
            lambda ledger: ledger.budgets(self.now),
            lambda ledger: ledger.runs(),
            lambda ledger: [ledger.tree(run) for run in RUNS],
            lambda ledger: ledger.spend(["status", "quality", "day", "label:run", "mode"]),
            lambda ledger: ledger.spend(["model"], since=START + timedelta(minutes=10), until=minute),
        ):
            self.both(read)
        assert self.sql.verify().findings == ()
        self.sql.dispose()
        self.folder.cleanup()


Ledgers.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
test_ledgers_side_by_side = Ledgers.TestCase
