"""Eight processes that share a budget, each with calls gathered at once.

`racers.py DATABASE MODEL_PORT CALLS [ALLOWANCE]`. They are forked from this process, which has everything loaded.
Prints the outcomes of all calls as a JSON list.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from chaos.backend import PlainBackend
from support import PENNY, PRICES, ask

import tokenguard as tg
from tokenguard.backends.scripted import ScriptedBackend

PROCESSES = 8


async def race(guard: tg.Guard, calls: int) -> list[str]:
    """All calls at once, four capped scopes deep."""

    async def call(number: int) -> str:
        try:
            await guard.acompletion(PENNY, ask(number), max_tokens=400)
        except tg.TokenguardError as refusal:
            return refusal.code
        return "ok"

    async with guard.run("run", budget=tg.Budget(usd=2)), guard.run("agent", budget=tg.Budget(usd=2)):
        return await asyncio.gather(*(call(number) for number in range(calls)))


async def warm() -> None:
    """A whole call, so that every module and tokenizer is loaded before the fork."""
    with tg.Guard(database="memory", backend=ScriptedBackend(["warm"]), prices=PRICES) as guard:
        async with guard.run("warm"):
            await guard.acompletion(PENNY, ask(), max_tokens=400)


def main(database: str, model_port: int, calls: int, allowance: str | None = None) -> None:
    asyncio.run(warm())
    outcomes: list[str] = []
    pipes = []
    for _ in range(PROCESSES):
        reading, writing = os.pipe()
        if os.fork() == 0:
            status = 1
            try:
                backend, budget = (
                    PlainBackend("127.0.0.1", model_port),
                    tg.Budget(usd=2, per="total", allowance=allowance),
                )
                with tg.Guard(
                    database=database, backend=backend, prices=PRICES, scope="acme/search", budget=budget
                ) as guard:
                    os.write(writing, json.dumps(asyncio.run(race(guard, calls))).encode())
                status = 0
            finally:
                os._exit(status)
        os.close(writing)
        pipes.append(reading)
    for reading in pipes:
        with os.fdopen(reading) as pipe:
            outcomes += json.loads(pipe.read())
    for _ in pipes:
        os.wait()
    sys.stdout.write(json.dumps(outcomes))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
