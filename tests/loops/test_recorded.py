"""The rules on recorded runs: the bars of `make bench-loops`, as far as a test may take."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tokenguard.core.ladder import Loops
from tokenguard.loops.memory import LoopMemory

ROOT = Path(__file__).resolve().parents[2]


def recorded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("loops_runs", ROOT / "benchmarks" / "loops_runs.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["loops_runs"] = module  # Its dataclasses look themselves up.
    spec.loader.exec_module(module)
    return module


def most(run: Any) -> int:
    """The most repetitions that one memory, shown the run as it grew, ever found."""
    memory = LoopMemory()
    found = [memory.asked(run.messages[:end], Loops()) for end in range(1, len(run.messages) + 1)]
    return max((one.repeats for one in found if one), default=0)


def test_good_recorded_runs_are_left_alone_and_failing_ones_are_found() -> None:
    module = recorded()
    folder = module.folder(ROOT / "benchmarks" / "loops.py")
    if not folder.is_dir():
        pytest.skip("The recorded runs are not here: shared/data/trajectories beside the checkout.")
    runs = [(run, most(run)) for run in module.runs(folder)]
    good = [repeats for run, repeats in runs if run.succeeded]
    failing = [repeats for run, repeats in runs if run.succeeded is False]
    airline = [repeats for run, repeats in runs if run.succeeded and run.source == "tau-bench"]

    assert sum(one >= 3 for one in failing) >= 140, "the best exact rule of the others finds 140"
    assert sum(one >= 4 for one in good) <= 0.01 * len(good)
    assert sum(one >= 6 for one in good) <= 0.003 * len(good)
    assert max(airline) < 4
