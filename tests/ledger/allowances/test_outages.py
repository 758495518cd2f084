"""While the ledger is away what was leased before is spent, or nothing; a lost answer is asked for again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tokenguard.core.adjusting import Adjustment, Adjusts
from tokenguard.core.allowance import Exchange, Exchanged
from tokenguard.core.money import Money
from tokenguard.core.verdict import Grant
from tokenguard.errors import LedgerUnavailable
from tokenguard.ledger.forwarding import Forwarding


class Line(Forwarding):
    """A connection to the books that can be cut, before a request or before its answer."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.cut = ""

    def reserve(self, hold: Any, ask: Any) -> Any:
        if self.cut:
            raise LedgerUnavailable("the ledger is away.", database="test")
        return self.inner.reserve(hold, ask)

    def caps(self, hold: Any) -> Any:
        if self.cut == "before":
            raise LedgerUnavailable("the ledger is away.", database="test")
        return self.inner.caps(hold)  # type: ignore[attr-defined]

    def exchange(self, request: Exchange) -> Exchanged:
        if self.cut == "before":
            raise LedgerUnavailable("the ledger is away.", database="test")
        done: Exchanged = self.inner.exchange(request)  # type: ignore[attr-defined]
        if self.cut == "after":
            raise _lost()
        return done


def _lost() -> LedgerUnavailable:
    return LedgerUnavailable("the answer was lost.", database="test", in_doubt=True)


@pytest.fixture
def lined(process: Any) -> Any:
    """Makes a process that has leased, and its line."""

    def make(**conditions: Any) -> Any:
        found = process(tick_s=None, **conditions)
        found.line = found.ledger.inner = Line(found.books)
        found.ledger._lender = found.ledger._purses._lender = found.line  # what assembly would give it
        found.call()
        found.call()
        return found

    return make


def test_an_allowance_bridges_an_outage_with_what_was_leased_and_no_more(lined: Any) -> None:
    found = lined(bridges=True)
    found.line.cut = "before"

    found.clock.advance(5)
    sent = 0
    with pytest.raises(LedgerUnavailable):
        for _ in range(10):
            found.call()
            sent += 1

    assert sent == 3
    assert found.leased == 4
    found.line.cut = ""
    found.call()
    found.ledger.relinquish()
    assert found.settled() == 6
    assert found.books.verify().ok


def test_no_outage_is_bridged_for_longer_than_a_lease(lined: Any) -> None:
    found = lined(bridges=True)
    found.line.cut = "before"

    found.clock.advance(119)
    found.call()
    found.clock.advance(2)

    with pytest.raises(LedgerUnavailable):
        found.call()


def test_who_refuses_sends_nothing_a_second_after_the_ledger_was_heard_last(lined: Any) -> None:
    found = lined()
    found.line.cut = "before"

    found.clock.advance(0.9)
    found.call()
    found.clock.advance(0.2)

    with pytest.raises(LedgerUnavailable):
        found.call()


def test_a_guard_that_bridges_leases_before_the_second_call(process: Any) -> None:
    found = process(bridges=True, tick_s=None)

    found.call()

    assert found.leased == 4


def test_calls_that_end_while_the_ledger_is_away_are_told_when_it_is_back(lined: Any) -> None:
    found = lined(bridges=True)
    first, second = found.reserve()[0], found.reserve()[0]
    found.line.cut = "before"
    found.clock.advance(1.1)
    found.ledger.settle(first, found.booking())

    assert found.ledger._purses.tend()  # what its thread does
    found.ledger.settle(second, found.booking())
    assert found.heard.faults

    found.line.cut = ""
    found.ledger._purses.tend()  # as above
    found.ledger.relinquish()
    assert found.settled() == found.spent() == 4
    assert found.books.verify().ok


def test_a_settlement_while_an_exchange_fails_gives_its_room_back(lined: Any) -> None:
    found = lined(bridges=True)
    in_flight = [found.reserve()[0]]

    class Ends(Line):
        def exchange(self, request: Exchange) -> Exchanged:
            while in_flight:
                found.ledger.settle(in_flight.pop(), found.booking(0))
            return super().exchange(request)

    found.ledger._purses._lender = ends = Ends(found.books)  # as in the fixture
    ends.cut = "before"
    for _ in range(3):
        found.call()

    with pytest.raises(LedgerUnavailable):
        found.call()
    ends.cut = ""
    found.ledger.relinquish()
    assert found.settled() == 5
    assert found.books.verify().ok


def test_after_a_lost_answer_nothing_is_spent_until_it_was_asked_again(lined: Any) -> None:
    found = lined(bridges=True)
    for _ in range(3):
        found.call()
    found.line.cut = "after"

    for _ in range(2):
        with pytest.raises(LedgerUnavailable):
            found.call()
    found.line.cut = ""
    found.call()

    found.ledger.relinquish()
    assert found.settled() == found.spent() == 6
    assert found.leased == 0
    assert found.books.verify().ok


