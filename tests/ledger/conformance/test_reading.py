"""Trees and spend: what the books say, to the pico-dollar."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tokenguard.core.books import Kind
from tokenguard.errors import SettingsError


def book(ledger: Any, desk: Any, cents: Any, *, at: Any = None, **facts: Any) -> Any:
    hold = desk.hold(at=at or desk.noon, **facts)
    ledger.reserve(hold, desk.ask(cents=cents))
    ledger.settle(hold.id, desk.booking(cents=cents, at=at or desk.noon))


@pytest.fixture
def family(ledger: Any, desk: Any) -> Any:
    ledger.enter(desk.entry("root", labels={"feature": "digest"}))
    ledger.enter(desk.entry("child", "root", "root", kind=Kind.AGENT, at=desk.noon + timedelta(seconds=1)))
    ledger.enter(desk.entry("grandchild", "child", "root", kind=Kind.STEP, at=desk.noon + timedelta(seconds=2)))
    ledger.enter(desk.entry("sibling", "root", "root", kind=Kind.AGENT, at=desk.noon + timedelta(seconds=3)))
    book(ledger, desk, 1, run="root")
    book(ledger, desk, 2, run="child", root_id="root")
    book(ledger, desk, 3, run="child", root_id="root", node_id="grandchild")
    return ledger


def test_a_tree_lists_parents_before_children_with_their_own_spend(family: Any, desk: Any) -> None:
    nodes = family.tree("root")

    assert [(one.id, one.usd.pico // desk.cent, one.calls) for one in nodes] == [
        ("root", 1, 1),
        ("child", 2, 1),
        ("grandchild", 3, 1),
        ("sibling", 0, 0),
    ]
    assert nodes[0].labels == {"feature": "digest"}
    assert nodes[1].tokens == 100


def test_a_part_of_a_tree_is_a_tree(family: Any) -> None:
    assert [one.id for one in family.tree("child")] == ["child", "grandchild"]
    assert family.tree("nobody") == ()


def test_a_lineage_leads_from_the_root_to_the_node(family: Any) -> None:
    assert [one.id for one in family.lineage("grandchild")] == ["root", "child", "grandchild"]
    assert family.lineage("nobody") == ()


def test_the_signing_key_is_made_once(ledger: Any) -> None:
    assert ledger.secret() == ledger.secret()
    assert len(ledger.secret()) == 32


def test_leaving_what_the_books_do_not_know_changes_nothing(family: Any, desk: Any) -> None:
    before = family.tree("root")

    family.leave("nobody", outcome="completed", at=desk.noon)

    assert family.tree("root") == before
    assert family.tree("nobody") == ()


def test_a_tree_shows_open_holds_ends_and_closures(family: Any, desk: Any) -> None:
    family.reserve(desk.hold(run="child", root_id="root"), desk.ask(cents=7))
    family.leave("child", outcome="stopped", at=desk.noon + timedelta(minutes=1))
    family.leave("child", outcome="completed", at=desk.noon + timedelta(minutes=2))
    family.close_run(desk.closure("child"))

    child = family.tree("root")[1]

    assert (child.held.pico, child.outcome, child.ended_at) == (
        7 * desk.cent,
        "stopped",
        desk.noon + timedelta(minutes=1),
    )
    assert child.closed == desk.closure("child")


def test_runs_are_listed_newest_first_with_the_amounts_of_their_trees(family: Any, desk: Any) -> None:
    family.enter(desk.entry("later", at=desk.noon + timedelta(hours=1)))
    family.leave("later", outcome="completed", at=desk.noon + timedelta(hours=2))

    everything, alive, newest = family.runs(), family.runs(open_only=True), family.runs(1)

    assert [(one.id, one.usd.pico // desk.cent, one.calls) for one in everything] == [("later", 0, 0), ("root", 6, 3)]
    assert [one.id for one in alive] == ["root"]
    assert [one.id for one in newest] == ["later"]


def test_spend_is_grouped_dearest_first(ledger: Any, desk: Any) -> None:
    book(ledger, desk, 1, model="small", provider="openai")
    book(ledger, desk, 5, model="large", provider="anthropic")
    book(ledger, desk, 2, model="small", provider="azure")

    by_model = ledger.spend(["model"])
    by_both = ledger.spend(["provider", "model"])

    assert [(row.by, row.usd.pico // desk.cent, row.calls) for row in by_model] == [
        (("large",), 5, 1),
        (("small",), 3, 2),
    ]
    assert [row.by for row in by_both] == [("anthropic", "large"), ("azure", "small"), ("openai", "small")]
    assert (by_model[0].input_tokens, by_model[0].output_tokens) == (60, 40)


@pytest.mark.parametrize(
    ("dimension", "value"),
    [
        ("agent", "researcher"),
        ("scope", "acme"),
        ("run", "run-1"),
        ("root", "run-1"),
        ("day", "2026-03-14"),
        ("operation", "chat"),
        ("status", "ok"),
        ("quality", "reported"),
        ("mode", "enforce"),
        ("prompt", ""),
        ("label:team", "search"),
        ("label:missing", ""),
    ],
)
def test_every_dimension_groups(ledger: Any, desk: Any, dimension: Any, value: Any) -> None:
    book(ledger, desk, 1, labels={"team": "search"})

    assert [row.by for row in ledger.spend([dimension])] == [(value,)]


def test_a_call_outside_any_run_is_spend_too(ledger: Any, desk: Any) -> None:
    book(ledger, desk, 1, run=None)

    assert [(row.by, row.calls) for row in ledger.spend(["run"])] == [(("",), 1)]


def test_a_period_includes_its_start_and_not_its_end(ledger: Any, desk: Any) -> None:
    for hours in (0, 1, 2):
        book(ledger, desk, 1, at=desk.noon + timedelta(hours=hours))

    within = ledger.spend([], since=desk.noon + timedelta(hours=1), until=desk.noon + timedelta(hours=2))

    assert within[0].calls == 1
    assert ledger.spend([], since=desk.noon + timedelta(days=1)) == ()


def test_no_spend_is_no_row(ledger: Any) -> None:
    assert ledger.spend([]) == ()
    assert ledger.spend(["model"]) == ()


@pytest.mark.parametrize("dimension", ["colour", "label:", 'label:a"b'])
def test_an_unknown_dimension_is_refused_with_the_known_ones(ledger: Any, dimension: Any) -> None:
    with pytest.raises(SettingsError, match=r"label:<name>"):
        ledger.spend([dimension])
