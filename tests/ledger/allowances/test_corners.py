"""Allowances where two things happen at once, and where the books know nothing of what was written down."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tokenguard.core.allowance import Exchange
from tokenguard.core.verdict import Grant
from tokenguard.errors import LedgerConflict, LedgerUnavailable
from tokenguard.ledger.forwarding import Forwarding
from tokenguard.ledger.journal import Journaled
from tokenguard.ledger.purse_spool import lease_for, recovered, rewrite, storable
from tokenguard.ledger.spool import SUFFIX, Spool


def test_two_first_calls_at_once_make_one_purse(process: Any) -> None:
    found = process(tick_s=None)
    hold = found.hold()
    grant = found.books.reserve(hold, found.ask())
    purses = found.ledger._purses  # what both calls would tell it

    purses.learn(hold, grant)
    purses.learn(hold, grant)

    assert len(purses._snapshot()) == 1  # as above
    found.books.settle(hold.id, found.booking())


@pytest.mark.parametrize("act", ["settle", "keep"])
def test_an_outcome_that_comes_while_everything_is_given_back_goes_to_the_books(
    one: Any, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    hold_id = one.reserve()[0]

    def given_back_meanwhile(booking: Any) -> Any:
        one.ledger.relinquish()
        return storable(booking)

    monkeypatch.setattr("tokenguard.ledger.purse_spool.storable", given_back_meanwhile)
    if act == "settle":
        one.ledger.settle(hold_id, one.booking())
    else:
        one.ledger.keep(hold_id, one.desk.unknown(at=one.clock.now()))
        one.clock.advance(130)
        one.books.sweep()

    assert one.settled() == 3
    assert one.leased == 0
    assert one.books.verify().ok


def test_what_is_kept_without_an_allowance_is_kept_by_the_books(process: Any) -> None:
    found = process(tick_s=None)
    hold_id, verdict = found.reserve()
    assert isinstance(verdict, Grant)

    found.ledger.keep(hold_id, found.desk.unknown(at=found.clock.now()))

    assert found.held() == {hold_id: 1}


def test_the_same_reservation_again_is_the_same_grant(one: Any) -> None:
    hold = one.hold()

    first, again = one.ledger.reserve(hold, one.ask()), one.ledger.reserve(hold, one.ask())

    assert first == again
    one.ledger.settle(hold.id, one.booking())
    one.ledger.relinquish()
    assert one.settled() == 3


def test_much_that_was_paid_wakes_the_thread(one: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenguard.ledger.purses._MANY", 2)
    woken: list[bool] = []
    monkeypatch.setattr("tokenguard.ledger.caretaker.Caretaker.wake", lambda _: woken.append(True))
    one.ledger._purses.tell()  # begin with nothing to tell

    for _ in range(2):
        one.call(cost=0)

    assert woken == [True]


def test_a_call_in_flight_under_a_run_that_ended_is_left_in_peace(process: Any) -> None:
    found = process(tick_s=None)
    found.call()
    found.call()
    hold_id = found.reserve()[0]
    found.ledger.leave("run-1", outcome="completed", at=found.clock.now())
    before = found.held()

    assert found.ledger._purses.tend()  # what its thread does

    assert found.held() == before
    found.ledger.settle(hold_id, found.booking())


def test_a_lease_of_another_process_is_not_taken_for_ones_own(one: Any) -> None:
    (lease_id,) = one.held()
    mine = lease_for(one.hold(), lease_id, one.clock.now(), "process-0")

    assert one.books.exchange(Exchange(mine)).lease_id == lease_id
    with pytest.raises(LedgerConflict, match="belongs to process"):
        one.books.exchange(Exchange(replace(mine, owner="somebody else")))


def test_books_that_never_knew_a_lease_refuse_what_it_paid_and_the_file_is_kept(one: Any, process: Any) -> None:
    one.call()
    spool = next(one.folder.glob(f"*{SUFFIX}"))
    left = spool.read_text(encoding="ascii").replace("00000000-", "99999999-").replace("hold-", "strange-")
    one.ledger.relinquish()
    strange = Spool.open(one.folder)
    for line in left.splitlines():
        strange.append_json(line.partition(" ")[2].encode())
    strange.close()

    found = process(tick_s=None).ledger.take_over()

    assert not found.processes
    assert one.settled() == 3
    assert len(list(one.folder.glob("*.refused"))) == 1


def test_a_spool_that_begins_anew_has_what_nobody_answered_too(one: Any, tmp_path: Any) -> None:
    purses = one.ledger._purses  # the values that are written down
    (purse,) = purses._snapshot()  # as above
    one.ledger.settle(one.reserve()[0], one.booking(0))
    paid, kept, flying = (one.reserve()[0] for _ in range(3))
    one.ledger.settle(paid, one.booking())
    one.ledger.keep(kept, one.desk.unknown(at=one.clock.now()))
    purse.keep(flying, None)
    request = purse.close_for_exchange(lease_for(one.hold(), "next", one.clock.now(), "me"), wanted=None, times=0)
    anew = Spool.open(tmp_path / "anew")

    rewrite(anew, purse)

    (left,) = recovered(anew.records(), one.clock.now(), "heir")
    assert set(left.old_ids) == {*request.old_ids, "next"}
    outcomes = {one.promise.id: str(one.booking.status) for one in left.paid}
    assert (outcomes[paid], outcomes[kept], outcomes[flying]) == ("ok", "unresolved", "lost")
    anew.close()
    purse.unheard(request)


def test_a_forked_child_begins_without_purses(open_sql: Any, sqlite: str, desk: Any, clock: Any, tmp_path: Any) -> None:
    from ledger.allowances.conftest import made_of  # noqa: PLC0415  # a process without its fixture's clean-up

    child = made_of(open_sql(sqlite), desk, clock, tmp_path / "spools")
    child.call()
    child.call()
    in_flight = child.reserve()[0]

    child.ledger.dispose(forked=True)

    assert child.ledger.reserve_at_once(child.hold(), child.ask()) is None
    assert child.ledger.settle_at_once(in_flight, child.booking()) is None
    assert child.leased == 4


def test_a_promise_that_cannot_be_written_down_and_became_a_hold_meanwhile_is_granted(
    one: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = LedgerUnavailable("the disk is full.", database="spool")

    def given_back_meanwhile(*_: object) -> None:
        one.ledger.relinquish()
        raise full

    monkeypatch.setattr("tokenguard.ledger.purse_spool.write_promise", given_back_meanwhile)
    hold_id, verdict = one.reserve()
    monkeypatch.undo()

    assert isinstance(verdict, Grant)
    assert one.held() == {hold_id: 1}
    one.ledger.settle(hold_id, one.booking())
    assert one.settled() == 3
    assert one.heard.faults == [full]


def test_a_file_that_cannot_be_read_keeps_no_other_away(one: Any, process: Any) -> None:
    one.call()
    one.ledger._purses._spool.close()  # what the death of the process would do
    strange = Spool.open(one.folder)
    strange.append({"do": "promise", "purse": 1, "promise": {"of": "another version"}})
    strange.append({"do": "lease", "purse": 1, "id": "x"})
    strange.close()

    process(tick_s=None)

    assert one.settled() == 3
    assert one.leased == 0
    assert [path.name for path in one.folder.glob("*.refused")] == [strange.path.with_suffix(".refused").name]


def test_a_forgotten_purse_leases_no_more(process: Any) -> None:
    found = process(tick_s=None)
    found.call()
    found.call()
    purses = found.ledger._purses  # as its thread and a caller have it
    (purse,) = purses._snapshot()  # as above
    for seconds in (0, 6, 61):
        found.clock.advance(seconds)
        purses.tend()

    assert purses._leased(purse, found.hold(), found.ask()) is None  # who looked it up before
    assert found.leased == 0


def test_a_spool_that_cannot_begin_anew_goes_on(one: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenguard.ledger.purse_spool._MOST", 1_000)
    full = LedgerUnavailable("the disk is full.", database="spool")

    def refuse(*_: object) -> None:
        raise full

    hold_id = one.reserve()[0]
    monkeypatch.setattr("tokenguard.ledger.purse_spool.rewrite", refuse)
    for _ in range(4):
        one.call()
    monkeypatch.undo()

    assert full in one.heard.faults
    one.ledger.settle(hold_id, one.booking())
    one.ledger.relinquish()
    assert one.settled() == 7
    assert len(list(one.folder.glob(f"*{SUFFIX}"))) == 0


def test_a_call_of_another_window_is_not_granted_at_once(one: Any, desk: Any) -> None:
    other = desk.scope("scope:acme", usd="20.00", per="day", allowance="1.00")

    assert one.ledger.reserve_at_once(one.hold(path=(other,)), one.ask()) is None


def test_who_begins_anew_while_everything_is_given_back_goes_on(one: Any) -> None:
    purses, books = one.ledger._purses, one.books  # another thread's call comes in the middle
    hold = one.hold(run="run-2")
    grant = books.reserve(hold, one.ask())

    class Meanwhile(Forwarding):
        def exchange(self, request: Exchange) -> Any:
            purses.learn(hold, grant)
            return books.exchange(request)

    purses._lender = Meanwhile(books)  # as above

    assert purses.close()
    assert purses.knows(hold)
    purses._lender = books  # as above
    books.settle(hold.id, one.booking())


def test_what_waits_in_the_journal_is_booked_before_anything_is_leased(one: Any, tmp_path: Any) -> None:
    class Away(Forwarding):
        def settle(self, hold_id: str, booking: Any) -> Any:
            raise LedgerUnavailable("away.", database="test")

    hold_id = one.hold().id
    journaled = Journaled(Away(one.books), tmp_path / "journal", watch=False)
    assert journaled.settle(hold_id, one.booking()).journaled

    with pytest.raises(LedgerUnavailable):
        journaled.exchange(Exchange(lease_for(one.hold(), "next", one.clock.now(), "me")))
    journaled._over.set()  # its thread looks no more
