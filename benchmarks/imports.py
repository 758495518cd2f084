"""How long `import tokenguard` takes, beyond an interpreter that does nothing, and which heavy libraries it loads.

    python benchmarks/imports.py [--write]

Fresh processes in turns: an empty program, and one that imports tokenguard and looks at what most programs use of it.
The median difference has the bar. The processor time beside it is what neighbours on the machine disturb least.
"""

from __future__ import annotations

import os
import subprocess
import sys
from statistics import median
from time import perf_counter

from figures import Figures
from heavy import HEAVY

MS_MAX = 100.0
TURNS = 15
NOTHING = "pass"
IMPORT = "import tokenguard"
OURS = "import tokenguard; tokenguard.Guard, tokenguard.Budget, tokenguard.BudgetExceeded"
"""Names are loaded at their first use, so the import alone says little: this is what a program with a guard pays."""


def timed(statement: str) -> tuple[float, float]:
    """One fresh interpreter: (wall, processor) milliseconds."""
    begin, before = perf_counter(), os.times()
    subprocess.run([sys.executable, "-W", "ignore", "-c", statement], check=True)
    wall, after = perf_counter() - begin, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall * 1e3, cpu * 1e3


def loaded() -> list[str]:
    """Heavy libraries that a fresh interpreter has after the import."""
    code = f"{OURS}\nimport sys\nprint(*(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def main() -> int:
    figures = Figures("imports", __doc__.partition("\n")[0])
    timed(OURS)  # Writes the bytecode, which an installed package has.
    turns = [(timed(NOTHING), timed(IMPORT), timed(OURS)) for _ in range(TURNS)]
    figures.add("an interpreter that does nothing", median(nothing[0] for nothing, _, _ in turns), "ms")
    alone = median(bare[0] - nothing[0] for nothing, bare, _ in turns)
    figures.add("import tokenguard, beyond that", alone, "ms", at_most=MS_MAX)
    used = median(ours[0] - nothing[0] for nothing, _, ours in turns)
    figures.add("import tokenguard and use Guard, beyond that", used, "ms")
    figures.add("  the same in processor time", median(ours[1] - nothing[1] for nothing, _, ours in turns), "ms")
    figures.add("heavy libraries loaded by it", len(loaded()), "libraries", at_most=0)
    return figures.finish()


if __name__ == "__main__":
    sys.exit(main())
