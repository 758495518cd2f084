"""Fifty parallel calls of one cent under ten cents: exactly ten leave, over threads, tasks and processes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import PENNY, PRICES, WIDE, MakeGuard, MakeServer, ask, at

import tokenguard as tg
from tokenguard.testing.model_server import Reply

CENT = 400  # output tokens


def _try(guard: tg.Guard, number: int, **options: object) -> str:
    try:
        guard.completion(PENNY, ask(number), **options)
    except tg.TokenguardError as refusal:
        return refusal.code
    return "ok"


async def _atry(guard: tg.Guard, number: int, **options: object) -> str:
    try:
        await guard.acompletion(PENNY, ask(number), **options)
    except tg.TokenguardError as refusal:
        return refusal.code
    return "ok"


def test_fifty_threads_send_exactly_ten_calls(make_guard: MakeGuard, make_server: MakeServer, database: str) -> None:
    server = make_server(Reply(completion_tokens=CENT, latency_s=0.05))
    guard = make_guard(database)

    with guard.run("race", budget=tg.Budget(usd="0.10")) as run, ThreadPoolExecutor(50) as threads:
        call = guard.bind(lambda number: _try(guard, number, max_tokens=CENT, **at(server)))
        outcomes = list(threads.map(call, range(50)))

    assert server.count == 10
    assert outcomes.count("ok") == 10
    assert set(outcomes) == {"ok", "budget_exceeded"}
    assert run.receipt().cost == tg.Money("0.10")
    assert run.receipt().held == tg.Money(0)


async def test_fifty_tasks_send_exactly_ten_calls(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server = make_server(Reply(completion_tokens=CENT, latency_s=0.05))
    guard = make_guard(database)

    async with guard.run("race", budget=tg.Budget(usd="0.10")) as run:
        outcomes = await asyncio.gather(*(_atry(guard, n, max_tokens=CENT, **at(server)) for n in range(50)))

    assert server.count == 10
    assert outcomes.count("ok") == 10
    assert run.receipt().cost == tg.Money("0.10")


async def test_waiting_tasks_use_what_cheaper_ones_leave(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server = make_server(Reply(completion_tokens=CENT * 6 // 10, latency_s=0.02))
    guard = make_guard()

    async with guard.run("race", budget=tg.Budget(usd="0.10")) as run:
        outcomes = await asyncio.gather(*(_atry(guard, n, max_tokens=CENT, **at(server)) for n in range(50)))

    # 16 × $0.006 = $0.096; the seventeenth's 256-token floor is above the $0.004 that is left.
    assert server.count == 16
    assert outcomes.count("ok") == 16
    assert run.receipt().cost == tg.Money("0.096")


def test_waiting_threads_use_what_cheaper_ones_leave(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server = make_server(Reply(completion_tokens=CENT * 6 // 10, latency_s=0.02))
    guard = make_guard(database)

    with guard.run("race", budget=tg.Budget(usd="0.10")) as run, ThreadPoolExecutor(50) as threads:
        call = guard.bind(lambda number: _try(guard, number, max_tokens=CENT, **at(server)))
        outcomes = list(threads.map(call, range(50)))

    assert server.count == 16
    assert outcomes.count("ok") == 16
    assert run.receipt().cost == tg.Money("0.096")


async def test_tasks_that_raise_when_busy_never_pass_the_cap(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server = make_server(Reply(completion_tokens=CENT, latency_s=0.05))
    guard = make_guard(busy="raise")

    async with guard.run("race", budget=tg.Budget(usd="0.10")) as run:
        outcomes = await asyncio.gather(*(_atry(guard, n, max_tokens=CENT, **at(server)) for n in range(50)))

    assert server.count == 10
    assert outcomes.count("headroom_busy") == 40
    assert run.receipt().cost == tg.Money("0.10")


def test_threads_that_raise_when_busy_never_pass_the_cap(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server = make_server(Reply(completion_tokens=CENT, latency_s=0.05))
    guard = make_guard(database, busy="raise")

    with guard.run("race", budget=tg.Budget(usd="0.10")) as run, ThreadPoolExecutor(50) as threads:
        call = guard.bind(lambda number: _try(guard, number, max_tokens=CENT, **at(server)))
        outcomes = list(threads.map(call, range(50)))

    assert server.count == outcomes.count("ok") == 10
    assert run.receipt().cost == tg.Money("0.10")


CHILD = """
    import json, sys
    import tokenguard as tg

    database, url, prices, busy = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4]
    budget = tg.Budget(usd="0.10", per="total")
    guard = tg.Guard(database=database, prices=prices, scope="race", budget=budget, busy=busy)
    outcomes = []
    with guard.run("child"):
        for number in range(7):
            try:
                guard.completion("openai/penny", [{"role": "user", "content": f"q {number}"}], max_tokens=400,
                                 api_base=url, api_key="none")
                outcomes.append("ok")
            except tg.TokenguardError as refusal:
                outcomes.append(refusal.code)
    print(json.dumps(outcomes))
