"""A ledger that hands everything on is the ledger behind it."""

from __future__ import annotations

from typing import Any

from tokenguard.core.adjusting import Adjustment, Adjusts
from tokenguard.core.verdict import Grant
from tokenguard.ledger.forwarding import Forwarding
from tokenguard.ledger.memory import MemoryLedger
from tokenguard.testing import CountingIds, FakeClock


def test_what_is_written_through_it_is_in_the_books_behind_it(desk: Any) -> None:
    inner = MemoryLedger(FakeClock(), CountingIds())
    outer = Forwarding(inner)
    hold = desk.hold(desk.scope(usd="1.00", per="day"))

    assert isinstance(outer.reserve(hold, desk.ask()), Grant)
    outer.settle(hold.id, desk.booking(cents=1))
    outer.charge(desk.hold(desk.scope(usd="1.00", per="day")), desk.booking(cents=2))
    outer.adjust(Adjustment("refund-1", hold.id, Adjusts.REFUND, desk.cent, "credited", "ada", desk.noon))
    assert outer.reserve_at_once(hold, desk.ask()) is None
    assert outer.settle_at_once(hold.id, desk.booking(cents=1)) is None
    outer.relinquish()
    outer.dispose()

    assert [one.settled for one in inner.states(hold.accounts)] == [2 * desk.cent]
    assert (outer.name, outer.inline) == (inner.name, inner.inline)
