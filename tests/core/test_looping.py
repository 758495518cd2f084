"""Repetitions as values: added up from events, said in a line, summed in receipts."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tokenguard.core.books import GuardEvent, Kind, NodeSpend
from tokenguard.core.ladder import Rung
from tokenguard.core.looping import LoopSpend, done_about, loop_spends
from tokenguard.core.money import Money
from tokenguard.core.receipt import Receipt, loop_sentence

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
NONE = Money(0)
LOOP = LoopSpend(
    "root",
    "same_call_same_result",
    "read",
    "f",
    6,
    Rung.STOP,
    Money("0.14"),
    Money("0.11"),
    "one more repetition at their mean cost",
    NOON,
    NOON,
    applied=True,
)


def event(event_id: str, **facts: Any) -> GuardEvent:
    money = {"wasted": "0.01", "averted": "0", "assumption": ""}
    base = {"rung": "stop", "applied": False, "rule": "cycle", "repeats": 6, "evidence": {}, **money}
    at = NOON + timedelta(seconds=facts.pop("second", 0))
    return GuardEvent(event_id, at, "looped", "root", None, "", {**base, **facts})


def node(node_id: str, parent: str | None, kind: Kind = Kind.RUN) -> NodeSpend:
    return NodeSpend(
        node_id, kind, node_id, parent, "root", "acme", NOON, NOON, "completed", {}, NONE, NONE, 1, 5, NONE, NONE
    )


def test_of_two_that_reached_the_same_rung_the_one_that_was_applied_is_told() -> None:
    (found,) = loop_spends([event("a", applied=True), event("b", second=1, wasted="0.02")])

    assert (found.applied, found.rung, found.wasted) == (True, Rung.STOP, Money("0.03"))
    assert (found.subject, found.fingerprint) == ("", "cycle")


def test_events_are_added_up_in_the_order_of_their_time() -> None:
    later, earlier = event("a", second=9, assumption="late"), event("b", assumption="early")

    (found,) = loop_spends([later, earlier])

    assert (found.first_at, found.at, found.assumption) == (NOON, NOON + timedelta(seconds=9), "late")


def test_what_was_done_is_said_as_what_would_have_been_while_observing() -> None:
    rungs = [replace(LOOP, rung=rung) for rung in (Rung.STEER, Rung.BLOCK, Rung.STOP, Rung.SHRINK)]

    assert [done_about(one) for one in rungs] == ["steered", "blocked", "stopped", "shrink"]
    assert done_about(replace(LOOP, applied=False)) == "would have been stopped"


def test_a_loop_is_one_line_with_its_money_and_its_assumption() -> None:
    steered = replace(LOOP, rung=Rung.STEER, repeats=3, averted=NONE)
    hostile = replace(LOOP, subject="evil\x1b[2J")

    assert loop_sentence(LOOP) == (
        "loop: same_call_same_result on 'read' × 6, stopped; wasted $0.14, averted $0.11 "
        "(one more repetition at their mean cost)"
    )
    assert loop_sentence(steered) == "loop: same_call_same_result on 'read' × 3, steered; wasted $0.14"
    assert "\x1b" not in loop_sentence(hostile)


def test_a_receipt_has_the_loops_of_its_whole_tree_the_dearest_first() -> None:
    nodes = (node("root", None), node("a", "root", Kind.AGENT), node("s", "a", Kind.STEP))
    cheap, dear = replace(LOOP, wasted=Money("0.02")), replace(LOOP, run_id="a")

    receipt = Receipt.of(nodes, ledger="memory", loops=(cheap, dear, replace(LOOP, run_id="elsewhere")))

    assert receipt.loops == (dear, cheap)
    assert (receipt.wasted, receipt.averted) == (Money("0.16"), Money("0.22"))
    assert receipt.children[0].loops == (dear,)
    assert str(receipt).splitlines()[-3:] == [loop_sentence(dear), loop_sentence(cheap), "ledger: memory"]


def test_the_json_of_a_receipt_has_loops_where_they_happened_and_sums_of_what_is_below() -> None:
    nodes = (node("root", None), node("a", "root", Kind.AGENT))
    receipt = Receipt.of(nodes, ledger="memory", loops=(replace(LOOP, run_id="a"),))

    document = json.loads(json.dumps(receipt.json()))

    assert (document["wasted_usd"], document["averted_usd"], document["own_loops"]) == ("0.14", "0.11", [])
    assert document["children"][0]["own_loops"] == [
        {
            "run": "a",
            "rule": "same_call_same_result",
            "subject": "read",
            "fingerprint": "f",
            "repeats": 6,
            "rung": "stop",
            "applied": True,
            "wasted_usd": "0.14",
            "averted_usd": "0.11",
            "assumption": "one more repetition at their mean cost",
            "first_at": "2026-01-05T12:00:00+00:00",
            "at": "2026-01-05T12:00:00+00:00",
        }
    ]
