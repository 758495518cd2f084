"""One run tree over many processes: its limits are the fleet's, not each process's."""

from __future__ import annotations

from typing import Any

import pytest

import tokenguard as tg
from tokenguard.backends.scripted import ScriptedBackend

PROCESSES = 8


@pytest.mark.parametrize(
    ("limits", "each", "together"),
    [
        (tg.Limits(children=20, spawns_per_minute=None), 10, 20),
        (tg.Limits(descendants=30, spawns_per_minute=None), 10, 30),
        (tg.Limits(spawns_per_minute=25), 10, 25),
    ],
)
def test_eight_processes_that_join_one_run_share_its_limits(  # noqa: PLR0917  # fixtures and cases, by name
    database: str, start: Any, hears: Any, limits: tg.Limits, each: int, together: int
) -> None:
    guard = tg.Guard(database=database, backend=ScriptedBackend([]))

    with guard, guard.run("fleet", limits=limits) as run:
        joined = [start("spawner.py", database, run.token(), each) for _ in range(PROCESSES)]
        granted = [int(hears(one, "granted")) for one in joined]
        with pytest.raises(tg.FanOutExceeded):
            guard.run("one more").__enter__()
        tree = run.receipt()

    assert sum(granted) == together
    assert len(list(tree.walk())) == together + 1
    assert tree.stopped is not None


def test_depth_is_counted_across_processes(database: str, start: Any, hears: Any) -> None:
    guard = tg.Guard(database=database, backend=ScriptedBackend([]))

    with guard, guard.run("fleet", limits=tg.Limits(depth=2)), guard.run("deep") as deep:
        joined = start("spawner.py", database, deep.token(), 1)

        assert hears(joined, "granted") == "0"


def test_children_of_a_killed_process_make_room_at_once(database: str, start: Any, hears: Any) -> None:
    guard = tg.Guard(database=database, backend=ScriptedBackend([]))

    with guard, guard.run("fleet", limits=tg.Limits(children=3)) as run:
        killed, lives = start("spawner.py", database, run.token(), 2), start("spawner.py", database, run.token(), 1)
        granted = [hears(killed, "granted"), hears(lives, "granted")]
        killed.kill()
        killed.wait(timeout=30)
        with guard.run("in their place"):
            after = start("spawner.py", database, run.token(), 1)
            again = hears(after, "granted")

    assert granted == ["2", "1"]
    assert again == "1"
