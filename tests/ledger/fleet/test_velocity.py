"""One limit of money per minute over many processes: it is the tree's, not each process's."""

from __future__ import annotations

from typing import Any

import tokenguard as tg
from tokenguard.backends.scripted import ScriptedBackend
from tokenguard.testing.model_server import ModelServer, Reply

PENNY = Reply(prompt_tokens=0, completion_tokens=400)
SLOW = Reply(prompt_tokens=0, completion_tokens=400, latency_s=0.05)
LIMIT = 20
EACH = 15


def tell(program: Any, calls: int) -> None:
    program.stdin.write(f"{calls}\n")
    program.stdin.flush()


def test_two_processes_below_the_limit_that_are_above_it_together_are_both_stopped(
    database: str, start: Any, hears: Any
) -> None:
    guard = tg.Guard(database=database, backend=ScriptedBackend([]))

    with ModelServer(PENNY) as server, guard, guard.run("fleet", limits=tg.Limits(usd_per_minute="0.20")) as run:
        first, second = (start("payer.py", database, run.token(), server.url) for _ in range(2))
        tell(first, EACH)
        alone = hears(first, "made")
        tell(second, EACH)
        together = hears(second, "made")
        tell(first, 1)
        both = hears(first, "made")
        sent = server.count
        stopped = run.receipt().stopped
        guard.resume(run.id, why="the burst was meant", by="ada")
        tell(first, 3)
        tell(second, 3)
        again = [hears(first, "made"), hears(second, "made")]
        cost = run.receipt().cost

    assert alone == f"{EACH} ok"
    assert together == f"{LIMIT - EACH} velocity_exceeded"
    assert both == "0 velocity_exceeded"
    assert sent == LIMIT
    assert stopped is not None
    assert "$0.20 in the last minute" in stopped
    assert again == ["3 ok"] * 2
    assert cost == tg.Money("0.26")


def test_processes_that_pay_at_once_pass_the_limit_by_what_is_in_flight_at_most(
    database: str, start: Any, hears: Any
) -> None:
    guard = tg.Guard(database=database, backend=ScriptedBackend([]))

    with ModelServer(SLOW) as server, guard, guard.run("fleet", limits=tg.Limits(usd_per_minute="0.20")) as run:
        payers = [start("payer.py", database, run.token(), server.url) for _ in range(3)]
        for one in payers:
            tell(one, 1)
        warm = [hears(one, "made") for one in payers]
        for one in payers:
            tell(one, EACH)
        said = [hears(one, "made").split() for one in payers]
        sent = server.count

    assert warm == ["1 ok"] * 3
    assert [code for _, code in said] == ["velocity_exceeded"] * 3
    assert LIMIT <= sent == 3 + sum(int(calls) for calls, _ in said) <= LIMIT + len(payers) - 1
