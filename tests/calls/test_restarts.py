"""What a run repeats is not forgotten when its process dies: the next one goes on counting."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import PENNY, MakeGuard, MakeServer, ask, at

import tokenguard as tg
from tokenguard.testing.model_server import Reply

REPEATER = str(Path(__file__).parent / "programs" / "repeater.py")


def lives(database: Path, token: str, url: str, kind: str, times: int) -> list[str]:
    """One process that repeats itself and is killed."""
    done = subprocess.run(
        [sys.executable, REPEATER, str(database), token, url, kind, str(times)],
        capture_output=True,
        text=True,
        cwd=database.parent,
        check=False,
    )
    assert done.returncode == 9, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("kind", "first", "second", "sent"),
    [
        ("prompt", ["answered"] * 3, ["answered", "loop_blocked", "loop_blocked", "loop_detected"], 4),
        ("tool", ["ran"] * 3, ["blocked", "blocked", "loop_detected", "loop_detected"], 0),
    ],
)
def test_a_killed_process_leaves_what_it_repeated_to_the_next(  # noqa: PLR0917  # what pytest gives
    make_guard: MakeGuard,
    make_server: MakeServer,
    tmp_path: Path,
    kind: str,
    first: list[str],
    second: list[str],
    sent: int,
) -> None:
    server, database = make_server(Reply("not yet")), tmp_path / "spend.db"
    guard = make_guard(str(database))

    with guard.run("restarted") as run:
        once = lives(database, run.token(), server.url, kind, 3)
        again = lives(database, run.token(), server.url, kind, 4)

        with pytest.raises(tg.LoopDetected):
            guard.completion(PENNY, ask(), max_tokens=400, **at(server))

    assert (once, again) == (first, second)
    assert server.count == sent


def test_a_run_that_is_joined_in_the_same_process_shares_its_memory(
    make_guard: MakeGuard, make_server: MakeServer, tmp_path: Path
) -> None:
    server = make_server(Reply("not yet"))
    one, other = (make_guard(str(tmp_path / "spend.db")) for _ in range(2))

    with one.run("shared") as run:
        with other.join(run.token()):
            for _ in range(3):
                other.completion(PENNY, ask(), max_tokens=400, **at(server))
        third = make_guard(str(tmp_path / "spend.db"))
        with third.join(run.token()):
            third.completion(PENNY, ask(), max_tokens=400, **at(server))
            with pytest.raises(tg.LoopBlocked):
                third.completion(PENNY, ask(), max_tokens=400, **at(server))

    assert server.count == 4
