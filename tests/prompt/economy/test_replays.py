"""Recorded runs through the policies of `benchmarks/fold_dollars.py`, as far as a test may take."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from prompt.economy.rates import rates

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
PRICES = {"1.25/0.1": rates(), "1/0.5": rates(100, 50), "none": rates(100, 100, marked="none"), "1 h": rates(200, 10)}


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("fold_replay")


@pytest.fixture
def talks(replay: ModuleType) -> list[Any]:
    """Every run of the small families, and each twentieth of the others."""
    runs = importlib.import_module("fold_runs")
    folder = runs.folder(BENCHMARKS / "fold_dollars.py")
    if not folder.is_dir():
        pytest.skip("The recorded runs are not here: shared/data/trajectories beside the checkout.")
    found = runs.talks(folder)
    small = [talk for talk in found if talk.family in ("SWE-agent", "SWE-smith XML", "OpenHands")]
    return [*small, *[talk for talk in found if talk not in small][::20]]


@pytest.mark.parametrize("terms", PRICES)
def test_no_sent_byte_of_a_recorded_run_changes_unless_a_cut_is_declared(
    replay: ModuleType, talks: list[Any], terms: str
) -> None:
    seen: list[tuple[int, int]] = []
    gated = replay.gated(watch=lambda changed, cuts: seen.append((changed, cuts)))

    entry = [replay.bill(talk, PRICES[terms], level) for talk in talks for level in (replay.compact, replay.lossless)]
    for talk in talks:
        replay.bill(talk, PRICES[terms], gated)

    assert sum(one.rewritten for one in entry) == 0
    assert [changed for changed, cuts in seen if changed and not cuts] == []
    assert [cuts for changed, cuts in seen if cuts and not changed] == []
    assert len(seen) == sum(len(talk.requests) for talk in talks)


@pytest.mark.parametrize("terms", PRICES)
def test_no_level_costs_more_over_the_recorded_runs_than_sending_everything(
    replay: ModuleType, talks: list[Any], terms: str
) -> None:
    spent = {
        level: sum(replay.bill(talk, PRICES[terms], policy).pico for talk in talks)
        for level, policy in {
            "off": replay.off,
            "compact": replay.compact,
            "lossless": replay.lossless,
            "gated": replay.gated(),
            "masked": replay.mask(5, 1),
        }.items()
    }

    assert spent["gated"] <= spent["lossless"] <= spent["compact"] <= spent["off"]
    assert (spent["masked"] > spent["off"]) is (terms in ("1.25/0.1", "1 h"))


def test_the_simulated_bill_is_the_sum_of_what_is_read_and_written(replay: ModuleType) -> None:
    provider = replay.ProviderCache()
    long, short = "word " * 1_500, "one more"

    first = provider.send([long], rates())
    second = provider.send([long, short], rates())
    other = provider.send([short], rates())

    tokens = replay.tokens
    assert first == (tokens(long), 0, 1_250_000 * tokens(long))
    assert second[1:] == (tokens(long), 100_000 * tokens(long) + 1_250_000 * tokens(short))
    assert other == (tokens(short), 0, 1_000_000 * tokens(short))
