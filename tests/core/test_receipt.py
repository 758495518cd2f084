"""Receipts: what people read, what machines read, and sums that are exact."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from tokenguard.core.books import Closure, Kind, NodeSpend, Status
from tokenguard.core.money import Money
from tokenguard.core.receipt import CallReceipt, Receipt
from tokenguard.core.usage import Quality

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
CENT = Money("0.01")
NONE = Money(0)


def node(name: str, parent: str | None = None, *, kind: Kind = Kind.RUN, calls: int = 1) -> NodeSpend:
    """A completed node that spent a cent and 405 tokens."""
    return NodeSpend(
        id=name,
        kind=kind,
        name=name,
        parent_id=parent,
        root_id="root",
        scope="acme",
        started_at=NOON,
        ended_at=NOON,
        outcome="completed",
        labels={},
        usd=CENT,
        held=NONE,
        calls=calls,
        tokens=405,
        estimated=NONE,
        assumed=NONE,
    )


def test_a_tree_sums_up_whatever_is_below_it() -> None:
    nodes = (
        node("root"),
        node("a", "root", kind=Kind.AGENT),
        node("s", "a", kind=Kind.STEP, calls=3),
        node("b", "root"),
    )

    receipt = Receipt.of(nodes, ledger="memory")

    assert (receipt.cost, receipt.usd) == (Money("0.04"), Decimal("0.04"))
    assert (receipt.calls, receipt.tokens) == (6, 1_620)
    assert receipt.steps == 4
    assert [one.node.name for one in receipt.walk()] == ["root", "a", "s", "b"]


def test_a_receipt_prints_as_a_tree_with_the_place_of_its_rows() -> None:
    nodes = (node("root"), node("a", "root", kind=Kind.AGENT), node("s", "a", kind=Kind.STEP), node("b", "root"))

    text = str(Receipt.of(nodes, ledger="spend.db"))

    assert text.splitlines() == [
        "run root  $0.0400  4 calls  1,620 tokens",
        "├─ agent a  $0.0200  2 calls  810 tokens",
        "│  └─ step s  $0.0100  1 call  405 tokens",
        "└─ run b  $0.0100  1 call  405 tokens",
        "ledger: spend.db",
    ]


def test_more_than_twelve_siblings_are_counted_and_not_dropped() -> None:
    nodes = (node("root"), *(node(f"child {number}", "root") for number in range(20)))

    lines = str(Receipt.of(nodes, ledger="memory")).splitlines()

    assert len(lines) == 1 + 12 + 1 + 1
    assert lines[13] == "└─ … 8 more  $0.0800  8 calls"


def test_a_very_deep_chain_is_counted_below_its_twenty_fourth_level() -> None:
    chain = [node("root"), *(node(f"n{depth}", f"n{depth - 1}" if depth > 1 else "root") for depth in range(1, 3_000))]

    lines = str(Receipt.of(tuple(chain), ledger="memory")).splitlines()

    assert len(lines) == 25 + 1 + 1
    assert lines[25].strip() == "└─ … 1 below  $29.75  2,975 calls"


def test_what_is_held_estimated_or_assumed_is_marked_on_its_line() -> None:
    marked = replace(node("root"), held=Money("0.02"), estimated=CENT, assumed=Money("0.003"))

    line = str(Receipt.of((marked,), ledger="memory")).splitlines()[0]

    assert line.endswith("($0.0200 held, $0.0100 estimated, $0.0030 assumed)")


def test_a_stop_and_an_outcome_of_ones_own_are_on_the_line() -> None:
    closure = Closure("root", "budget_exceeded", "It is spent.", {}, NOON, "owner")
    stopped = replace(node("root"), closed=closure, outcome="stopped")
    failed, running = replace(node("root"), outcome="gave up"), replace(node("root"), outcome=None, ended_at=None)

    receipts = [Receipt.of((one,), ledger="memory") for one in (stopped, failed, running)]

    assert [receipt.stopped for receipt in receipts] == ["It is spent.", None, None]
    assert [str(receipt).splitlines()[0].partition("tokens")[2] for receipt in receipts] == [
        "  (stopped: budget_exceeded)",
        "  (gave up)",
        "",
    ]


def test_the_json_of_a_receipt_has_decimal_dollars_and_its_children() -> None:
    marked = replace(node("root"), labels={"team": "search"}, held=Money("0.02"), estimated=CENT)

    document = json.loads(json.dumps(Receipt.of((marked, node("a", "root")), ledger="spend.db").json()))

    assert document["usd"] == "0.02"
    assert (document["own_usd"], document["held_usd"]) == ("0.01", "0.02")
    assert (document["estimated_usd"], document["assumed_usd"]) == ("0.01", "0")
    assert (document["calls"], document["steps"], document["tokens"]) == (2, 2, 810)
    assert (document["labels"], document["ledger"], document["outcome"]) == (
        {"team": "search"},
        "spend.db",
        "completed",
    )
    assert [child["name"] for child in document["children"]] == ["a"]


def test_a_tree_of_five_thousand_levels_is_written_as_json_and_as_text() -> None:
    chain = [node("root"), *(node(f"n{depth}", f"n{depth - 1}" if depth > 1 else "root") for depth in range(1, 5_000))]
    receipt = Receipt.of(tuple(chain), ledger="memory")

    document, text = receipt.json(), str(receipt)

    levels = _down(document)
    assert (len(levels), levels[-1]["name"], levels[-1]["usd"]) == (5_000, "n4999", "0.01")
    assert (document["usd"], document["calls"], document["tokens"]) == ("50", 5_000, 2_025_000)
    assert text.startswith("run root  $50.00  5,000 calls")


def _down(document: dict[str, Any]) -> list[dict[str, Any]]:
    """A chain's documents, from the root to its end."""
    levels = [document]
    while levels[-1]["children"]:
        levels.append(levels[-1]["children"][0])
    return levels