"""


def _eight_processes(folder: Path, url: str, busy: str) -> list[str]:
    """Outcomes of 56 calls from eight processes that start together on a file that does not exist yet."""
    program = textwrap.dedent(CHILD)
    command = [sys.executable, "-c", program, str(folder / "spend.db"), url, json.dumps(PRICES), busy]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) for _ in range(8)]
    return [code for child in children for code in json.loads(child.communicate(timeout=200)[0])]


@pytest.mark.timeout(240)
def test_eight_processes_on_a_file_that_does_not_exist_yet_send_exactly_ten_calls(
    make_server: MakeServer, tmp_path: Path
) -> None:
    server = make_server(Reply(completion_tokens=CENT, latency_s=0.02))

    outcomes = _eight_processes(tmp_path, server.url, "wait")

    assert server.count == 10
    assert outcomes.count("ok") == 10
    assert set(outcomes) == {"ok", "budget_exceeded"}


@pytest.mark.timeout(240)
def test_eight_waiting_processes_use_what_cheaper_calls_leave(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server(Reply(completion_tokens=CENT * 6 // 10, latency_s=0.02))

    outcomes = _eight_processes(tmp_path, server.url, "wait")

    assert server.count == 16
    assert outcomes.count("ok") == 16
    assert set(outcomes) == {"ok", "budget_exceeded"}


@pytest.mark.timeout(240)
def test_eight_processes_that_raise_when_busy_never_pass_the_cap(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server(Reply(completion_tokens=CENT, latency_s=0.02))

    outcomes = _eight_processes(tmp_path, server.url, "raise")

    assert server.count == outcomes.count("ok") <= 10
    assert set(outcomes) <= {"ok", "budget_exceeded", "headroom_busy"}


def test_an_asked_for_maximum_does_not_starve_a_small_budget(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server = make_server(Reply(completion_tokens=1_000))  # one cent at $10 per million
    guard = make_guard()

    with guard.run("starve", budget=tg.Budget(usd="0.10")) as run:
        for number in range(10):
            guard.completion(WIDE, ask(number), max_tokens=16_384, **at(server))
        with pytest.raises(tg.BudgetExceeded):
            guard.completion(WIDE, ask(11), max_tokens=16_384, **at(server))

    assert server.count == 10
    assert run.receipt().cost == tg.Money("0.10")


async def test_fifty_gathered_calls_without_a_maximum_are_all_answered(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server = make_server(Reply(completion_tokens=1_000, latency_s=0.02))
    guard = make_guard()

    async with guard.run("gather", budget=tg.Budget(usd="2.00")) as run:
        replies = await asyncio.gather(*(guard.acompletion(WIDE, ask(n), **at(server)) for n in range(50)))

    assert len(replies) == 50
    assert run.receipt().cost == tg.Money("0.50")
