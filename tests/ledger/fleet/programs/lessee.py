"""Pays calls out of an allowance: `lessee.py DATABASE SPOOLS URL ACT`, under a cap of a dollar, each a cent at most.

Acts: `spend` says `run ID`, calls until it is stopped, and says `stopped CODE`; `async` does so under asyncio; `fork`
has a lease when it forks four children, all of which spend until nothing is left, and says `done`.
"""

from __future__ import annotations

import asyncio
import os
import sys

from caller import PENNY, PRICE, post

import tokenguard as tg
from tokenguard.backends.scripted import ScriptedBackend


def ask(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"question {number}"}]


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def spend(guard: tg.Guard) -> str:
    """The code of what ended it."""
    number = 0
    while True:
        number += 1
        try:
            guard.completion(PENNY, ask(number), max_tokens=400)
        except tg.TokenguardError as stop:
            return stop.code
        if number == 4:  # the second call took a lease
            say("leasing")


async def aspend(guard: tg.Guard) -> str:
    number = 0
    while True:
        number += 1
        try:
            await guard.acompletion(PENNY, ask(number), max_tokens=400)
        except tg.TokenguardError as stop:
            return stop.code
        if number == 4:  # as above
            say("leasing")


def fork(guard: tg.Guard) -> None:
    for number in range(4):
        guard.completion(PENNY, ask(number), max_tokens=400)
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            spend(guard)
            guard.close()
            os._exit(0)
        children.append(child)
    spend(guard)
    for child in children:
        os.waitpid(child, 0)


def main(database: str, spools: str, url: str, act: str) -> None:
    guard = tg.Guard(
        database=database,
        spool=spools,
        backend=ScriptedBackend(lambda request: post(url, request)),
        prices={"prices": {PENNY: PRICE}},
        scope="fleet",
        budget=tg.Budget(usd="1", per="total", allowance="0.25"),
    )
    with guard, guard.run("lessee") as run:
        say(f"run {run.id}")
        if act == "fork":
            fork(guard)
            say("done")
        else:
            code = asyncio.run(aspend(guard)) if act == "async" else spend(guard)
            say(f"stopped {code}")


if __name__ == "__main__":
    main(*sys.argv[1:5])
