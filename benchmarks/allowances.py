"""One hot budget, eight busy processes: calls reserved one by one, and out of allowances.

    python benchmarks/allowances.py [--seconds 6] [--write]

On a SQLite file and on a private PostgreSQL server, alone and with eight processes, which take turns at the two within
one run, so that a busy machine slows both. Each call is a path of four scopes under one organisation's budget. Bars:
eight processes make at least 20 times the calls of single reservations, settled up with the ledger, and a call takes at
most 50 µs in process, with its two lines in the spool. `busy.py` has single reservations beside plain inserts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

from figures import Figures, quantile
from servers import private_postgres

from tokenguard.config.owners import owner_id
from tokenguard.core.account import Amounts, Scope
from tokenguard.core.account import Path as ScopePath
from tokenguard.core.books import Booking, CallFacts, Hold, Line, Status
from tokenguard.core.budget import Budget
from tokenguard.core.clock import SystemClock
from tokenguard.core.ids import RandomIds
from tokenguard.core.usage import Meter, Quality, Usage
from tokenguard.core.verdict import Ask, Grant
from tokenguard.ledger.address import Address
from tokenguard.ledger.allowances import Allowances
from tokenguard.ledger.conditions import Conditions
from tokenguard.ledger.engine import Database
from tokenguard.ledger.prepare import upgrade
from tokenguard.ledger.sql import SqlLedger

TIMES_MIN: Final = 20.0
LEASED_US_MAX: Final = 50.0
PROCESSES: Final = 8
CLOCK, IDS = SystemClock(), RandomIds()
HOUR: Final = timedelta(hours=1)
ASK = Ask(fixed_pico=25_000_000, output_rate_pico=2_000_000, input_tokens=100, output_min=256, output_max=1_000)
LINES = (Line(Meter.INPUT, 100, 250_000, 25_000_000), Line(Meter.OUTPUT, 200, 2_000_000, 400_000_000))


class Quiet:
    """Hears of exchanges and says nothing."""

    def leasing(self) -> bool:
        return True

    def exchanged(self, request: object, done: object) -> None:
        del request, done

    def failed(self, error: Exception) -> None:
        raise error


def path_of(number: int) -> ScopePath:
    """An organisation's hot budget, over a team, an agent and a run of each process."""
    budget = Budget(usd=1_000_000, per="total", allowance="5")
    return ScopePath(
        (
            Scope("scope:acme", "acme", (budget,)),
            Scope("scope:acme/search", "acme/search"),
            Scope("agent:acme/search/researcher", "agent researcher"),
            Scope(f"run:{number}", "run nightly", (Budget(usd=100_000),)),
        )
    )


def calls(ledger: Any, number: int) -> Callable[[], None]:
    """One call: held and settled."""
    path, owner = path_of(number), owner_id()
    facts = CallFacts("call", 1, "chat", "gpt-5-mini", "openai", str(number), str(number), str(number), "a", "acme")
    usage, amounts = Usage(input_tokens=100, output_tokens=200), Amounts(425_000_000, 300, 1, 0)

    def once() -> None:
        at = CLOCK.now()
        hold = Hold(IDS.new(), at, owner, at + HOUR, path.accounts(at), path.keys, (str(number),), facts)
        granted = ledger.reserve(hold, ASK)
        assert isinstance(granted, Grant), granted
        ledger.settle(hold.id, Booking(at, Status.OK, Quality.REPORTED, amounts, usage=usage, lines=LINES))

    return once


def busy(kind: str, database: str, folder: Path, number: int, seconds: float) -> tuple[list[float], float]:
    """Call for some seconds: each call's microseconds, and calls a second with what the ledger is told at the end."""
    ledger = SqlLedger.open(database, CLOCK, IDS)
    lends: Any = Allowances(ledger, Conditions(folder, CLOCK, IDS, owner_id, Quiet()))
    once = calls(lends if kind == "leased" else ledger, number)
    for _ in range(20):
        once()
    taken: list[float] = []
    began = perf_counter()
    while perf_counter() - began < seconds:
        start = perf_counter()
        once()
        taken.append((perf_counter() - start) * 1e6)
    lends.relinquish()
    rate = len(taken) / (perf_counter() - began)
    lends.dispose()
    return taken, rate


def together(processes: int, kind: str, database: str, folder: Path, seconds: float) -> tuple[list[float], float]:
    """The same in forked processes at once: all calls, and the sum of their rates."""
    pipes = []
    for number in range(processes):
        reading, writing = os.pipe()
        if os.fork() == 0:
            status = 1
            try:
                found = busy(kind, database, folder, number, seconds)
                with os.fdopen(writing, "w") as pipe:
                    json.dump(found, pipe)
                status = 0
            finally:
                os._exit(status)
        os.close(writing)
        pipes.append(reading)
    taken, rate = [], 0.0
    for reading in pipes:
        with os.fdopen(reading) as pipe:
            mine, my_rate = json.load(pipe)
        taken += mine
        rate += my_rate
    for _ in pipes:
        assert os.wait()[1] == 0, "a process failed"
    return taken, rate


def main(seconds: float) -> int:
    figures = Figures("allowances", __doc__.partition("\n")[0])
    with tempfile.TemporaryDirectory() as place, private_postgres() as server:
        for name, database in (("SQLite", str(Path(place) / "bench.db")), ("PostgreSQL", server)):
            opened = Database(Address.of(database), "normal", 10.0)
            upgrade(opened)
            opened.dispose(forked=False)
            for processes in (1, PROCESSES):
                turns: dict[str, list[tuple[list[float], float]]] = {"single": [], "leased": []}
                for _ in range(3):
                    for kind, results in turns.items():
                        results.append(together(processes, kind, database, Path(place) / name, seconds / 3))
                report(figures, f"{name}, {processes} processes" if processes > 1 else f"{name}, alone", turns)
            ledger = SqlLedger.open(database, CLOCK, IDS)
            assert ledger.verify().ok, "the books replay"
            ledger.dispose()
    return figures.finish()


def report(figures: Figures, where: str, turns: dict[str, list[tuple[list[float], float]]]) -> None:
    """The figures of one database and number of processes."""
    taken = {kind: [one for mine, _ in results for one in mine] for kind, results in turns.items()}
    rates = {kind: median(rate for _, rate in results) for kind, results in turns.items()}
    alone = where.endswith("alone")
    for kind, words in (("single", "one by one"), ("leased", "of an allowance")):
        bar = LEASED_US_MAX if alone and kind == "leased" else None
        figures.add(f"{where}: {words}, p50", median(taken[kind]), "µs", at_most=bar)
        figures.add(f"{where}: {words}, p99", quantile(taken[kind], 0.99), "µs")
        figures.add(f"{where}: {words}", rates[kind], "calls/s")
    times = rates["leased"] / rates["single"]
    figures.add(f"{where}: allowances beside one by one", times, "times", at_least=None if alone else TIMES_MIN)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=6.0, help="how long each is measured")
    parser.add_argument("--write", action="store_true", help="keep the figures in benchmarks/results")
    sys.exit(main(parser.parse_args().seconds))
