"""Importing tokenguard is cheap: heavy libraries are loaded when they are first needed."""

import subprocess
import sys
from pathlib import Path
from runpy import run_path

import pytest

HEAVY = run_path(str(Path(__file__).resolve().parent.parent / "benchmarks" / "heavy.py"))["HEAVY"]


def _loaded_by(statement: str) -> list[str]:
    """Which heavy libraries a fresh interpreter has after a statement."""
    code = f"{statement}\nimport sys\nprint(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    "statement",
    [
        "import tokenguard",
        "import tokenguard.counting",
        "import tokenguard.pricing",
        "import tokenguard.calls",
        "import tokenguard.prompt.structured.prompts",
        "import tokenguard.hardware",
        "from tokenguard import *",
    ],
)
def test_importing_loads_no_heavy_library(statement: str) -> None:
    assert _loaded_by(statement) == []


def test_making_a_budget_loads_no_heavy_library() -> None:
    assert _loaded_by('import tokenguard as tg; tg.Budget(usd="2", per="day")') == []
