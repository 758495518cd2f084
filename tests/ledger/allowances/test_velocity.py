"""Money per minute where processes pay out of allowances: it counts when it is told, at the second it was paid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from tokenguard.core.budget import Limits
from tokenguard.core.tree import TooFast
from tokenguard.core.verdict import Grant
from tokenguard.ledger import schema

WHERE = schema.anchor.c.node_id == "fast"


@pytest.fixture
def fast(process: Any, desk: Any) -> Any:
    """Makes processes whose calls are below a run that may spend five cents a minute."""

    def make(**under: Any) -> Any:
        found = process(tick_s=None, **under)
        found.books.enter(desk.entry("fast", path=("fast",), runs=("fast",), limits=Limits(usd_per_minute="0.05")))
        return found

    return make


FAST: dict[str, Any] = {"run": "fast", "paced": ("fast",)}


def leased(found: Any) -> None:
    """Two calls: the first teaches it that it may lease, the second takes the lease."""
    for _ in range(2):
        found.call(**FAST)


def test_what_two_processes_paid_out_of_allowances_adds_up(fast: Any, desk: Any) -> None:
    first, second = fast(), fast()
    leased(first)
    leased(second)
    second.call(**FAST)
    before = first.reserve(**FAST)[1]
    first.ledger.tree("fast")
    second.ledger.tree("fast")

    refused = second.reserve(**FAST)[1]

    assert isinstance(before, Grant)
    assert refused == TooFast("fast", "usd_per_minute", 5 * desk.cent, 5 * desk.cent)
    assert second.ledger._purses._snapshot()[0].states == ()


def test_what_was_paid_before_an_outage_counts_for_the_minute_in_which_it_was_paid(fast: Any, clock: Any) -> None:
    found = fast()
    leased(found)
    for _ in range(3):
        found.call(**FAST)
    clock.advance(61)
    found.ledger.tree("fast")

    assert found.settled() == 5
    assert isinstance(found.reserve(**FAST)[1], Grant)


def test_what_a_dead_process_paid_is_counted_by_its_heir(fast: Any) -> None:
    dead = fast()
    leased(dead)
    for _ in range(3):
        dead.call(**FAST)
    dead.ledger._purses._spool.close()  # what the death of the process would do

    heir = fast()

    assert isinstance(heir.reserve(**FAST)[1], TooFast)


def test_an_exchange_that_is_asked_again_counts_once(fast: Any, desk: Any) -> None:
    found = fast()
    leased(found)
    found.ledger.tree("fast")
    request, _ = next(one for one in found.heard.exchanges if one[0].paid)
    again = replace(request, lease=replace(request.lease, id="another"), repeated=True, times=0)

    found.books.exchange(again)

    flow = found.books._database.read(
        lambda connection: connection.execute(sa.select(schema.anchor.c.flow).where(WHERE)).scalar_one()
    )
    assert sum(moment[1] for moment in flow) == 2 * desk.cent
    assert found.settled() == 2