def test_the_json_of_every_node_has_the_sums_of_its_own_subtree() -> None:
    nodes = (
        node("root"),
        replace(node("a", "root", kind=Kind.AGENT), held=Money("0.02"), assumed=Money("0.003")),
        replace(node("s", "a", kind=Kind.STEP, calls=3), estimated=CENT),
        node("b", "root"),
    )
    receipt = Receipt.of(nodes, ledger="memory")

    document = receipt.json()

    agent = receipt.children[0]
    assert document["children"][0] == agent.json()
    assert (document["usd"], document["steps"], document["tokens"]) == ("0.04", receipt.steps, receipt.tokens)
    assert (agent.json()["held_usd"], agent.json()["assumed_usd"]) == ("0.02", "0.003")
    assert (agent.json()["usd"], agent.json()["estimated_usd"]) == ("0.02", "0.01")
    assert (agent.json()["calls"], agent.json()["steps"]) == (agent.calls, agent.steps)


def test_a_name_cannot_move_the_cursor() -> None:
    text = str(Receipt.of((replace(node("root"), name="evil\x1b[2J\rname"),), ledger="memory"))

    assert "\x1b" not in text
    assert "\r" not in text
    assert "evil\N{REPLACEMENT CHARACTER}[2J" in text


def test_a_receipt_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least its own node"):
        Receipt.of((), ledger="memory")


def test_the_receipt_of_a_call_gives_exact_dollars() -> None:
    receipt = CallReceipt(
        attempt_id="a",
        model="gpt",
        status=Status.OK,
        quality=Quality.REPORTED,
        cost=Money.from_pico(1),
        ceiling=CENT,
        usage=None,
        max_tokens=400,
        clamped=False,
        price_id=None,
        attempts=1,
        ledger="memory",
        run_id=None,
    )

    assert receipt.usd == Decimal("1e-12")
