"""`tokenguard report spend --since 30d --by agent` on a PostgreSQL ledger of a million events, or of ten million.

    python -W ignore benchmarks/reports.py [--events 1000000] [--write]

A private server (PostgreSQL from PyPI) is filled by COPY with 35 days of calls: 40 agents, 12 models, 3 scopes, some
assumed and estimated charges. The command runs in a process of its own, from Python's start to the last line of the
table. Bar: 2 s, also where `--since` cuts a day in the middle, whose hours are added up from single events. Exit 1
above it. Ten million events take some ten minutes and about 12 GB of disk.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from statistics import median
from time import perf_counter
from typing import Any

import psycopg
from figures import Figures
from servers import private_postgres

from tokenguard.core.clock import SystemClock
from tokenguard.core.ids import RandomIds
from tokenguard.ledger import schema
from tokenguard.ledger.address import Address
from tokenguard.ledger.engine import Database
from tokenguard.ledger.prepare import upgrade
from tokenguard.ledger.rollups import compact
from tokenguard.ledger.sql import SqlLedger
from tokenguard.reports.spend import spend_report

SECONDS_MAX = 2.0
DAYS = 35
RUNS = 3
AGENTS = [f"agent-{number:02d}" for number in range(40)]
MODELS = [
    ("openai", "openai/gpt-5"),
    ("openai", "openai/gpt-5-mini"),
    ("openai", "openai/gpt-5-nano"),
    ("openai", "openai/o4-mini"),
    ("anthropic", "anthropic/claude-opus-4-1"),
    ("anthropic", "anthropic/claude-sonnet-4-5"),
    ("anthropic", "anthropic/claude-haiku-4-5"),
    ("gemini", "gemini/gemini-2.5-pro"),
    ("gemini", "gemini/gemini-2.5-flash"),
    ("mistral", "mistral/mistral-large"),
    ("groq", "groq/llama-3.3-70b"),
    ("hosted_vllm", "hosted_vllm/qwen3-32b"),
]
SCOPES = ["acme/search", "acme/support", "acme/finance"]
EVENT_COLUMNS = [column.name for column in schema.spend_event.c]
DELTA_COLUMNS = [column.name for column in schema.rollup_delta.c]


def calls(count: int, until: datetime) -> Iterator[dict[str, Any]]:
    """Calls as the columns of their events, oldest first, spread evenly over the days before `until`."""
    chance = random.Random(1)  # the same books each time
    began, step = until - timedelta(days=DAYS), timedelta(days=DAYS) / count
    run_id = ""
    for number in range(count):
        at = began + number * step
        if number % 60 == 0:
            run_id = _id(at, chance)
        turn = number // 60
        agent = AGENTS[(turn * 7 + number % 3) % len(AGENTS)]
        provider, model = MODELS[(turn + number % 5) % len(MODELS)]
        input_tokens, output_tokens = 200 + chance.getrandbits(13), 20 + chance.getrandbits(10)
        usd = input_tokens * 250_000 + output_tokens * 2_000_000
        quality = "reported" if number % 50 else ("estimated" if number % 100 else "assumed")
        yield {
            "id": _id(at, chance),
            "revision": 1,
            "held_at": at,
            "at": at + timedelta(milliseconds=1_500),
            "booked_at": at + timedelta(milliseconds=1_510),
            "call_id": _id(at, chance),
            "attempt": 1,
            "operation": "chat",
            "model": model,
            "provider": provider,
            "run_id": run_id,
            "root_id": run_id,
            "node_id": run_id,
            "agent": agent,
            "scope": SCOPES[turn % len(SCOPES)],
            "mode": "enforce",
            "labels": '{"feature":"digest"}',
            "status": "ok",
            "quality": quality,
            "usd_pico": usd,
            "tokens": input_tokens + output_tokens,
            "calls": 1,
            "steps": 1,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "usage": f'{{"input_tokens":{input_tokens},"output_tokens":{output_tokens}}}',
            "price_id": model,
            "price_version": "2026-10-01",
            "computed_pico": usd,
            "ceiling_pico": 3 * usd,
            "overrun": "f",
            "response_model": model,
            "response_id": "chatcmpl-" + f"{chance.getrandbits(96):x}",
            "finish_reason": "stop",
            "max_tokens": 4_096,
            "clamped": "f",
            "duration_ms": 1_500,
            "day": at.date().isoformat(),
            "event_id": "",
        }


def _id(at: datetime, chance: random.Random) -> str:
    """Ordered by time, as UUIDv7 is."""
    text = f"{int(at.timestamp() * 1000):012x}7{chance.getrandbits(76):019x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:32]}"


def fill(url: str, count: int, until: datetime) -> None:
    """Copy events and their deltas, a slice of each in turn."""
    with psycopg.connect(url) as connection:
        connection.execute("SET synchronous_commit = off")
        stream, left = calls(count, until), count
        while left:
            some = [next(stream) for _ in range(min(left, 100_000))]
            left -= len(some)
            for one in some:
                one["event_id"] = one["id"]
                one["day"] = one["at"].date().isoformat()
            _copy(connection, "tg_spend_event", EVENT_COLUMNS, some)
            _copy(connection, "tg_rollup_delta", DELTA_COLUMNS, some)
            connection.commit()
            print(f"      {count - left:,} of {count:,} events copied", file=sys.stderr, flush=True)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE tg_spend_event")


def _copy(connection: Any, table: str, columns: list[str], rows: list[dict[str, Any]]) -> None:
    with connection.cursor().copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
        copy.write("".join(["\t".join([_text(row.get(name)) for name in columns]) + "\n" for row in rows]))


def _text(value: Any) -> str:
    return r"\N" if value is None else str(value)


def report(url: str, since: str) -> float:
    """Seconds of the command, from the start of its process to its end."""
    command = [sys.executable, "-m", "tokenguard", "report", "spend", "--since", since, "--by", "agent"]
    start = perf_counter()
    said = subprocess.run([*command, "--database", url], check=True, capture_output=True, text=True).stdout
    took = perf_counter() - start
    assert all(agent in said for agent in AGENTS), said
    return took


def measure(url: str, events: int) -> int:
    database = Database(Address.of(url), "normal", 10.0)
    upgrade(database)
    now = SystemClock().now().astimezone(UTC)
    start = perf_counter()
    fill(url, events, now)
    filled = perf_counter() - start
    figures = Figures("reports", f"{__doc__.partition(chr(10))[0]} {events:,} events over {DAYS} days.")
    figures.add("filled by COPY", events / filled, "events/s")
    start = perf_counter()
    compacted = compact(database)
    figures.add("db compact, from nothing compacted", compacted / (perf_counter() - start), "deltas/s")
    with database.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT count(*) FROM tg_rollup").scalar_one()
        size = connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one()
    database.dispose(forked=False)
    ledger = SqlLedger.open(url, SystemClock(), RandomIds())
    start = perf_counter()
    spend_report(ledger, ("agent",), since=now - timedelta(days=30))
    figures.add("the ledger's answer alone, since 30 days by agent", perf_counter() - start, "s")
    ledger.dispose()
    figures.add("rollup rows", rows, "rows")
    figures.add("database", size / 1e9, "GB")
    midnight = (now - timedelta(days=30)).replace(hour=0, minute=0, second=0, microsecond=0)
    for what, since in (
        ("report spend --since 30d --by agent", "30d"),
        ("the same, of whole days", midnight.isoformat()),
        ("the same, from a second after midnight", (midnight + timedelta(seconds=1)).isoformat()),
    ):
        figures.add(what, median(report(url, since) for _ in range(RUNS)), "s", at_most=SECONDS_MAX)
    return figures.finish()


def main(events: int) -> int:
    with private_postgres({"max_wal_size": "8GB"}) as url:
        return measure(url, events)


if __name__ == "__main__":
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000, help="how many")
    parser.add_argument("--write", action="store_true", help="keep the figures in benchmarks/results")
    sys.exit(main(parser.parse_args().events))
