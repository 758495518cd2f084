"""Processes that die with a lease: what they paid is booked, what was in flight is assumed, the rest goes back."""

from __future__ import annotations

from typing import Any

import pytest

from tokenguard.core.allowance import Exchange
from tokenguard.core.usage import Quality
from tokenguard.errors import LedgerUnavailable
from tokenguard.ledger.heirs import inherit
from tokenguard.ledger.spool import SUFFIX, Spool


@pytest.fixture
def dead(process: Any, desk: Any) -> Any:
    """A process that died: one call paid and not told, one in flight, one whose outcome nobody knew."""
    found = process(tick_s=None)
    found.call(cost=1)
    found.call(cost=1)
    found.in_flight = found.reserve(cents=1)[0]
    found.kept = found.reserve(cents=1)[0]
    found.ledger.keep(found.kept, desk.unknown(at=found.clock.now()))
    kill(found)
    return found


def kill(found: Any) -> None:
    """The kernel lets go of the lock on its spool."""
    found.ledger._purses._spool.close()  # what the death of the process would do


def events(found: Any) -> dict[str, Any]:
    return {event.id: event for event in found.books.events_of("run-1")}


def test_the_next_process_of_the_machine_books_it(dead: Any, process: Any) -> None:
    assert dead.leased == 4

    heir = process(tick_s=None)

    assert dead.leased == 0
    assert dead.settled() == dead.spent() == 4
    booked = events(dead)
    assert booked[dead.in_flight].booking.quality is Quality.ASSUMED
    assert booked[dead.in_flight].booking.status == "lost"
    assert booked[dead.kept].booking.status == "unresolved"
    assert booked[dead.kept].booking.endpoint == "eu-1"
    assert len(heir.heard.exchanges) == 1
    assert not list(dead.folder.glob(f"*{SUFFIX}"))
    assert dead.books.verify().ok


def test_doing_it_twice_does_nothing(dead: Any, process: Any) -> None:
    spool = next(dead.folder.glob(f"*{SUFFIX}"))
    left = spool.read_bytes()
    heir = process(tick_s=None)
    spool.write_bytes(left)

    found = heir.ledger.take_over()

    assert (found.processes, found.paid, found.assumed) == (1, 1, 2)
    assert not found.refused
    assert dead.settled() == dead.spent() == 4
    assert dead.books.verify().ok


def test_a_sweep_asks_for_what_was_written_down_first(dead: Any, process: Any, desk: Any) -> None:
    heir = process(tick_s=None)
    for _ in range(4):
        heir.call()
    kill(heir)

    dead.ledger.sweep()

    assert dead.leased == 0
    assert dead.settled() == dead.spent() == 8


def test_a_lease_that_was_charged_whole_before_is_corrected(dead: Any, process: Any) -> None:
    dead.clock.advance(200)
    dead.books.sweep()
    assert dead.settled() == 5

    process(tick_s=None)

    assert dead.settled() == dead.spent() == 4
    assert dead.books.verify().ok


