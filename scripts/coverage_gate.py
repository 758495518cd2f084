"""Hold each package to its coverage: the money path entirely, everything else nearly.

Usage: `python scripts/coverage_gate.py coverage.json`, after `coverage json`. Exit 1 names what is below its gate.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

WHOLE = ("core", "calls", "ledger", "routing", "errors")
"""Packages where an unexecuted line is an unexamined way to lose money, or private data."""
ELSEWHERE = 95.0


def main(path: Path) -> int:
    """Print one line per package and what is missing in those below their gate."""
    files: dict[str, dict[str, Any]] = json.loads(path.read_text())["files"]
    packages: dict[str, list[str]] = defaultdict(list)
    for name in sorted(files):
        parts = Path(name).parts
        if parts[0] == "tokenguard":
            packages[parts[1] if len(parts) > 2 else Path(parts[1]).stem].append(name)
    failed = False
    for package, names in sorted(packages.items()):
        gate = 100.0 if package in WHOLE else ELSEWHERE
        share = _share([files[name]["summary"] for name in names])
        below = share < gate
        failed = failed or below
        print(f"{'BELOW' if below else 'ok   '} {package:12} {share:6.2f} % (gate {gate:.0f} %)")
        if below:
            _explain(files, names)
    return int(failed)


def _share(summaries: list[dict[str, int]]) -> float:
    """Lines and branches executed, in percent; rounded down so that 99.996 is not 100."""
    covered = sum(one["covered_lines"] + one.get("covered_branches", 0) for one in summaries)
    total = sum(one["num_statements"] + one.get("num_branches", 0) for one in summaries)
    return 100.0 if total == 0 else covered * 10_000 // total / 100


def _explain(files: dict[str, dict[str, Any]], names: list[str]) -> None:
    """Name the lines and branches that no test took."""
    for name in names:
        lines: list[int] = files[name]["missing_lines"]
        branches: list[list[int]] = files[name].get("missing_branches", [])
        if lines or branches:
            arrows = ", ".join(f"{begin}->{end}" for begin, end in branches[:12])
            print(f"      {name}: lines {lines[:30]} branches {arrows}")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
