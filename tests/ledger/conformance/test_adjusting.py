"""Refunds and corrections: new rows in the window of the hold, once, never more than was booked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tokenguard.core.adjusting import Adjustment, Adjusts
from tokenguard.core.books import Status
from tokenguard.core.money import Money
from tokenguard.core.usage import Quality
from tokenguard.errors import AdjustRefused, BadAmount, LedgerConflict, SettingsError


def refund(hold: Any, desk: Any, cents: int = 1, **changes: Any) -> Adjustment:
    asked = {"id": "refund-1", "attempt_id": hold.id, "kind": Adjusts.REFUND, "usd_pico": cents * desk.cent}
    said = {"why": "an outage was credited", "by": "ada", "at": desk.noon + timedelta(days=3)}
    return Adjustment(**{**asked, **said, **changes})


def correction(hold: Any, desk: Any, cents: int, **changes: Any) -> Adjustment:
    return refund(hold, desk, cents, **{"id": "correction-1", "kind": Adjusts.CORRECTION, **changes})


def settled(ledger: Any, desk: Any, cents: int = 4, **booking: Any) -> Any:
    """The hold of an attempt that was settled."""
    hold = desk.hold(desk.scope(usd="1.00", tokens=1_000, per="day"), desk.scope("run:1", usd="1.00", calls=9))
    ledger.reserve(hold, desk.ask(cents=9))
    ledger.settle(hold.id, desk.booking(cents=cents, **booking))
    return hold


def lost(ledger: Any, desk: Any, cents: int = 4) -> Any:
    """The hold of an attempt of which nobody said what it came to."""
    hold = desk.hold(desk.scope(usd="1.00", per="day"), desk.scope("scope:any", usd="1.00", per="rolling 24h"))
    ledger.reserve(hold, desk.ask(cents=cents))
    ledger.sweep(desk.noon + timedelta(hours=1))
    return hold


def usd(ledger: Any, hold: Any, desk: Any) -> list[int]:
    """What each account in dollars settled, in cents."""
    states = ledger.states([one for one in hold.accounts if one.unit == "usd"], desk.noon)
    return [one.settled // desk.cent for one in states]


def replays(ledger: Any) -> bool:
    inner = getattr(ledger, "inner", ledger)
    return not hasattr(inner, "verify") or inner.verify().findings == ()


def test_a_refund_is_booked_in_the_window_of_its_hold(ledger: Any, desk: Any) -> None:
    hold = settled(ledger, desk, cents=4)

    done = ledger.adjust(refund(hold, desk, cents=3))

    assert (done.before, done.after, done.duplicate) == (Money("0.04"), Money("0.01"), False)
    assert usd(ledger, hold, desk) == [1, 1]
    assert [one.account.bucket for one in done.states if one.account.per == "day"] == ["2026-03-14T00:00Z"] * 2
    rows = ledger.spend(["day", "status", "quality"])
    assert [(row.by, row.usd.json(), row.calls, row.input_tokens) for row in rows] == [
        (("2026-03-14", "ok", "reported"), "0.01", 1, 60)
    ]
    assert replays(ledger)


def test_a_refund_makes_room_for_the_next_call(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.04")
    hold = desk.hold(scope)
    ledger.reserve(hold, desk.ask(cents=4))
    ledger.settle(hold.id, desk.booking(cents=4))

    ledger.adjust(refund(hold, desk, cents=1))

    assert hasattr(ledger.reserve(desk.hold(scope), desk.ask(cents=1)), "amounts")


def test_the_same_refund_again_moves_nothing(ledger: Any, desk: Any) -> None:
    hold = settled(ledger, desk, cents=4)
    first = ledger.adjust(refund(hold, desk, cents=2))

    again = ledger.adjust(refund(hold, desk, cents=2, why="told twice", at=desk.noon + timedelta(days=9)))

    assert again.duplicate
    assert (again.before, again.after, again.run_id) == (first.before, first.after, "run-1")
    assert usd(ledger, hold, desk) == [2, 2]


@pytest.mark.parametrize("changes", [{"usd_pico": 1}, {"attempt_id": "another"}, {"kind": Adjusts.CORRECTION}])
def test_an_adjustment_that_comes_again_with_other_numbers_is_a_conflict(
    ledger: Any, desk: Any, changes: dict[str, Any]
) -> None:
    hold = settled(ledger, desk, cents=4)
    ledger.adjust(refund(hold, desk, cents=2))

    with pytest.raises(LedgerConflict, match=r"known as refund of \$0\.02 .* The first one stands"):
        ledger.adjust(refund(hold, desk, cents=2, **changes))

    assert usd(ledger, hold, desk) == [2, 2]


def test_no_more_comes_back_than_stands_booked(ledger: Any, desk: Any) -> None:
    hold = settled(ledger, desk, cents=4)
    ledger.adjust(refund(hold, desk, cents=3))

    with pytest.raises(AdjustRefused, match=r"stands booked at \$0\.0100, and \$0\.0200 are to come back") as caught:
        ledger.adjust(refund(hold, desk, cents=2, id="refund-2"))

    assert (caught.value.reason, caught.value.booked, caught.value.asked) == ("too_much", Money("0.01"), Money("0.02"))
    assert usd(ledger, hold, desk) == [1, 1]


def test_refunds_add_up_to_everything_that_was_booked(ledger: Any, desk: Any) -> None:
    hold = settled(ledger, desk, cents=4)

    for number in range(4):
        ledger.adjust(refund(hold, desk, cents=1, id=f"refund-{number}"))

    assert usd(ledger, hold, desk) == [0, 0]
    assert ledger.spend([])[0].usd == Money(0)
    assert replays(ledger)


def test_a_correction_states_what_the_provider_billed_in_either_direction(ledger: Any, desk: Any) -> None:
    hold = settled(ledger, desk, cents=4, quality=Quality.ESTIMATED)

    up = ledger.adjust(correction(hold, desk, cents=7))
    down = ledger.adjust(correction(hold, desk, cents=2, id="correction-2"))

    assert (up.after, down.before, down.after) == (Money("0.07"), Money("0.07"), Money("0.02"))
    assert usd(ledger, hold, desk) == [2, 2]
    row = ledger.spend(["quality"])[0]
    assert (row.usd, row.estimated, row.calls) == (Money("0.02"), Money(0), 1)
    assert replays(ledger)


def test_a_correction_above_the_cap_is_booked_in_full(ledger: Any, desk: Any) -> None:
    hold = settled(ledger, desk, cents=4)

    done = ledger.adjust(correction(hold, desk, cents=500))

    assert usd(ledger, hold, desk) == [500, 500]
    assert min(one.free for one in done.states) < 0


def test_a_void_attempt_that_was_billed_all_the_same_is_corrected(ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope(usd="1.00"))
    ledger.reserve(hold, desk.ask(cents=4))
    ledger.settle(hold.id, desk.void())

    ledger.adjust(correction(hold, desk, cents=3))

    assert usd(ledger, hold, desk) == [3]
    assert replays(ledger)


def test_a_charge_is_refunded_like_a_call(ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope(usd="1.00"), operation="charge")
    booking = desk.booking(cents=3, status=Status.CHARGED, usage=None, lines=())
    ledger.charge(hold, booking)

    ledger.adjust(refund(hold, desk, cents=2))

    assert usd(ledger, hold, desk) == [1]
    assert ledger.charge(hold, booking).duplicate
    assert replays(ledger)


def test_an_attempt_without_any_budget_is_refunded_too(ledger: Any, desk: Any) -> None:
    hold = desk.hold(run=None)
    ledger.reserve(hold, desk.ask(cents=4))
    ledger.settle(hold.id, desk.booking(cents=4))

    done = ledger.adjust(refund(hold, desk, cents=1))

    assert (done.states, done.run_id, done.scope_key) == ((), None, None)
    assert ledger.spend([])[0].usd == Money("0.03")
    assert replays(ledger)


def test_an_open_attempt_is_neither_refunded_nor_corrected(ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope(usd="1.00"))
    ledger.reserve(hold, desk.ask(cents=4))

    for asked in (refund(hold, desk), correction(hold, desk, 0)):
        with pytest.raises(AdjustRefused, match="is not settled yet: its hold is open") as caught:
            ledger.adjust(asked)
        assert (caught.value.reason, caught.value.attempt_id) == ("open", hold.id)
    ledger.keep(hold.id, desk.unknown())
    with pytest.raises(AdjustRefused, match="is not settled yet"):
        ledger.adjust(refund(hold, desk))


def test_what_is_no_attempt_of_these_books_cannot_be_adjusted(ledger: Any, desk: Any) -> None:
    step = desk.entry("step-1", "run-1", accounts=desk.hold(desk.scope("run:1", steps=2)).accounts)
    ledger.enter(step)

    for unknown in ("nobody", "step-1"):
        with pytest.raises(AdjustRefused, match=f"there is no attempt '{unknown}'") as caught:
            ledger.adjust(refund(step, desk, attempt_id=unknown))
        assert caught.value.reason == "unknown"


def test_a_settlement_that_is_told_again_after_a_refund_is_known(ledger: Any, desk: Any) -> None:
    hold = settled(ledger, desk, cents=4)
    ledger.adjust(refund(hold, desk, cents=3))

    again = ledger.settle(hold.id, desk.booking(cents=4))

    assert (again.duplicate, again.late) == (True, False)
    assert usd(ledger, hold, desk) == [1, 1]
    with pytest.raises(LedgerConflict, match="The first booking stands"):
        ledger.settle(hold.id, desk.booking(cents=1))
    with pytest.raises(LedgerConflict, match="The first booking stands"):
        ledger.keep(hold.id, desk.unknown())


@pytest.mark.parametrize("cents", [1, 4])
def test_a_late_settlement_after_a_refund_ends_at_the_truth(ledger: Any, desk: Any, cents: int) -> None:
    hold = lost(ledger, desk, cents=4)
    ledger.adjust(refund(hold, desk, cents=cents))
    refunded = usd(ledger, hold, desk)

    late = ledger.settle(hold.id, desk.booking(cents=3, at=desk.noon + timedelta(days=2)))
    again = ledger.settle(hold.id, desk.booking(cents=3))

    assert refunded == [4 - cents, 4 - cents]
    assert (late.late, late.duplicate, again.late, again.duplicate) == (True, False, True, True)
    assert usd(ledger, hold, desk) == [3, 3]
    rows = ledger.spend(["day", "status", "quality"])
    assert [(row.by, row.usd.json()) for row in rows if row.usd] == [(("2026-03-14", "ok", "reported"), "0.03")]
    assert replays(ledger)


def test_a_refund_after_a_late_settlement_is_taken_from_the_truth(ledger: Any, desk: Any) -> None:
    hold = lost(ledger, desk, cents=4)
    ledger.settle(hold.id, desk.booking(cents=3))

    ledger.adjust(refund(hold, desk, cents=2))

    assert usd(ledger, hold, desk) == [1, 1]
    assert ledger.settle(hold.id, desk.booking(cents=3)).duplicate
    with pytest.raises(AdjustRefused, match="or less"):
        ledger.adjust(refund(hold, desk, cents=2, id="refund-2"))
    assert replays(ledger)


def test_a_refund_of_an_assumed_charge_stays_assumed_and_a_correction_is_reported(ledger: Any, desk: Any) -> None:
    hold = lost(ledger, desk, cents=4)

    ledger.adjust(refund(hold, desk, cents=1))
    assumed = ledger.spend([])[0].assumed
    ledger.adjust(correction(hold, desk, cents=2))

    assert assumed == Money("0.03")
    assert (ledger.spend([])[0].usd, ledger.spend([])[0].assumed) == (Money("0.02"), Money(0))
    ledger.keep(hold.id, desk.unknown())
    late = ledger.settle(hold.id, desk.booking(cents=3))
    assert (late.late, usd(ledger, hold, desk)) == (True, [3, 3])
    assert replays(ledger)


def test_a_late_settlement_that_says_what_was_assumed_moves_nothing(ledger: Any, desk: Any) -> None:
    hold = lost(ledger, desk, cents=4)
    assumed = desk.booking(cents=4, status=Status.LOST, quality=Quality.ASSUMED, usage=None, lines=())

    again = ledger.settle(hold.id, assumed)

    assert (again.duplicate, again.late) == (True, True)
    assert usd(ledger, hold, desk) == [4, 4]


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"usd_pico": 0}, BadAmount, r"a refund of \$0\.00 cannot be meant"),
        ({"usd_pico": -1}, BadAmount, "cannot be meant"),
        ({"usd_pico": -1, "kind": Adjusts.CORRECTION}, BadAmount, "zero or more"),
        ({"usd_pico": "5"}, BadAmount, "whole numbers"),
        ({"why": " "}, SettingsError, "why=' ': the books need one printable line"),
        ({"why": "a\nb"}, SettingsError, "one printable line"),
        ({"by": "\0"}, SettingsError, "one printable line"),
        ({"why": "x" * 501}, SettingsError, "of 1 to 500 characters"),
    ],
)
def test_an_adjustment_that_cannot_be_meant_is_no_adjustment(
    desk: Any, changes: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        refund(desk.hold(), desk, **changes)
