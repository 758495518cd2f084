"""What flows below a node, as a pure decision: the last minute, the outermost limit first."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenguard.core.budget import Limits
from tokenguard.core.money import Money
from tokenguard.core.tree import Anchor, TooFast, anchor_of, flowed, judge_flow, limits_of, paces

OFF: dict[str, Any] = {"depth": None, "children": None, "descendants": None, "spawns_per_minute": None}
NOW = 1_000_000


def anchor(node_id: str = "root", **limits: Any) -> Anchor:
    return Anchor(node_id, None, None, None, None, **limits)


@pytest.mark.parametrize(
    "limits",
    [
        Limits(),
        Limits(**{**OFF, "usd_per_minute": "0.50"}),
        Limits(**{**OFF, "tokens_per_minute": 5}),
        Limits(depth=3, usd_per_minute=0, tokens_per_minute=0),
    ],
)
def test_an_anchor_has_the_limits_that_it_was_made_of(limits: Limits) -> None:
    found = anchor_of("root", limits)

    assert found is not None
    assert limits_of(found) == limits


def test_a_node_that_limits_nothing_is_no_anchor_and_paces_nobody() -> None:
    assert anchor_of("root", None) is anchor_of("root", Limits(**OFF)) is None
    assert [paces(one) for one in (None, Limits(), Limits(usd_per_minute="1"), Limits(tokens_per_minute=1))] == [
        False,
        False,
        True,
        True,
    ]


def test_the_oldest_second_counts_in_full_and_one_far_ahead_does_not() -> None:
    flow = ((NOW - 61, 9, 9), (NOW - 60, 1, 10), (NOW, 2, 20), (NOW + 62, 9, 9))
    one = anchor(usd_per_minute_pico=3, tokens_per_minute=31, flow=flow)

    assert judge_flow(["root"], [one], NOW) == TooFast("root", "usd_per_minute", 3, 3)
    assert judge_flow(["root"], [one], NOW + 1) is None


def test_the_outermost_limit_is_named_and_money_before_tokens() -> None:
    flow = ((NOW, 5, 5),)
    inner = anchor("a-inner", usd_per_minute_pico=5, tokens_per_minute=5, flow=flow)
    outer = anchor("b-outer", tokens_per_minute=5, flow=flow)

    assert judge_flow(["b-outer", "a-inner"], [inner, outer], NOW) == TooFast("b-outer", "tokens_per_minute", 5, 5)
    assert judge_flow(["a-inner"], [inner], NOW) == TooFast("a-inner", "usd_per_minute", 5, 5)


@given(st.lists(st.tuples(st.integers(NOW - 90, NOW), st.integers(0, 10**15), st.integers(0, 10**6)), max_size=40))
def test_what_flowed_adds_up_in_any_order_and_stays_small(moments: list[tuple[int, int, int]]) -> None:
    one = anchor(usd_per_minute_pico=10**20, tokens_per_minute=10**20)
    for moment in moments:
        one = flowed(one, [moment], NOW)

    recent = [moment for moment in moments if moment[0] >= NOW - 60]
    assert one == flowed(anchor(usd_per_minute_pico=10**20, tokens_per_minute=10**20), reversed(moments), NOW)
    assert [sum(moment[place] for moment in one.flow) for place in (1, 2)] == [
        sum(moment[place] for moment in recent) for place in (1, 2)
    ]
    assert len(one.flow) <= 61


def test_money_is_money_again_in_the_limits_of_an_anchor() -> None:
    assert limits_of(anchor(usd_per_minute_pico=5 * 10**11)).usd_per_minute == Money("0.50")
