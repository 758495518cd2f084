"""A supervisor restarts what crashes; the ledger remembers what the crashed ones spent."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from tokenguard.core.clock import SystemClock
from tokenguard.core.ids import RandomIds
from tokenguard.ledger.sql import SqlLedger

SUPERVISOR = str(Path(__file__).parent / "programs" / "supervisor.py")
CENT = 10**10
STARTS, CAP_CENTS = 1_000, 300


@pytest.mark.timeout(600)  # a thousand processes: 20 s of computing, much longer where others compute too
def test_a_crashing_agent_started_a_thousand_times_stays_under_the_days_cap(tmp_path: Path) -> None:
    database, sent = tmp_path / "spend.db", tmp_path / "sent"

    done = subprocess.run(
        [sys.executable, SUPERVISOR, str(database), str(sent), str(STARTS), str(CAP_CENTS)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )

    endings = {int(code): count for code, count in json.loads(done.stdout).items()}
    requests = len(sent.read_bytes())
    ledger = SqlLedger.open(str(database), SystemClock(), RandomIds())
    (day,) = [one.state for one in ledger.budgets(SystemClock().now()) if one.budget.scope_key == "scope:acme"]
    assert sum(endings.values()) == STARTS
    assert set(endings) == {3, 4, 5, 6}, done.stderr
    assert requests == CAP_CENTS
    assert day.settled + day.held == CAP_CENTS * CENT
    assert day.held <= endings[3] * CENT  # Of those that died, what nobody has given up yet.

    ledger.sweep(SystemClock().now() + timedelta(days=1))

    (after,) = [one.state for one in ledger.budgets(SystemClock().now()) if one.budget.scope_key == "scope:acme"]
    assert (after.settled, after.held) == (CAP_CENTS * CENT, 0)
    assert ledger.verify().findings == ()
    ledger.dispose()