def test_an_exchange_that_is_asked_again_after_its_lease_ended_leases_nothing(lined: Any) -> None:
    found = lined(bridges=True)
    for _ in range(3):
        found.call()
    found.line.cut = "after"
    with pytest.raises(LedgerUnavailable):
        found.call()
    found.line.cut = ""

    found.clock.advance(130)
    found.books.sweep()
    assert found.settled() > 5
    found.call()
    found.ledger.relinquish()

    assert found.settled() == found.spent() == 6
    assert found.books.verify().ok


def test_a_lease_that_was_charged_whole_is_corrected_when_its_process_goes_on(one: Any) -> None:
    hold_id = one.reserve()[0]
    one.clock.advance(130)
    one.books.sweep()
    assert one.settled() == 5

    one.ledger.settle(hold_id, one.booking())
    one.call()
    one.ledger.relinquish()

    assert one.settled() == one.spent() == 4
    assert one.leased == 0
    assert one.books.verify().ok


def test_where_the_disk_is_full_calls_are_judged_by_the_ledger(one: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    full = LedgerUnavailable("the disk is full.", database="spool")

    def refuse(*_: object, **__: object) -> None:
        raise full

    first, second = one.reserve()[0], one.reserve()[0]
    monkeypatch.setattr("tokenguard.ledger.spool.Spool.append_json", refuse)
    one.ledger.settle(first, one.booking())
    third = one.reserve()[0]

    assert set(one.heard.faults) == {full}
    assert one.held() == {second: 1, third: 1}
    for hold_id in (second, third):
        one.ledger.settle(hold_id, one.booking())
    assert one.settled() == one.spent() == 5
    assert one.books.verify().ok


def test_without_a_place_to_write_nothing_is_leased(process: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    found = process(folder=tmp_path / "file", tick_s=None)

    for _ in range(3):
        found.call()

    assert not found.heard.exchanges
    assert len(found.heard.faults) == 1
    assert found.settled() == 3


def test_a_fault_of_the_thread_is_told_and_tried_again(lined: Any) -> None:
    found = lined()
    found.call()
    found.line.cut = "before"
    found.clock.advance(0.9)

    found.ledger._purses.tend()  # what its thread does
    assert len(found.heard.faults) == 1
    found.line.cut = ""
    found.clock.advance(6)
    found.ledger._purses.tend()  # as above

    assert found.settled() == 3


def test_reads_tell_what_was_paid_first(one: Any) -> None:
    one.call()

    assert one.ledger.states([one.hold().accounts[0]])[0].settled == 3 * one.desk.cent
    one.call()
    assert sum(row.usd.pico for row in one.ledger.spend(["agent"])) == 4 * one.desk.cent
    one.call()
    assert one.ledger.tree("run-1")[0].usd.pico == 5 * one.desk.cent
    one.call()
    assert one.ledger.lineage("run-1")[0].usd.pico == 6 * one.desk.cent
    assert isinstance(one.reserve()[1], Grant)


def test_what_was_just_paid_can_be_refunded(one: Any) -> None:
    hold_id = one.call()

    refund = Adjustment("refund", hold_id, Adjusts.REFUND, one.desk.cent, "goodwill", "ada", one.clock.now())
    done = one.ledger.adjust(refund)

    assert done.after == Money(0)
    assert one.settled() == 2


def test_a_lost_answer_to_giving_everything_back_revives_no_lease(lined: Any) -> None:
    found = lined(bridges=True)
    found.call()
    found.line.cut = "after"
    found.ledger.leave("run-1", outcome="completed", at=found.clock.now())
    found.line.cut = ""

    assert found.leased == 0
    found.ledger.relinquish()

    assert found.settled() == found.spent() == 3
    assert found.books.verify().ok


def test_a_ledger_that_goes_away_after_a_lost_answer_leaves_the_doubt(lined: Any) -> None:
    found = lined(bridges=True)
    for _ in range(3):
        found.call()
    found.line.cut = "after"
    with pytest.raises(LedgerUnavailable):
        found.call()
    found.line.cut = "before"

    for _ in range(2):
        with pytest.raises(LedgerUnavailable):
            found.call()
    found.line.cut = ""
    found.call()

    found.ledger.relinquish()
    assert found.settled() == found.spent() == 6
    assert found.leased == 0
    assert found.books.verify().ok


def test_who_hears_of_an_exchange_may_act_on_the_guard(one: Any) -> None:
    def lower(request: Exchange, done: Exchanged) -> None:
        one.ledger.relinquish()

    one.heard.exchanged = lower
    one.clock.advance(6)
    one.ledger._purses.tend()  # what its thread does
    one.call()
    one.call()

    assert one.settled() >= 3
    one.ledger.relinquish()
    assert one.books.verify().ok
