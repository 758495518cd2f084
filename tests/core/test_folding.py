"""What can be meant by a folding."""

from __future__ import annotations

from typing import Any

import pytest

import tokenguard as tg
from tokenguard.core.folding import Level
from tokenguard.core.money import Money
from tokenguard.core.savings import SavingSpend, together
from tokenguard.errors import BadAmount


def test_each_level_does_what_the_ones_before_it_do() -> None:
    folding = tg.Folding("lossless", off=["refer"])

    assert folding.does("json", Level.COMPACT)
    assert folding.does("text", Level.LOSSLESS)
    assert not folding.does("refer", Level.LOSSLESS)
    assert not folding.does("trim", Level.SAFE)


def test_tools_are_shielded_by_name_and_text_by_its_own_word() -> None:
    folding = tg.Folding(shield=["read_*", "cat"])

    assert [folding.shields(tool, "x") for tool in ("read_file", "cat", "category", "")] == [True, True, False, False]
    assert folding.shields("grep", "a <keep>b</keep>")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"level": "tiny"}, "choose one of 'off', 'compact', 'lossless', 'safe', 'gated'"),
        ({"level": None}, "choose one of"),
        ({"level": "safe"}, "with recovery='off' nothing brings it back"),
        ({"recovery": "mail"}, "choose 'off', 'tool' or 'shell'"),
        ({"shield": "read"}, "give a list of tool names"),
        ({"shield": [1]}, "give a list of tool names"),
        ({"off": ["json", "magic"]}, r"off=\['magic'\]: no such stage"),
        ({"recovery_days": 0}, "a whole number from 1 to 365"),
        ({"recovery_days": 366}, "a whole number from 1 to 365"),
        ({"keep_results": 4}, "a whole number of 5 or more"),
        ({"trim_above": 10.5}, "a whole number of 1,000 or more"),
        ({"holdout": 0.6}, "a share of runs from 0 to 0.5"),
        ({"holdout": True}, "a share of runs from 0 to 0.5"),
    ],
)
def test_what_cannot_be_meant_is_said(options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadAmount, match=said):
        tg.Folding(**options)


def test_savings_are_told_as_json_and_added_up() -> None:
    one = SavingSpend("json", True, 2, 1, 100, 60, 80, 500, Money("0.02"), Money("-0.01"))

    both = together([one, one], "all")

    assert both.json() == {
        "name": "all",
        "applied": True,
        "calls": 4,
        "results": 2,
        "tokens_before": 200,
        "tokens_after": 120,
        "tokens_saved": 160,
        "elapsed_us": 1000,
        "estimated_usd": "0.04",
        "settled_usd": "-0.02",
    }
