"""What type checkers see of the public surface: read by mypy and pyright, never executed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from typing import assert_type

import tokenguard as tg

guard = tg.Guard(scope="acme/search", budget=tg.Budget(usd="50", per="day"), mode="enforce", busy="wait")

assert_type(tg.Money("2.50") + tg.Money(1), tg.Money)
assert_type(tg.Budget(usd="2").usd, tg.Money | None)
assert_type(tg.find_stop(ValueError()), tg.SpendStopped | None)


@guard.agent("researcher", budget=tg.Budget(usd="2.00", steps=40), limits=tg.Limits(depth=4, children=16))
async def research(question: str, *, deep: bool = False) -> str:
    return await gather(question) + str(deep)


@guard.step
async def gather(question: str) -> str:
    return question


@guard.step("pages", budget=tg.Budget(calls=3))
def pages(count: int) -> Iterator[bytes]:
    yield b"x" * count


@guard.step
async def lines(text: str) -> AsyncIterator[str]:
    yield text


@guard.tool(loop_key=("path",))
def read(path: str) -> str:
    return path


class Agent:
    @guard.agent("worker")
    def work(self, task: str) -> int:
        return len(task)


assert_type(read("a"), str)
assert_type(pages(3), Iterator[bytes])
assert_type(lines("a"), AsyncIterator[str])
assert_type(Agent().work("a"), int)


async def awaited() -> None:
    assert_type(await research("why", deep=True), str)
    async with guard.run("nightly", budget=tg.Budget(usd="5"), labels={"feature": "digest"}) as run:
        assert_type(run.id, str)


def blocking() -> None:
    with guard.run("nightly") as run:
        assert_type(run.token(), str)
    receipt = run.receipt()
    assert_type(receipt, tg.Receipt)
    assert_type(receipt.usd, Decimal)
    assert_type(receipt.calls, int)
    assert_type(receipt.stopped, str | None)
    assert_type(guard.env(), dict[str, str])
    carried = guard.bind(read)
    assert_type(carried("a"), str)
    assert_type(guard.kill(run.id, why="done"), bool)


def listened(event: tg.events.Stopped) -> None:
    assert_type(event.error, tg.TokenguardError)


assert_type(guard.on(tg.events.Stopped, listened), Callable[[], None])
