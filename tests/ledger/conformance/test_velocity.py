"""Money and tokens per minute, counted in the books: the same in memory, in a file and on a server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tokenguard.core.account import Amounts
from tokenguard.core.books import Kind, Status
from tokenguard.core.budget import Limits
from tokenguard.core.money import Money
from tokenguard.core.tree import TooFast
from tokenguard.core.verdict import Grant, Short
from tokenguard.errors import BadAmount

OFF = {"depth": None, "children": None, "descendants": None, "spawns_per_minute": None}
CENTS = 10**10


def begin(ledger: Any, desk: Any, *path: str, **limits: Any) -> None:
    """Enter the last run of a path whose others began before."""
    *_, above, node_id = (None, None, *path)
    own = Limits(**{**OFF, **limits})
    entry = desk.entry(node_id, above, path[0], path=path, runs=path, limits=own, kind=Kind.AGENT)
    assert ledger.enter(entry) is None


def call(ledger: Any, desk: Any, *paced: str, cents: int = 1, **changes: Any) -> Any:
    """Reserve for a call below these nodes, and settle what was granted; the verdict."""
    hold = changes.pop("hold", None) or desk.hold(
        desk.scope("scope:acme", usd="9.00", per="day"), runs=paced, **changes
    )
    hold = replace(hold, paced=paced)
    verdict = ledger.reserve(hold, desk.ask(cents))
    if isinstance(verdict, Grant):
        ledger.settle(hold.id, desk.booking(cents))
    return verdict


def test_what_was_settled_in_the_last_minute_keeps_the_next_call_from_being_sent(
    ledger: Any, desk: Any, clock: Any
) -> None:
    begin(ledger, desk, "root", usd_per_minute="0.03")
    begin(ledger, desk, "root", "below")
    first = [call(ledger, desk, "root") for _ in range(2)]
    clock.advance(60)
    third, fourth = call(ledger, desk, "root"), call(ledger, desk, "root")
    clock.advance(1)
    fifth = call(ledger, desk, "root")

    assert all(isinstance(one, Grant) for one in (*first, third, fifth))
    assert fourth == TooFast("root", "usd_per_minute", 3 * CENTS, 3 * CENTS)


def test_a_call_that_is_refused_for_its_speed_holds_nothing(ledger: Any, desk: Any) -> None:
    begin(ledger, desk, "root", usd_per_minute="0.01")
    call(ledger, desk, "root")
    hold = desk.hold(desk.scope("scope:acme", usd="9.00", per="day"))

    assert isinstance(call(ledger, desk, "root", hold=hold), TooFast)
    assert [one.held for one in ledger.states(hold.accounts)] == [0]


def test_tokens_are_counted_beside_money_and_the_outermost_limit_is_named(ledger: Any, desk: Any) -> None:
    begin(ledger, desk, "root", tokens_per_minute=200)
    begin(ledger, desk, "root", "inner", usd_per_minute="0.02", tokens_per_minute=900)
    for _ in range(2):
        call(ledger, desk, "root", "inner")

    assert call(ledger, desk, "root", "inner") == TooFast("root", "tokens_per_minute", 200, 200)
    assert isinstance(call(ledger, desk), Grant)


def test_what_cost_nothing_does_not_flow_and_a_limit_of_zero_is_none(ledger: Any, desk: Any) -> None:
    begin(ledger, desk, "root", usd_per_minute=0, tokens_per_minute=0)
    begin(ledger, desk, "void", usd_per_minute="0.01")
    hold = desk.hold(desk.scope("scope:acme", usd="9.00", per="day"), paced=("void",))
    ledger.reserve(hold, desk.ask())
    ledger.settle(hold.id, desk.void())

    assert [type(call(ledger, desk, "root")) for _ in range(3)] == [Grant] * 3
    assert isinstance(call(ledger, desk, "void"), Grant)


def test_a_charge_flows_too(ledger: Any, desk: Any) -> None:
    begin(ledger, desk, "root", usd_per_minute="0.02")
    hold = desk.hold(desk.scope("scope:acme", usd="9.00", per="day"), paced=("root",))
    booking = desk.booking(2, status=Status.CHARGED)
    ledger.charge(hold, booking)
    ledger.charge(hold, booking)

    assert call(ledger, desk, "root") == TooFast("root", "usd_per_minute", 2 * CENTS, 2 * CENTS)


def test_what_a_lease_that_ended_assumes_flowed_before_the_minute(ledger: Any, desk: Any, clock: Any) -> None:
    begin(ledger, desk, "root", usd_per_minute="0.01")
    hold = desk.hold(desk.scope("scope:acme", usd="9.00", per="day"), paced=("root",))
    ledger.reserve(hold, desk.ask(5))
    clock.advance(120)
    ledger.sweep()
    ledger.settle(hold.id, desk.booking(4))

    assert isinstance(call(ledger, desk, "root"), Grant)


def test_resuming_begins_the_minute_anew(ledger: Any, desk: Any) -> None:
    begin(ledger, desk, "root", usd_per_minute="0.02")
    begin(ledger, desk, "root", "inner", usd_per_minute="0.02")
    for _ in range(2):
        call(ledger, desk, "root", "inner")
    ledger.close_run(desk.closure("root"))

    assert ledger.reopen("root", by="ada", why="it was meant", at=desk.noon)
    assert call(ledger, desk, "root", "inner") == TooFast("inner", "usd_per_minute", 2 * CENTS, 2 * CENTS)
    assert isinstance(call(ledger, desk, "root"), Grant)
    assert not ledger.reopen("nobody", by="ada", why="?", at=desk.noon)


def test_a_run_without_limits_is_resumed_like_one_with_them(ledger: Any, desk: Any) -> None:
    ledger.enter(desk.entry("plain"))
    ledger.close_run(desk.closure("plain"))

    assert ledger.reopen("plain", by="ada", why="it was fine", at=desk.noon)


def test_observing_says_what_would_have_been_and_holds(ledger: Any, desk: Any) -> None:
    begin(ledger, desk, "root", usd_per_minute="0.01")
    slow = call(ledger, desk, "root", enforce=False)
    fast = call(ledger, desk, "root", enforce=False)

    assert slow.outpaced is None
    assert fast.outpaced == TooFast("root", "usd_per_minute", CENTS, CENTS)


def test_a_closed_run_says_so_before_it_says_that_it_is_too_fast(ledger: Any, desk: Any) -> None:
    begin(ledger, desk, "root", usd_per_minute="0.01")
    call(ledger, desk, "root")
    ledger.close_run(desk.closure("root"))

    assert call(ledger, desk, "root").code == "loop_detected"


def test_speed_comes_before_a_spent_cap(ledger: Any, desk: Any) -> None:
    begin(ledger, desk, "root", usd_per_minute="0.01")
    hold = desk.hold(desk.scope("scope:small", usd="0.01"))
    again = desk.hold(desk.scope("scope:small", usd="0.01"))
    call(ledger, desk, "root", hold=hold)

    assert isinstance(ledger.reserve(again, desk.ask()), Short)
    assert isinstance(call(ledger, desk, "root", hold=again), TooFast)


def test_lineage_tells_the_limits_that_a_process_which_joins_must_know(ledger: Any, desk: Any) -> None:
    begin(ledger, desk, "root", usd_per_minute="0.50", tokens_per_minute=9, depth=3)
    begin(ledger, desk, "root", "plain")
    begin(ledger, desk, "root", "plain", "spawns", spawns_per_minute=7)

    found = ledger.lineage("spawns")

    assert [one.id for one in found] == ["root", "plain", "spawns"]
    assert [one.limits for one in found] == [
        Limits(**{**OFF, "depth": 3, "usd_per_minute": Money("0.50"), "tokens_per_minute": 9}),
        None,
        Limits(**{**OFF, "spawns_per_minute": 7}),
    ]


def test_nodes_that_the_books_do_not_limit_are_passed_over(ledger: Any, desk: Any) -> None:
    assert [type(call(ledger, desk, "from-before-an-upgrade")) for _ in range(2)] == [Grant] * 2


@pytest.mark.parametrize("limits", [{"usd_per_minute": "10000000"}, {"tokens_per_minute": 10**19}])
def test_a_limit_that_a_file_cannot_count_is_refused_with_the_way_out(
    open_sql: Any, sqlite: str, desk: Any, limits: Any
) -> None:
    with pytest.raises(BadAmount, match="PostgreSQL"):
        begin(open_sql(sqlite), desk, "root", **limits)


def test_large_amounts_flow_exactly(open_sql: Any, postgres: str, desk: Any) -> None:
    ledger = open_sql(postgres)
    begin(ledger, desk, "root", usd_per_minute="20000000")
    hold = desk.hold(desk.scope("scope:acme", usd="90000000", per="day"), paced=("root",))
    ledger.charge(hold, desk.booking(2, amounts=Amounts(20_000_000 * 10**12 + 1)))

    verdict = call(ledger, desk, "root")

    assert (verdict.count, verdict.limit) == (20_000_000 * 10**12 + 1, 20_000_000 * 10**12)


def test_paths_without_such_limits_run_the_statements_that_they_ran_before(
    open_sql: Any, sqlite: str, desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = open_sql(sqlite)
    begin(ledger, desk, "root", usd_per_minute="5.00")
    monkeypatch.setattr("tokenguard.ledger.pacing._anchors", None)

    assert isinstance(call(ledger, desk), Grant)
    with pytest.raises(TypeError):
        call(ledger, desk, "root")
