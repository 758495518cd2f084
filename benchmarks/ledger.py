"""Reserve + settle over 4 scopes with 2 capped accounts, against two INSERT+COMMIT through the same engine.

    python benchmarks/ledger.py [--pairs 3000] [--write]

Both are timed in turns on the same file, so that a busy machine slows both; the ratio of the medians is the figure.
Limits: the SQL pair at most 2.5 × the two inserts, the pair in memory at most 40 µs. Exit 1 where one is passed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import sqlalchemy as sa
from figures import Figures

from tokenguard.core.account import Amounts, Scope, accounts_on
from tokenguard.core.books import Booking, CallFacts, Hold, Line, Status
from tokenguard.core.budget import Budget
from tokenguard.core.clock import SystemClock
from tokenguard.core.ids import RandomIds
from tokenguard.core.ports import Ledger
from tokenguard.core.usage import Meter, Quality, Usage
from tokenguard.core.verdict import Ask
from tokenguard.ledger.memory import MemoryLedger
from tokenguard.ledger.sql import SqlLedger

RATIO_MAX = 2.5
MEMORY_US_MAX = 40.0

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
IDS = RandomIds()
CLOCK = SystemClock()
PATH = (
    Scope("scope:acme", "acme"),
    Scope("scope:acme/search", "acme/search", (Budget(usd=100_000, per="day"),)),
    Scope("agent:acme/search/researcher", "agent researcher"),
    Scope("run:1", "run nightly", (Budget(usd=100_000),)),
)
FACTS = CallFacts("call", 1, "chat", "gpt-5-mini", "openai", "1", "1", "1", "researcher", "acme/search")
ASK = Ask(fixed_pico=25_000_000, output_rate_pico=2_000_000, input_tokens=100, output_min=256, output_max=1_000)
BOOKING = Booking(
    at=AT,
    status=Status.OK,
    quality=Quality.REPORTED,
    amounts=Amounts(425_000_000, 300, 1, 0),
    usage=Usage(input_tokens=100, output_tokens=200),
    lines=(Line(Meter.INPUT, 100, 250_000, 25_000_000), Line(Meter.OUTPUT, 200, 2_000_000, 400_000_000)),
)


def pair(ledger: Ledger, path: Sequence[Scope] = PATH) -> Callable[[], None]:
    """One call's transactions: reserve and settle on a path."""
    accounts, keys = accounts_on(path, AT), tuple(one.key for one in path)
    lease = AT + timedelta(minutes=5)

    def once() -> None:
        hold = Hold(IDS.new(), AT, "owner", lease, accounts, keys, ("1",), FACTS)
        ledger.reserve(hold, ASK)
        ledger.settle(hold.id, BOOKING)

    return once


def two_inserts(ledger: SqlLedger) -> Callable[[], None]:
    """Two transactions of one INSERT each, as any SQLAlchemy program writes them."""
    engine = ledger._database.engine  # noqa: SLF001  # the same engine is the point
    rows = sa.Table(
        "bench", sa.MetaData(), sa.Column("id", sa.Text(), primary_key=True), sa.Column("amount", sa.BigInteger())
    )
    rows.metadata.create_all(engine)
    insert = sa.insert(rows)

    def once() -> None:
        for _ in range(2):
            with engine.begin() as connection:
                connection.execute(insert, {"id": IDS.new(), "amount": 1})

    return once


def timed(act: Callable[[], None]) -> float:
    start = perf_counter()
    act()
    return (perf_counter() - start) * 1e6


def main(pairs: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        ledger = SqlLedger.open(str(Path(folder) / "bench.db"), CLOCK, IDS)
        ledger.declare(PATH[1], AT)
        sql, inserts = pair(ledger), two_inserts(ledger)
        for _ in range(200):
            sql(), inserts()
        turns = [(timed(sql), timed(inserts)) for _ in range(pairs)]
        ledger.dispose()
    sql_us, insert_us = [one[0] for one in turns], [one[1] for one in turns]
    books = MemoryLedger(CLOCK, IDS)
    books.declare(PATH[1], AT)
    memory = pair(books)
    for _ in range(1_000):
        memory()
    memory_us = median(timed(memory) for _ in range(max(pairs, 5_000)))
    ratio = median(sql_us) / median(insert_us)
    figures = Figures("ledger", __doc__.partition("\n")[0])
    figures.add("reserve + settle, SQLite: p50", median(sql_us), "µs")
    figures.add("reserve + settle, SQLite: p99", quantiles(sql_us, n=100)[98], "µs")
    figures.add("two INSERT+COMMIT, same engine: p50", median(insert_us), "µs")
    figures.add("reserve + settle, beside the two", ratio, "times", at_most=RATIO_MAX)
    figures.add("reserve + settle, memory: p50", memory_us, "µs", at_most=MEMORY_US_MAX)
    return figures.finish()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=3_000, help="how often each is timed")
    parser.add_argument("--write", action="store_true", help="keep the figures in benchmarks/results")
    sys.exit(main(parser.parse_args().pairs))
