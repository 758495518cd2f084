"""A million guarded calls in one process: memory stays flat. Then 100,000 on a SQLite file, and what a call takes of it.

    python benchmarks/memory.py [--million] [--write]

The backend answers at once, so the guard is all that runs: loop rules on, a capped run every 1,000 calls with an agent's
step in it, a new prompt for every call. Without `--million` a tenth of both is run.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from time import perf_counter

from figures import Figures
from world import MODEL, PRICES, NoModel, question

import tokenguard as tg

CALLS_PER_RUN = 1_000
GROWTH_SHARE_MAX = 0.05
GROWTH_MB_MAX = 5.0


def resident_mb() -> float:
    """Resident memory of this process, in MB; from /proc, elsewhere the most there ever was."""
    gc.collect()
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    import resource  # noqa: PLC0415  # not on every system

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def spend(guard: tg.Guard, calls: int, numbers: Iterator[int]) -> None:
    """Guarded calls in runs of `CALLS_PER_RUN`, half of them inside an agent's step."""

    @guard.step
    def look_up(number: int) -> None:
        guard.completion(MODEL, question(f"look up {number}"), max_tokens=64)

    @guard.agent("worker", budget=tg.Budget(usd=10))
    def work() -> None:
        for _ in range(CALLS_PER_RUN // 2):
            guard.completion(MODEL, question(f"question {next(numbers)}"), max_tokens=64)
            look_up(next(numbers))

    for _ in range(calls // CALLS_PER_RUN):
        with guard.run("job", budget=tg.Budget(usd=20)):
            work()


def grown(figures: Figures, name: str, database: str, calls: int, early: int) -> None:
    """Memory after `early` calls and after all of them, and calls per second."""
    numbers = count()
    day = tg.Budget(usd=100_000, per="day")
    with tg.Guard(database=database, prices=PRICES, scope="bench", budget=day, backend=NoModel()) as guard:
        begin = perf_counter()
        spend(guard, early, numbers)
        before = resident_mb()
        spend(guard, calls - early, numbers)
        elapsed = perf_counter() - begin
        after = resident_mb()
    figures.add(f"{name}: calls", calls, "calls")
    figures.add(f"{name}: calls per second", calls / elapsed, "calls/s")
    figures.add(f"{name}: memory after {early:,} calls", before, "MB")
    figures.add(f"{name}: memory after {calls:,} calls", after, "MB")
    bar = max(GROWTH_MB_MAX, before * GROWTH_SHARE_MAX)
    figures.add(f"{name}: growth between the two", after - before, "MB", at_most=round(bar, 1))


def main(*, million: bool) -> int:
    figures = Figures("memory", __doc__.partition("\n")[0])
    calls = 1_000_000 if million else 100_000
    grown(figures, "in memory", "memory", calls, calls // 10)
    on_file = calls // 10
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "spend.db"
        grown(figures, "SQLite file", str(database), on_file, on_file // 5)
        size = sum(one.stat().st_size for one in Path(folder).iterdir())
        figures.add("SQLite file: size of the file per call", size / on_file, "bytes")
    return figures.finish()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--million", action="store_true", help="the whole million; some minutes")
    parser.add_argument("--write", action="store_true", help="keep the figures in benchmarks/results")
    sys.exit(main(million=parser.parse_args().million))