def test_leases_whose_spool_is_gone_are_assumed_whole(dead: Any, process: Any) -> None:
    for path in dead.folder.glob(f"*{SUFFIX}"):
        path.unlink()
    process(tick_s=None)

    dead.clock.advance(200)
    dead.books.sweep()

    assert dead.settled() == dead.spent() == 5
    lost = [row for row in dead.books.spend(["operation", "quality"]) if row.by[0] == "allowance"]
    assert [(row.by[1], row.usd.pico // dead.desk.cent) for row in lost] == [("assumed", 4)]


def test_a_death_in_the_middle_of_a_line_loses_that_line_only(dead: Any, process: Any) -> None:
    spool = next(dead.folder.glob(f"*{SUFFIX}"))
    spool.write_bytes(spool.read_bytes()[:-20])

    process(tick_s=None)

    assert events(dead)[dead.kept].booking.status == "lost"
    assert dead.settled() == dead.spent() == 4


def test_what_the_books_have_otherwise_stands_and_the_file_is_kept(dead: Any, process: Any, desk: Any) -> None:
    spool = next(dead.folder.glob(f"*{SUFFIX}"))
    left = spool.read_text(encoding="ascii")
    heir = process(tick_s=None)
    copied = Spool.open(dead.folder)
    for line in left.splitlines():
        copied.append_json(line.partition(" ")[2].replace('"usd_pico":10000000000', '"usd_pico":20000000000').encode())
    copied.close()

    found = heir.ledger.take_over()

    assert len(found.refused) == 1
    assert "The first booking stands" in found.refused[0].sentence
    assert dead.settled() == dead.spent() == 4
    assert len(list(dead.folder.glob("*.refused"))) == 1
    assert not list(dead.folder.glob(f"*{SUFFIX}"))


def test_while_the_ledger_is_away_it_waits(dead: Any, process: Any) -> None:
    class Away:
        def caps(self, hold: Any) -> Any:
            raise LedgerUnavailable("away.", database="test")

        def exchange(self, request: Exchange) -> Any:
            raise LedgerUnavailable("away.", database="test")

    spool = next(dead.folder.glob(f"*{SUFFIX}"))

    found = inherit(Away(), dead.folder, dead.clock.now(), "heir")

    assert found.away is not None
    assert spool.exists()
    assert process(tick_s=None).settled() == 4


def test_a_fault_while_taking_over_is_told(dead: Any, process: Any) -> None:
    heir = process(tick_s=None, folder=dead.folder.parent / "elsewhere")
    heir.ledger._under = dead.ledger._under  # it looks where the dead one wrote

    def away(request: Exchange) -> Any:
        raise LedgerUnavailable("away.", database="test")

    heir.ledger._lender = type("Away", (), {"exchange": staticmethod(away)})()  # as above

    assert heir.ledger.take_over().away is not None
    assert len(dead.heard.faults) == 1


def test_a_process_without_leases_left_nothing(process: Any) -> None:
    found = process(tick_s=None)
    found.folder.mkdir(parents=True, exist_ok=True)
    Spool.open(found.folder).close()

    assert found.ledger.take_over().processes == 1
    assert not list(found.folder.glob(f"*{SUFFIX}"))


def test_a_spool_that_grew_begins_anew_with_what_is_still_to_be_told(
    one: Any, process: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokenguard.ledger.purse_spool._MOST", 2_000)
    first = next(one.folder.glob(f"*{SUFFIX}"))
    hold_id = one.reserve()[0]
    for _ in range(8):
        one.call()

    (second,) = one.folder.glob(f"*{SUFFIX}")
    assert second != first
    kill(one)
    process(tick_s=None)

    assert events(one)[hold_id].booking.quality is Quality.ASSUMED
    assert one.settled() == one.spent() == 11
    assert one.books.verify().ok


@pytest.mark.parametrize("text", ["lone \ud800 surrogate", "nul \0"])
def test_what_no_database_can_write_down_is_not_leased_for(one: Any, text: str) -> None:
    hold = one.hold(labels={"feature": text})

    assert one.ledger.reserve_at_once(hold, one.ask()) is None

    one.ledger.relinquish()
    assert one.settled() == 2


@pytest.mark.parametrize("text", ["lone \ud800 surrogate", "nul \0"])
def test_what_a_provider_said_is_spelled_out_where_no_database_takes_it(one: Any, process: Any, text: str) -> None:
    first, second = one.reserve()[0], one.reserve()[0]
    one.ledger.settle(first, one.booking(response_id=text))
    one.ledger.keep(second, one.desk.unknown(at=one.clock.now()))
    kill(one)

    process(tick_s=None)

    assert events(one)[first].booking.response_id in {"lone \\ud800 surrogate", "nul \\x00"}
    assert one.settled() == 4
