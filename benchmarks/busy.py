"""Reserve + settle beside two INSERT+COMMIT through the same engine, alone and with eight busy processes.

    python benchmarks/busy.py [--seconds 1] [--turns 6] [--write]

On a SQLite file (WAL, `synchronous=NORMAL`) and on a private PostgreSQL (`fsync` and `synchronous_commit` on). The
eight are all at the same thing, in turns: every process reserves and settles for some time, then every process inserts
and commits for as long, so that both meet the same load. Each has a run of its own under one shared capped scope, as a
fleet has; then, without a bar, under a scope of its own, which shows what sharing costs. Exit 1 where a ratio of the
medians or of the p99 is above 2.5.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from figures import Figures, quantile
from ledger import AT, CLOCK, IDS, PATH, RATIO_MAX, pair, timed, two_inserts
from servers import private_postgres

from tokenguard.core.account import Scope
from tokenguard.core.budget import Budget
from tokenguard.ledger.address import Address
from tokenguard.ledger.engine import Database
from tokenguard.ledger.prepare import upgrade
from tokenguard.ledger.sql import SqlLedger

PROCESSES = 8
WARM = 30
LOADS = (("alone", 1, True), ("8 busy", PROCESSES, True), ("8 busy, own caps", PROCESSES, False))
FORK: Any = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True)
class Times:
    """Microseconds of each pair and of each two inserts, of all processes together; and how long the turns took."""

    pairs: list[float]
    inserts: list[float]
    seconds: float


def path_of(number: int, *, shared: bool) -> tuple[Scope, ...]:
    """Four scopes with two capped accounts: a team's day, and a run of this process."""
    team = Scope("scope:acme/search", "acme/search", (Budget(usd=100_000, per="day"),))
    if not shared:
        team = Scope(f"scope:acme/search/{number}", f"acme/search/{number}", team.budgets)
    return (PATH[0], team, PATH[2], Scope(f"run:{number}", f"run {number}", (Budget(usd=100_000),)))


def work(url: str, number: int, seconds: float, turns: int, *, shared: bool, together: Any, told: Any) -> None:
    """One process: turns of pairs and of inserts, begun when everybody is ready."""
    ledger = SqlLedger.open(url, CLOCK, IDS)
    acts = pair(ledger, path_of(number, shared=shared)), two_inserts(ledger)
    for act in acts:
        for _ in range(WARM):
            act()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(turns):
        for act, mine in zip(acts, times, strict=True):
            together.wait()
            mine.extend(while_time_is(act, seconds))
    ledger.dispose()
    told.put(times)


def while_time_is(act: Callable[[], None], seconds: float) -> list[float]:
    """How long each took, until the seconds are over."""
    times: list[float] = []
    ends = perf_counter() + seconds
    while perf_counter() < ends:
        times.append(timed(act))
    return times


def measured(url: str, processes: int, seconds: float, turns: int, *, shared: bool) -> Times:
    """Let processes work in turns; what they measured."""
    together, told = FORK.Barrier(processes), FORK.Queue()
    options = {"shared": shared, "together": together, "told": told}
    started = [
        FORK.Process(target=work, args=(url, number, seconds, turns), kwargs=options) for number in range(processes)
    ]
    for one in started:
        one.start()
    times = [told.get(timeout=60 + 4 * seconds * turns) for _ in started]
    for one in started:
        one.join()
    return Times([t for one in times for t in one[0]], [t for one in times for t in one[1]], seconds * turns)


def say(figures: Figures, what: str, times: Times, *, at_most: float | None) -> None:
    """The figures of one load."""
    names: Sequence[tuple[str, list[float]]] = (
        ("reserve + settle", times.pairs),
        ("two INSERT+COMMIT", times.inserts),
    )
    for name, values in names:
        for share in (0.5, 0.99):
            figures.add(f"{what}: {name}, p{share * 100:g}", quantile(values, share) / 1e3, "ms")
        figures.add(f"{what}: {name}", len(values) / times.seconds, "/s")
    for share in (0.5, 0.99):
        ratio = quantile(times.pairs, share) / quantile(times.inserts, share)
        figures.add(f"{what}: ratio of p{share * 100:g}", ratio, "times", at_most=at_most)
    # Of the means: where processes wait for each other, a median says little about how much gets done.
    figures.add(f"{what}: as many inserts as pairs, in the same time", len(times.inserts) / len(times.pairs), "times")


def prepare(url: str) -> None:
    """Tables, the shared cap, and the table of the inserts, before anybody starts."""
    database = Database(Address.of(url), "normal", 10.0)
    upgrade(database)
    database.dispose(forked=False)
    ledger = SqlLedger.open(url, CLOCK, IDS)
    ledger.declare(path_of(0, shared=True)[1], AT)
    two_inserts(ledger)
    ledger.dispose()


def main(seconds: float, turns: int) -> int:
    figures = Figures("busy", __doc__.partition("\n")[0])
    with tempfile.TemporaryDirectory() as folder, private_postgres() as server:
        for name, url in (("SQLite", str(Path(folder) / "bench.db")), ("PostgreSQL", server)):
            prepare(url)
            for load, processes, shared in LOADS:
                times = measured(url, processes, seconds, turns, shared=shared)
                say(figures, f"{name}, {load}", times, at_most=RATIO_MAX if shared else None)
    return figures.finish()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="of each turn")
    parser.add_argument("--turns", type=int, default=6, help="of each kind")
    parser.add_argument("--write", action="store_true", help="keep the figures in benchmarks/results")
    asked = parser.parse_args()
    sys.exit(main(asked.seconds, asked.turns))
