"""Eight processes with twenty-five calls each, gathered at once on one PostgreSQL ledger, four capped scopes deep."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tokenguard.core.budget import Unit
from tokenguard.core.clock import SystemClock
from tokenguard.testing.model_server import ModelServer, Reply

CENT = 10**10
TESTS = Path(__file__).resolve().parent.parent
RACERS = str(TESTS / "ledger" / "programs" / "racers.py")
DEADLOCKS = sa.text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")


def raced(database: str, model: ModelServer, folder: Path, *more: str) -> list[str]:
    """The outcomes of all 200 calls."""
    port = model.url.removesuffix("/v1").rpartition(":")[2]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    command = [sys.executable, "-W", "ignore", RACERS, database, port, "25", *more]
    racers = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=folder, env=env, timeout=150, check=True)
    return list(json.loads(racers.stdout))


def deadlocks(server: str) -> int:
    engine = sa.create_engine(server.replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.connect() as connection:
        counted = int(connection.execute(DEADLOCKS).scalar_one())
    engine.dispose()
    return counted


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.timeout(180)
# The hundredth call of $0.006 is refused: its 256-token floor is above the $0.006 that 99 of them leave.
@pytest.mark.parametrize(("tokens", "affordable"), [(400, 60), (240, 99)])
def test_two_hundred_calls_of_eight_processes_send_what_is_affordable_without_a_deadlock(
    open_sql: Any, postgres: str, tmp_path: Path, tokens: int, affordable: int
) -> None:
    ledger = open_sql(postgres)
    ledger.set_cap("scope:acme", Unit.USD, "total", "UTC", 60 * CENT, by="ada", at=SystemClock().now())
    before = deadlocks(postgres)

    with ModelServer(Reply(completion_tokens=tokens, prompt_tokens=0, latency_s=0.02)) as model:
        outcomes = raced(postgres, model, tmp_path)
        arrived = model.count

    assert arrived == outcomes.count("ok") == affordable
    assert outcomes.count("budget_exceeded") == 200 - affordable
    assert ledger.verify().ok
    assert deadlocks(postgres) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.timeout(180)
@pytest.mark.parametrize(("tokens", "affordable"), [(400, 60), (240, 99)])
def test_the_same_calls_through_allowances_send_what_is_affordable_too(  # noqa: PLR0917  # fixtures and cases, by name
    open_sql: Any, postgres: str, tmp_path: Path, desk: Any, tokens: int, affordable: int
) -> None:
    ledger = open_sql(postgres)
    ledger.declare(desk.scope("scope:acme", usd="0.60", per="total", allowance="0.20"), SystemClock().now())
    before = deadlocks(postgres)

    with ModelServer(Reply(completion_tokens=tokens, prompt_tokens=0, latency_s=0.02)) as model:
        outcomes = raced(postgres, model, tmp_path, "0.20")
        arrived = model.count

    assert arrived == outcomes.count("ok") == affordable
    assert outcomes.count("budget_exceeded") == 200 - affordable
    assert ledger.verify().ok
    assert leases(postgres) > 0
    assert deadlocks(postgres) == before


def leases(server: str) -> int:
    """Leases that were ever taken."""
    engine = sa.create_engine(server.replace("postgresql://", "postgresql+psycopg://", 1))
    returned = sa.text(
        "SELECT count(*) FROM tg_transfer WHERE kind = 'void' AND hold_id NOT IN (SELECT id FROM tg_spend_event)"
    )
    with engine.connect() as connection:
        counted = int(connection.execute(returned).scalar_one())
    engine.dispose()
    return counted
