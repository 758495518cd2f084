"""`tokenguard sweep`: what it says, and that it may be repeated."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

DIES = """
    import os
    import sys
    import tokenguard as tg

    guard = tg.Guard(database=sys.argv[1])
    with guard.run("dies"):
        for number in range(int(sys.argv[2])):
            guard.charge("browser", up_to="0.25").__enter__()
        os._exit(9)
"""


def dead(tmp_path: Path, charges: int) -> str:
    """Books in which a process died with so many charges open."""
    path = str(tmp_path / "spend.db")
    program = [sys.executable, "-c", textwrap.dedent(DIES), path, str(charges)]
    assert subprocess.run(program, check=False, timeout=60).returncode == 9
    return path


@pytest.mark.parametrize(("charges", "said"), [(1, "1 call of processes that died"), (3, "3 calls of processes")])
def test_what_a_dead_process_held_is_charged_and_said(cli: Any, tmp_path: Path, charges: int, said: str) -> None:
    path = dead(tmp_path, charges)

    first, again = cli("sweep", "--database", path), cli("sweep", "--database", path)
    spend = cli("report", "spend", "--by", "quality", "--json", "--database", path).json

    assert (first.code, again.code) == (0, 0)
    assert said in first.out
    assert path in first.out
    assert "Nothing to sweep" in again.out
    assert [(row["by"]["quality"], row["usd"]) for row in spend["rows"]] == [("assumed", f"{charges * 0.25:g}")]


def test_a_ledger_that_is_not_there_is_a_sentence(cli: Any, tmp_path: Path) -> None:
    done = cli("sweep", "--database", str(tmp_path / "none.db"))

    assert done.code == 1
    assert "there is no ledger at" in done.err
