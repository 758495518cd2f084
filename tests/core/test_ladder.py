"""Rungs as values: what can be meant, and which rung a count reaches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tokenguard.core.ladder import RULES, Ladder, Loops, Rung
from tokenguard.errors import BadAmount


@pytest.mark.parametrize(
    ("repeats", "rung"),
    [(1, None), (2, None), (3, Rung.STEER), (4, Rung.BLOCK), (5, Rung.BLOCK), (6, Rung.STOP), (99, Rung.STOP)],
)
def test_three_are_told_four_refused_and_six_stopped(repeats: int, rung: Rung | None) -> None:
    assert Loops().rung(repeats) is rung


def test_a_rung_that_is_off_leaves_its_place_to_the_one_below() -> None:
    assert Loops(block_at=None).rung(5) is Rung.STEER
    assert Loops(stop_at=None).rung(50) is Rung.BLOCK
    assert Loops(steer_at=None, block_at=None, stop_at=None).rung(50) is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"steer_at": 1}, "steer_at=1: give a whole number of rounds from 2 to 100"),
        ({"stop_at": 6.0}, "stop_at=6.0: give a whole number"),
        ({"block_at": True}, "block_at=True: give a whole number"),
        ({"window": 101}, "window=101"),
        ({"steer_at": 4}, "block_at=4 must be above steer_at=4"),
        ({"block_at": None, "steer_at": 7}, "stop_at=6 must be above steer_at=7"),
        ({"window": 5}, "stop_at=6 cannot happen in window=5 rounds"),
        ({"off": ["monolog"]}, "off=['monolog']: no such rule. The rules are same_call_same_result"),
        ({"blocked": "shrug"}, "blocked='shrug': choose 'message' or 'raise'"),
    ],
)
def test_loops_that_cannot_be_meant_are_refused_with_a_sentence(arguments: Any, sentence: str) -> None:
    with pytest.raises(BadAmount) as refused:
        Loops(**arguments)

    assert sentence in refused.value.sentence


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"steer_at": 1.0}, "steer_at=1.0: give a share of the cap"),
        ({"shrink_at": -0.1, "shrink_to": 300}, "shrink_at=-0.1"),
        ({"shrink_at": 0.5}, "shrink_at and shrink_to belong together"),
        ({"shrink_to": 500}, "shrink_at and shrink_to belong together"),
        ({"shrink_at": 0.5, "shrink_to": 255}, "shrink_to=255: give a whole number of tokens, 256 or more"),
        ({"reroute_at": 0.5}, "reroute_at and reroute_to belong together"),
        ({"reroute_at": 0.5, "reroute_to": {"api_base": "http://here"}}, "reroute_to names no model"),
    ],
)
def test_a_ladder_that_cannot_be_meant_is_refused_with_a_sentence(arguments: Any, sentence: str) -> None:
    with pytest.raises(BadAmount) as refused:
        Ladder(**arguments)

    assert sentence in refused.value.sentence


def test_only_a_ladder_with_a_share_looks_at_balances() -> None:
    assert not Ladder().looks
    assert Ladder(steer_at=0.8).looks
    assert Ladder(shrink_at=0.0, shrink_to=256).looks
    assert Ladder(reroute_at=0.9, reroute_to="openai/gpt-5-mini").looks


def test_values_can_be_changed_by_copies_and_compared() -> None:
    ladder = Ladder(steer_at=0.8)

    assert replace(ladder, loops=None) == Ladder(steer_at=0.8, loops=None)
    assert replace(Loops(), off=frozenset(RULES)) == Loops(off=RULES)
