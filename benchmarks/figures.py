"""What every benchmark of ours ends with: one line per figure, PASS or MISS where it has a bar, and the same as JSON.

`--write` keeps the figures in `benchmarks/results/<name>.json`, with the machine they were measured on: cores,
processor and Python, no paths and no names.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenguard.core.clock import SystemClock

RESULTS = Path(__file__).parent / "results"


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie (nearest rank); `values` is not empty."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


class Figures:
    """The figures of one benchmark, printed as they come."""

    def __init__(self, name: str, note: str = "") -> None:
        self._name = name
        self._note = note
        self._rows: list[dict[str, Any]] = []
        if note:
            print(note)

    def add(
        self, what: str, value: float, unit: str, *, at_most: float | None = None, at_least: float | None = None
    ) -> None:
        """One figure; with a bar it passes or misses."""
        row: dict[str, Any] = {"what": what, "value": float(f"{value:.4g}"), "unit": unit}
        word, bar = "    ", ""
        if at_most is not None or at_least is not None:
            passed = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
            side, limit = ("at most", at_most) if at_most is not None else ("at least", at_least)
            row |= {"bar": f"{side} {limit:g}", "passed": passed}
            word, bar = ("PASS" if passed else "MISS"), f"({side} {limit:g})"
        self._rows.append(row)
        print(f"{word}  {what:62} {value:12.4g} {unit:10} {bar}".rstrip(), flush=True)

    def finish(self) -> int:
        """Write the figures where `--write` was given; the exit code, 1 below a bar."""
        if "--write" in sys.argv:
            RESULTS.mkdir(exist_ok=True)
            text = json.dumps(
                {"benchmark": self._name, **machine(), "note": self._note, "figures": self._rows},
                indent=2,
                ensure_ascii=False,
            )
            (RESULTS / f"{self._name}.json").write_text(text + "\n", encoding="utf-8")
        return int(any(not row.get("passed", True) for row in self._rows))


def machine() -> dict[str, Any]:
    """The machine, as far as a figure depends on it; `load` is how many other processes wanted to run meanwhile."""
    return {
        "date": SystemClock().now().date().isoformat(),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "python": platform.python_version(),
        "system": platform.system(),
        "load": round(os.getloadavg()[0], 1),
    }


def _processor() -> str:
    """The processor's model name, where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
