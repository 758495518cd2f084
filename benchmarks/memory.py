"""A million guarded calls in one process: memory stays flat. Then 100,000 on a SQLite file, and how large it gets.

    python benchmarks/memory.py [--million] [--write]

The backend answers at once, so the guard is all that runs: loop rules on, a new prompt for every call, and every 10,000
calls a capped run with a capped agent and five steps in it. Memory is looked at after a tenth of the calls and at the
end. Without `--million` a fifth of both is run.

What calls cost is one thing, what runs cost another: books in memory keep sums for every run. So the last figure is
what each of many short runs (one call each) adds, after three times as many before it.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from time import perf_counter

from figures import Figures
from world import MODEL, PRICES, NoModel, question

import tokenguard as tg

CALLS_PER_RUN = 10_000
STEPS_PER_RUN = 5
SHORT_RUNS = 5_000
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


def spend(guard: tg.Guard, calls: int, numbers: Iterator[int], *, per_run: int = CALLS_PER_RUN) -> None:
    """Guarded calls in runs of `per_run`, made in the steps of an agent."""
    steps = min(STEPS_PER_RUN, per_run)

    @guard.step
    def look_up() -> None:
        for _ in range(per_run // steps):
            guard.completion(MODEL, question(f"question {next(numbers)}"), max_tokens=64)

    @guard.agent("worker", budget=tg.Budget(usd=10))
    def work() -> None:
        for _ in range(steps):
            look_up()

    for _ in range(calls // per_run):
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
    # Flat means: no more than the noise of an allocator.
    bar = max(GROWTH_MB_MAX, before * GROWTH_SHARE_MAX)
    figures.add(f"{name}: growth between the two", after - before, "MB", at_most=round(bar, 1))


def main(*, million: bool) -> int:
    figures = Figures("memory", __doc__.partition("\n")[0])
    calls = 1_000_000 if million else 200_000
    grown(figures, "in memory", "memory", calls, calls // 10)
    on_file = calls // 10
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "spend.db"
        grown(figures, "SQLite file", str(database), on_file, on_file // 10)
        size = sum(one.stat().st_size for one in Path(folder).iterdir())
        figures.add("SQLite file: size of the file per call", size / on_file, "bytes")
    many_short_runs(figures)
    return figures.finish()


def many_short_runs(figures: Figures) -> None:
    """What the books in memory keep of a run that is over."""
    day, numbers = tg.Budget(usd=100_000, per="day"), count()
    with tg.Guard(database="memory", prices=PRICES, scope="bench", budget=day, backend=NoModel()) as guard:
        # Counted by the allocator: what the guards before this one gave back would hide it from the resident memory.
        tracemalloc.start()
        spend(guard, 3 * SHORT_RUNS, numbers, per_run=1)
        before = tracemalloc.get_traced_memory()[0]
        spend(guard, SHORT_RUNS, numbers, per_run=1)
        gc.collect()
        kept = (tracemalloc.get_traced_memory()[0] - before) / 1e3 / SHORT_RUNS
        tracemalloc.stop()
    figures.add("in memory: kept of each run of one call", kept, "kB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--million", action="store_true", help="the whole million; some minutes")
    parser.add_argument("--write", action="store_true", help="keep the figures in benchmarks/results")
    sys.exit(main(million=parser.parse_args().million))
