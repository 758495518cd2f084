from dataclasses import replace
from datetime import UTC, datetime

from tokenguard.core.books import Closure, Kind, NodeSpend
from tokenguard.core.money import Money
from tokenguard.core.receipt import Receipt
from tokenguard.reports.runs import run_json, runs_table, short_id, state_of, tree_table

BEGAN = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
NONE = Money(0)
RUN = NodeSpend(
    id="0193a5f2-0000-7000-8000-000000000001",
    kind=Kind.RUN,
    name="nightly",
    parent_id=None,
    root_id="0193a5f2-0000-7000-8000-000000000001",
    scope="acme",
    started_at=BEGAN,
    ended_at=None,
    outcome=None,
    labels={},
    usd=Money("0.25"),
    held=NONE,
    calls=2,
    tokens=20,
    estimated=NONE,
    assumed=NONE,
)
CLOSURE = Closure(RUN.id, "budget_exceeded", "budget 'run nightly' is spent.", {}, BEGAN, "tests")


def child(number: int, parent: NodeSpend = RUN, **changes: object) -> NodeSpend:
    changes = {"id": f"{number:08x}-child", "kind": Kind.AGENT, "name": f"agent {number}", "calls": 1, **changes}
    return replace(RUN, parent_id=parent.id, ended_at=BEGAN, outcome="completed", **changes)


def test_a_run_that_has_not_ended_is_running() -> None:
    assert state_of(RUN) == "running"


def test_a_stop_is_named_before_how_the_run_ended() -> None:
    assert state_of(replace(RUN, outcome="stopped", closed=CLOSURE)) == "stopped: budget_exceeded"


def test_ids_are_cut_where_they_are_still_different() -> None:
    ids = ["0193a5f2-1111-7000-8000-000000000001", "0193a5f2-1112-7000-8000-000000000001"]

    assert [short_id(one, ids) for one in ids] == ["0193a5f2-1111", "0193a5f2-1112"]
    assert short_id(ids[0], ids[:1]) == "0193a5f2"


def test_an_id_that_begins_another_is_shown_whole() -> None:
    ids = ["0193a5f2-1111", "0193a5f2-1111-7000"]

    assert short_id(ids[0], ids) == ids[0]


def test_a_line_of_the_tree_has_the_money_of_everything_below_it() -> None:
    table = tree_table(Receipt.of((RUN, child(1), child(2)), ledger="memory"))

    assert [row[0] for row in table.rows] == ["run nightly", "├─ agent agent 1", "└─ agent agent 2"]
    assert [row[1] for row in table.rows] == ["$0.75", "$0.25", "$0.25"]


def test_held_estimated_and_assumed_money_is_marked() -> None:
    node = replace(RUN, held=Money("0.01"), estimated=Money("0.02"), assumed=Money("0.03"), closed=CLOSURE)

    table = tree_table(Receipt.of((node,), ledger="memory"))

    assert table.rows[0][-1] == "$0.0100 held, $0.0200 estimated, $0.0300 assumed, stopped: budget_exceeded"


def test_a_long_row_of_siblings_is_counted_and_not_dropped() -> None:
    children = [child(number) for number in range(100)]

    table = tree_table(Receipt.of((RUN, *children), ledger="memory"))

    assert table.rows[-1][:3] == ("└─ … 88 more", "$22.00", "88")


def test_a_chain_deeper_than_any_screen_ends_in_a_count() -> None:
    nodes = [RUN]
    for number in range(2_000):
        nodes.append(child(number, nodes[-1]))

    table = tree_table(Receipt.of(tuple(nodes), ledger="memory"))

    assert len(table.rows) < 30
    assert "below" in table.rows[-1][0]
    assert table.rows[0][2] == "2,002"


def test_a_node_that_sent_nothing_shows_no_money() -> None:
    idle = child(1, usd=NONE, calls=0, tokens=0)

    table = tree_table(Receipt.of((RUN, idle), ledger="memory"))

    assert table.rows[1][1] == "–"


def test_a_hostile_name_is_inert_in_a_list_of_runs() -> None:
    table = runs_table([replace(RUN, name="[red]\x1b[2J" + "x" * 10_000)])

    assert table.rows[0][1].startswith("[red]\N{REPLACEMENT CHARACTER}[2Jxxx")
    assert len(table.rows[0][1]) == 40


def test_a_run_as_json_says_money_as_text() -> None:
    assert run_json(RUN)["usd"] == "0.25"
    assert run_json(RUN)["state"] == "running"
