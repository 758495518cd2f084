"""Limits of run trees, counted in the books: the same in memory, in a file and on a server."""

from __future__ import annotations

from typing import Any

import pytest

from tokenguard.core.books import Closure, Kind
from tokenguard.core.budget import Limits
from tokenguard.core.tree import Crowded
from tokenguard.ledger import orphans

OFF = {"depth": None, "children": None, "descendants": None, "spawns_per_minute": None}


def only(**limits: Any) -> Limits:
    return Limits(**{**OFF, **limits})


def begin(ledger: Any, desk: Any, *path: str, limits: Limits | None = None, **changes: Any) -> Any:
    """Enter the last run of a path whose others began before."""
    *_, above, node_id = (None, None, *path)
    entry = desk.entry(node_id, above, path[0], path=path, runs=path, limits=limits, kind=Kind.AGENT, **changes)
    return ledger.enter(entry)


def test_children_that_live_are_limited_and_those_that_ended_make_room(ledger: Any, desk: Any) -> None:
    begin(ledger, desk, "root", limits=only(children=2))
    first = [begin(ledger, desk, "root", name) for name in ("a", "b", "c")]
    ledger.leave("a", outcome="completed", at=desk.noon)
    ledger.leave("a", outcome="completed", at=desk.noon)
    second = [begin(ledger, desk, "root", name) for name in ("c", "d")]

    assert first == [None, None, Crowded("root", "children", 3, 2)]
    assert second == [None, Crowded("root", "children", 3, 2)]
    assert [one.id for one in ledger.tree("root")] == ["root", "a", "b", "c"]


def test_children_are_counted_below_each_run_by_the_nearest_limit_that_is_passed(ledger: Any, desk: Any) -> None:
    begin(ledger, desk, "root", limits=only(children=2))
    begin(ledger, desk, "root", "a")
    inner = [begin(ledger, desk, "root", "a", name) for name in ("b", "c", "d")]

    assert inner == [None, None, Crowded("root", "children", 3, 2)]


def test_descendants_are_counted_for_ever_and_at_any_depth(ledger: Any, desk: Any) -> None:
    begin(ledger, desk, "root", limits=only(descendants=3))
    begin(ledger, desk, "root", "a")
    begin(ledger, desk, "root", "a", "b")
    ledger.leave("b", outcome="completed", at=desk.noon)
    verdicts = [begin(ledger, desk, "root", "a", "c"), begin(ledger, desk, "root", "d")]

    assert verdicts == [None, Crowded("root", "descendants", 4, 3)]


def test_a_node_that_is_entered_twice_is_counted_once(ledger: Any, desk: Any) -> None:
    begin(ledger, desk, "root", limits=only(descendants=2))

    verdicts = [begin(ledger, desk, "root", name) for name in ("a", "a", "b", "c")]

    assert verdicts == [None, None, None, Crowded("root", "descendants", 3, 2)]


def test_depth_is_counted_from_the_node_that_limits_it_and_comes_before_fan_out(ledger: Any, desk: Any) -> None:
    begin(ledger, desk, "root", limits=only(depth=3, descendants=2))
    begin(ledger, desk, "root", "a", limits=only(depth=2))
    begin(ledger, desk, "root", "a", "b")

    inner = begin(ledger, desk, "root", "a", "b", "c")
    outer = begin(ledger, desk, "root", "d")

    assert inner == Crowded("root", "depth", 4, 3)
    assert outer == Crowded("root", "descendants", 3, 2)


def test_spawns_are_counted_over_a_minute_on_the_books_clock(ledger: Any, desk: Any, clock: Any) -> None:
    begin(ledger, desk, "root", limits=only(spawns_per_minute=2))
    begin(ledger, desk, "root", "a")
    clock.advance(59)
    begin(ledger, desk, "root", "b")
    full = begin(ledger, desk, "root", "c")
    clock.advance(2)
    later = [begin(ledger, desk, "root", "c"), begin(ledger, desk, "root", "d")]

    assert full == Crowded("root", "spawns_per_minute", 3, 2)
    assert later == [None, Crowded("root", "spawns_per_minute", 3, 2)]


def test_spawns_from_before_a_clock_was_set_back_are_not_held_against_anybody(
    sql_ledger: Any, desk: Any, clock: Any
) -> None:
    begin(sql_ledger, desk, "root", limits=only(spawns_per_minute=1))
    begin(sql_ledger, desk, "root", "a")
    clock.jump(-3_600)

    assert begin(sql_ledger, desk, "root", "b") is None


def test_observing_counts_and_says_what_would_have_been(ledger: Any, desk: Any) -> None:
    begin(ledger, desk, "root", limits=only(descendants=1))
    begin(ledger, desk, "root", "a")

    said = begin(ledger, desk, "root", "b", enforce=False)
    enforced = begin(ledger, desk, "root", "c")

    assert said == Crowded("root", "descendants", 2, 1)
    assert enforced == Crowded("root", "descendants", 3, 1)
    assert [one.id for one in ledger.tree("root")] == ["root", "a", "b"]


def test_a_closed_run_says_so_before_it_says_that_it_is_full(ledger: Any, desk: Any) -> None:
    begin(ledger, desk, "root", limits=only(descendants=0))
    ledger.close_run(desk.closure("root"))

    assert isinstance(begin(ledger, desk, "root", "a"), Closure)


def test_limits_that_are_switched_off_are_not_even_written(ledger: Any, desk: Any) -> None:
    begin(ledger, desk, "root", limits=only())

    assert [begin(ledger, desk, "root", f"{number:03d}") for number in range(100)] == [None] * 100


@pytest.mark.parametrize("name", ["boot/other/1/1", "owner"])
def test_children_of_a_process_that_is_not_heard_of_live_until_its_lease_ends(
    sql_ledger: Any, desk: Any, clock: Any, name: str
) -> None:
    begin(sql_ledger, desk, "root", limits=only(children=1))
    begin(sql_ledger, desk, "root", "a", owner=name)
    full = begin(sql_ledger, desk, "root", "b", owner="me")
    clock.advance(100)
    sql_ledger.renew(name, [], 120.0)
    clock.advance(100)
    renewed = begin(sql_ledger, desk, "root", "b", owner="me")
    clock.advance(21)
    over = begin(sql_ledger, desk, "root", "b", owner="me")

    assert [full, renewed, over] == [Crowded("root", "children", 2, 1)] * 2 + [None]


def test_rows_of_processes_long_gone_are_dropped_with_the_next_burial(sql_ledger: Any, desk: Any, clock: Any) -> None:
    begin(sql_ledger, desk, "root", limits=only(children=2))
    begin(sql_ledger, desk, "root", "a", owner="boot/other/1/1")
    clock.advance(2 * 86_400)

    dead = sql_ledger._database.read(lambda connection: connection.exec_driver_sql("SELECT id FROM tg_owner").all())
    sql_ledger._database.transact(lambda tx: orphans.bury(tx, ["nobody"]))

    left = sql_ledger._database.read(lambda connection: connection.exec_driver_sql("SELECT id FROM tg_owner").all())
    assert [len(dead), len(left)] == [1, 0]
