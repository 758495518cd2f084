"""The promises that every ledger and every backend must keep, as tests to inherit.

What implements `core.ports.Ledger` or `core.ports.Backend` is held to them by a test class of yours:

    class TestMyLedger(LedgerConformance):
        def make_ledger(self) -> Ledger:
            return MyLedger(...)

pytest collects the inherited `test_…` methods. They need nothing but the ports and no fixtures; a backend sends to a
loopback `ModelServer`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from tokenguard.core.account import Amounts, Scope, accounts_on
from tokenguard.core.adjusting import Adjustment, Adjusts
from tokenguard.core.books import Booking, CallFacts, Closure, Entry, GuardEvent, Hold, Kind, Status
from tokenguard.core.budget import Budget, Limits, Unit
from tokenguard.core.money import Money
from tokenguard.core.ports import Ledger
from tokenguard.core.recovery import StoredText
from tokenguard.core.savings import Saving
from tokenguard.core.tree import TooFast
from tokenguard.core.usage import Quality
from tokenguard.core.verdict import Ask, Grant, Reason, Short
from tokenguard.errors import AdjustRefused, LedgerConflict
from tokenguard.testing.backend_conformance import BackendConformance

__all__ = ["BackendConformance", "LedgerConformance"]

_CENT = 10**10
_NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
_LEASE = timedelta(minutes=10)
_LATER = _NOON + timedelta(days=36_500)
"""After the end of every lease, whatever clock the ledger measures them by."""


class LedgerConformance(ABC):
    """What every ledger promises. Inherit it and give `make_ledger`, which must return empty books each time."""

    @abstractmethod
    def make_ledger(self) -> Ledger:
        """Empty books. Called once in each test."""

    def setup_method(self) -> None:
        """New books and new ids for each test."""
        self.ledger = self.make_ledger()
        self._numbers = count(1)

    def test_a_grant_holds_until_it_is_settled_at_what_it_cost(self) -> None:
        """Held first, settled after, and nothing left held."""
        hold = self._hold(usd="0.10")

        granted = self.ledger.reserve(hold, _ask(4))
        held = self._state(hold)
        self.ledger.settle(hold.id, _booking(3))

        after = self._state(hold)
        assert isinstance(granted, Grant)
        assert (held.settled, held.held, held.live) == (0, 4 * _CENT, 1)
        assert (after.settled, after.held, after.live) == (3 * _CENT, 0, 0)

    def test_settled_and_held_together_never_pass_the_cap(self) -> None:
        """Ten cents of room take ten cents of holds, and not one more."""
        verdicts = [self.ledger.reserve(self._hold(usd="0.10"), _ask(1)) for _ in range(12)]

        assert [isinstance(one, Grant) for one in verdicts] == [True] * 10 + [False] * 2
        assert [one.reason for one in verdicts if isinstance(one, Short)] == [Reason.BUSY] * 2

    def test_a_spent_cap_is_told_from_a_busy_one(self) -> None:
        """What is settled stops; what is held asks to wait."""
        hold = self._hold(usd="0.01")
        self.ledger.reserve(hold, _ask(1))
        self.ledger.settle(hold.id, _booking(1))

        verdict = self.ledger.reserve(self._hold(usd="0.01"), _ask(1))

        assert isinstance(verdict, Short)
        assert verdict.reason is Reason.SPENT

    def test_a_rolling_window_counts_what_is_younger_than_it(self) -> None:
        """Sixty slices and the running one: never less than the window, at most a sixtieth more."""
        first = self._hold(path=(rolling := _scope("scope:acme", usd="0.04", per="rolling 1h"),))
        self.ledger.reserve(first, _ask(4))
        self.ledger.settle(first.id, _booking(4))
        young, old = (
            replace(self._hold(path=(rolling,)), at=_NOON + timedelta(minutes=minutes)) for minutes in (60, 61)
        )

        verdicts = [self.ledger.reserve(one, _ask(4)) for one in (young, old)]

        assert isinstance(verdicts[0], Short)
        assert verdicts[0].retry_at == _NOON + timedelta(minutes=61)
        assert isinstance(verdicts[1], Grant)

    def test_a_refused_hold_leaves_nothing_on_any_scope(self) -> None:
        """All accounts of the path or none."""
        wide, tight = _scope("scope:wide", usd="1"), _scope("scope:tight", usd="0.01")
        hold = self._hold(path=(wide, tight))

        verdict = self.ledger.reserve(hold, _ask(2))

        assert isinstance(verdict, Short)
        assert [state.held for state in self.ledger.states(hold.accounts)] == [0, 0]

    def test_the_same_hold_again_is_the_same_grant(self) -> None:
        """A retried reservation holds once."""
        hold = self._hold(usd="0.10")

        first, second = self.ledger.reserve(hold, _ask(4)), self.ledger.reserve(hold, _ask(4))

        assert isinstance(first, Grant)
        assert isinstance(second, Grant)
        assert first.amounts == second.amounts
        assert self._state(hold).held == 4 * _CENT

    def test_the_same_settlement_again_moves_nothing(self) -> None:
        """A retried settlement books once."""
        hold = self._hold(usd="0.10")
        self.ledger.reserve(hold, _ask(4))
        self.ledger.settle(hold.id, _booking(3))

        again = self.ledger.settle(hold.id, _booking(3))

        assert again.duplicate
        assert self._state(hold).settled == 3 * _CENT

    def test_a_settlement_with_other_numbers_is_a_conflict(self) -> None:
        """The first word stands."""
        hold = self._hold(usd="0.10")
        self.ledger.reserve(hold, _ask(4))
        self.ledger.settle(hold.id, _booking(3))

        assert _raises(LedgerConflict, lambda: self.ledger.settle(hold.id, _booking(2)))
        assert _raises(LedgerConflict, lambda: self.ledger.settle("no-such-hold", _booking(2)))

    def test_a_bill_above_the_hold_is_booked_in_full(self) -> None:
        """Never cap a recorded cost."""
        hold = self._hold(usd="0.10")
        self.ledger.reserve(hold, _ask(4))
        self.ledger.settle(hold.id, replace(_booking(50), overrun=True))

        assert self._state(hold).settled == 50 * _CENT

    def test_an_unresolved_hold_becomes_an_assumed_charge_when_its_lease_ends(self) -> None:
        """Unknown is never zero, and never for ever."""
        hold = self._hold(usd="0.10")
        self.ledger.reserve(hold, _ask(4))
        self.ledger.keep(hold.id, replace(_booking(0), status=Status.UNRESOLVED))

        early, late = self.ledger.sweep(), self.ledger.sweep(_LATER)

        state = self._state(hold)
        assert (early, late) == (0, 1)
        assert (state.settled, state.held) == (4 * _CENT, 0)

    def test_a_late_settlement_corrects_the_assumed_charge(self) -> None:
        """The truth arrives after the lease: the difference is booked where the hold was."""
        hold = self._hold(usd="0.10")
        self.ledger.reserve(hold, _ask(4))
        self.ledger.sweep(_LATER)

        settled = self.ledger.settle(hold.id, _booking(1))

        assert settled.late
        assert self._state(hold).settled == _CENT

    def test_a_refund_is_booked_once_and_never_above_what_stands(self) -> None:
        """In the window that paid, by the adjustment's id; the settlement that is told again is still known."""
        hold = self._hold(usd="0.10")
        self.ledger.reserve(hold, _ask(4))
        open_yet = _raises(AdjustRefused, lambda: self.ledger.adjust(_refund(hold, 1)))
        self.ledger.settle(hold.id, _booking(4))

        first, again = self.ledger.adjust(_refund(hold, 3)), self.ledger.adjust(_refund(hold, 3))

        assert (first.after, first.duplicate, again.duplicate) == (Money("0.01"), False, True)
        assert open_yet
        assert _raises(LedgerConflict, lambda: self.ledger.adjust(_refund(hold, 2)))
        assert _raises(AdjustRefused, lambda: self.ledger.adjust(replace(_refund(hold, 2), id="refund-2")))
        assert _raises(
            AdjustRefused, lambda: self.ledger.adjust(replace(_refund(hold, 1), id="x", attempt_id="nobody"))
        )
        assert self.ledger.settle(hold.id, _booking(4)).duplicate
        assert self._state(hold).settled == _CENT

    def test_a_late_settlement_after_a_refund_ends_at_the_truth(self) -> None:
        """What was refunded of an assumption is superseded with it; nothing is credited twice."""
        hold = self._hold(usd="0.10")
        self.ledger.reserve(hold, _ask(4))
        self.ledger.sweep(_LATER)
        self.ledger.adjust(_refund(hold, 4))

        settled = self.ledger.settle(hold.id, _booking(1))

        assert settled.late
        assert self._state(hold).settled == _CENT

    def test_a_closed_run_is_granted_nothing_until_it_is_reopened(self) -> None:
        """A tombstone holds for the run and everything below it."""
        self._enter("run-1")
        closure = Closure("run-1", "run_revoked", "stopped", {}, _NOON, "ada")
        self.ledger.close_run(closure)

        refused = self.ledger.reserve(self._hold(usd="1"), _ask(1))
        self.ledger.reopen("run-1", by="ada", why="it was fine", at=_NOON)
        granted = self.ledger.reserve(self._hold(usd="1"), _ask(1))

        assert isinstance(refused, Closure)
        assert refused.code == "run_revoked"
        assert isinstance(granted, Grant)

    def test_a_top_up_makes_room_in_the_open_window(self) -> None:
        """A person raises what the code declared."""
        scope = _scope("scope:acme", usd="0.01")
        self.ledger.declare(scope, _NOON)
        hold = self._hold(path=(scope,))
        self.ledger.reserve(hold, _ask(1))

        self.ledger.top_up("scope:acme", Unit.USD, _CENT, by="ada", at=_NOON)

        assert isinstance(self.ledger.reserve(self._hold(path=(scope,)), _ask(1)), Grant)

    def test_a_stored_budget_binds_who_never_declared_it(self) -> None:
        """Another process knows only the scope's key."""
        self.ledger.declare(_scope("scope:acme", usd="0.01"), _NOON)

        verdict = self.ledger.reserve(self._hold(path=(_scope("scope:acme"),)), _ask(2))

        assert isinstance(verdict, Short)

    def test_the_tree_and_the_spend_say_the_same(self) -> None:
        """Two ways to read the same rows."""
        self._enter("run-1")
        for cents in (1, 2, 3):
            hold = self._hold(usd="1")
            self.ledger.reserve(hold, _ask(5))
            self.ledger.settle(hold.id, _booking(cents))

        tree, spend = self.ledger.tree("run-1"), self.ledger.spend(["model"])

        assert sum(node.usd.pico for node in tree) == 6 * _CENT
        assert sum(row.usd.pico for row in spend) == 6 * _CENT
        assert sum(row.calls for row in spend) == 3  # noqa: PLR2004  # three calls above

    def test_what_flows_below_a_limited_run_stops_the_next_call_until_it_is_resumed(self) -> None:
        """Money per minute is the run's, whichever process settles it; paths without such a run never ask."""
        self._enter("run-1", Limits(usd_per_minute="0.02"))
        for _ in range(2):
            hold = self._hold(usd="1", paced=("run-1",))
            self.ledger.reserve(hold, _ask(1))
            self.ledger.settle(hold.id, _booking(1))

        refused = self.ledger.reserve(self._hold(usd="1", paced=("run-1",)), _ask(1))
        elsewhere = self.ledger.reserve(self._hold(usd="1"), _ask(1))
        self.ledger.close_run(Closure("run-1", "velocity_exceeded", "too fast", {}, _NOON, "ada"))
        self.ledger.reopen("run-1", by="ada", why="it was meant", at=_NOON)
        granted = self.ledger.reserve(self._hold(usd="1", paced=("run-1",)), _ask(1))

        assert refused == TooFast("run-1", "usd_per_minute", 2 * _CENT, 2 * _CENT)
        assert isinstance(elsewhere, Grant)
        assert isinstance(granted, Grant)

    def test_lineage_tells_the_limits_that_a_process_which_joins_must_know(self) -> None:
        """Its calls say which runs above them limit what flows."""
        self._enter("run-1", Limits(usd_per_minute="0.02"))

        assert [one.limits for one in self.ledger.lineage("run-1")] == [Limits(usd_per_minute="0.02")]

    def test_the_state_of_loop_rules_is_what_was_kept_last(self) -> None:
        """A process that takes another's place goes on where that one was."""
        self._enter("run-1")
        nothing = self.ledger.recall("run-1")
        self.ledger.remember("run-1", {"rounds": [["read", 1]]}, _NOON)
        self.ledger.remember("run-1", {"rounds": [["read", 2]]}, _NOON)

        assert nothing is None
        assert self.ledger.recall("run-1") == {"rounds": [["read", 2]]}

    def test_a_repetition_is_told_once_with_what_it_wasted_and_averted(self) -> None:
        """However many rungs acted: the highest waste, and all that was averted."""
        for number, (rung, wasted) in enumerate((("block", "0.03"), ("stop", "0.01"), ("block", "0"))):
            evidence = {"subject": "read", "fingerprint": "f"}
            facts = {"rung": rung, "applied": True, "rule": "cycle", "repeats": 4 + number, "evidence": evidence}
            money = {"wasted": wasted, "averted": "0.01", "assumption": "one more"}
            event = GuardEvent(f"e-{number}", _NOON, "looped", "run-1", None, "It repeats.", {**facts, **money})
            self.ledger.record(event)

        (found,) = self.ledger.loops(["run-1"])

        assert (found.wasted, found.averted, found.rung) == (Money("0.04"), Money("0.03"), "stop")
        assert self.ledger.loops(["nobody"]) == self.ledger.loops(until=_NOON) == ()

    def test_an_original_is_read_by_its_own_run_tree_only(self) -> None:
        """And by a person; nobody finds what was never kept."""
        until = _NOON + timedelta(days=3650)
        self.ledger.store_texts([StoredText("0123456789ab", "run-1", "é\x00", _NOON, until)])

        assert self.ledger.find_text("0123456789ab", root_id="run-1") == "é\x00"
        assert self.ledger.find_text("0123456789ab", root_id=None) == "é\x00"
        assert self.ledger.find_text("0123456789ab", root_id="run-2") is None

    def test_how_far_a_run_is_folded_is_what_was_kept_last(self) -> None:
        """A process that takes another's place sends the same bytes."""
        nothing, until = self.ledger.folding_of("run-1"), _NOON + timedelta(days=3650)
        self.ledger.keep_folding("run-1", {"whole_from": 3}, at=_NOON, until=until)
        self.ledger.keep_folding("run-1", {"whole_from": 4}, at=_NOON, until=until)

        assert nothing is None
        assert self.ledger.folding_of("run-1") == {"whole_from": 4}

    def test_savings_are_kept_once_and_add_up(self) -> None:
        """The same row again changes nothing."""
        row = Saving(
            id="s-1",
            at=_NOON,
            run_id="run-1",
            root_id="run-1",
            scope="",
            agent="",
            model="m",
            stage="json",
            applied=True,
            calls=1,
            results=1,
            tokens_before=10,
            tokens_after=4,
            tokens=6,
            elapsed_us=1,
            estimated_pico=9,
            settled_pico=-7,
        )
        self.ledger.note_savings([row])
        self.ledger.note_savings([row, replace(row, id="s-2")])

        (found,) = self.ledger.savings("stage", run_ids=["run-1"])
        assert (found.name, found.calls, found.tokens, found.settled.pico) == ("json", 2, 12, -14)

    def _hold(
        self, *, usd: str | None = None, path: tuple[Scope, ...] | None = None, paced: tuple[str, ...] = ()
    ) -> Hold:
        path = path or (_scope("scope:acme", usd=usd),)
        facts = CallFacts("call", 1, "chat", "gpt-5-mini", "openai", "run-1", "run-1", "run-1", None, "acme")
        return Hold(
            id=f"hold-{next(self._numbers):04d}",
            at=_NOON,
            owner="conformance",
            lease_until=_NOON + _LEASE,
            accounts=accounts_on(path, _NOON),
            scope_keys=tuple(scope.key for scope in path),
            run_ids=("run-1",),
            facts=facts,
            paced=paced,
        )

    def _enter(self, run_id: str, limits: Limits | None = None) -> None:
        entry = Entry(run_id, Kind.RUN, run_id, run_id, None, "acme", _NOON, "conformance", path=(run_id,))
        self.ledger.enter(replace(entry, runs=(run_id,), limits=limits))

    def _state(self, hold: Hold) -> Any:
        return self.ledger.states(hold.accounts)[0]


def _scope(key: str, per: str = "total", **budget: Any) -> Scope:
    budgets = (Budget(**budget, per=per),) if any(budget.values()) else ()
    return Scope(key, key.partition(":")[2], budgets)


def _ask(cents: int) -> Ask:
    return Ask(fixed_pico=cents * _CENT, input_tokens=100)


def _booking(cents: int) -> Booking:
    return Booking(_NOON, Status.OK, Quality.REPORTED, Amounts(cents * _CENT, 100, 1, 0), ceiling_pico=cents * _CENT)


def _refund(hold: Hold, cents: int) -> Adjustment:
    return Adjustment("refund-1", hold.id, Adjusts.REFUND, cents * _CENT, "an outage was credited", "ada", _NOON)


def _raises(kind: type[Exception], act: Any) -> bool:
    try:
        act()
    except kind:
        return True
    return False
