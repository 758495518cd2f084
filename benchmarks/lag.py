"""How long the guard keeps an event loop from its other work: messages of 1 MB, and a ledger that takes 1 s to answer.

    python benchmarks/lag.py [--seconds 8] [--write]

A beat every millisecond notes how late it comes. A late beat also stands for the ones that it swallowed, so the figure
is what an event arriving at any moment would wait. Bar: the 99th percentile behind the guard over a backend that does
nothing but wait 20 ms, so that all of the lag is the guard's. Beside it: a loop with nothing else to do, LiteLLM alone
with the same messages, and the guard over LiteLLM.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import litellm
from figures import Figures, quantile
from world import MODEL, PRICES, NoModel, model_server

import tokenguard as tg
from tokenguard.core.books import Booking, Hold, Settled
from tokenguard.core.clock import SystemClock
from tokenguard.core.ids import RandomIds
from tokenguard.core.verdict import Ask
from tokenguard.ledger.memory import MemoryLedger

LAG_P99_MS_MAX = 10.0
BEAT_S = 0.001
MESSAGE_BYTES = 1_000_000
AT_ONCE = 4
SENTENCE = "the agent reads a file then calls search with path src and finds forty results in a table of numbers"
WORDS = SENTENCE.split()
Call = Callable[[list[dict[str, str]]], Awaitable[Any]]


class SlowLedger(MemoryLedger):
    """Books behind a database that takes a second for each of the two writes of a call."""

    inline = False
    delay_s = 1.0

    def reserve(self, hold: Hold, ask: Ask) -> Any:
        time.sleep(self.delay_s)
        return super().reserve(hold, ask)

    def settle(self, hold_id: str, booking: Booking) -> Settled:
        time.sleep(self.delay_s)
        return super().settle(hold_id, booking)


class Patient(NoModel):
    """A backend that takes a moment, as a network does, so that calls overlap."""

    async def asend(self, request: Any) -> Any:
        await asyncio.sleep(0.02)
        return self.send(request)


def megabyte(number: int) -> list[dict[str, str]]:
    """One message of 1 MB that no other call sends."""
    seed = random.Random(number)
    words = seed.choices(WORDS, k=MESSAGE_BYTES // 5)
    return [{"role": "user", "content": f"{number} {' '.join(words)}"[:MESSAGE_BYTES]}]


async def beats(late_ms: list[float], done: asyncio.Event) -> None:
    """Note how late each beat comes, in milliseconds."""
    due = perf_counter() + BEAT_S
    while not done.is_set():
        await asyncio.sleep(max(0.0, due - perf_counter()))
        late = perf_counter() - due
        while late >= 0:
            late_ms.append(late * 1e3)  # The beats that this one swallowed would have come later still.
            late -= BEAT_S
            due += BEAT_S


async def lag_of(call: Call | None, prompts: list[list[dict[str, str]]], seconds: float) -> tuple[list[float], int]:
    """Lags while `AT_ONCE` tasks send for some seconds: (milliseconds, calls answered)."""
    late_ms: list[float] = []
    done, answered = asyncio.Event(), 0
    ends = perf_counter() + seconds

    async def worker(own: list[list[dict[str, str]]]) -> None:
        nonlocal answered
        for prompt in own:
            if call is None or perf_counter() > ends:
                return
            await call(prompt)
            answered += 1

    heart = asyncio.create_task(beats(late_ms, done))
    await asyncio.gather(*(worker(prompts[first::AT_ONCE]) for first in range(AT_ONCE)))
    await asyncio.sleep(max(0.0, ends - perf_counter()) if call is None else 0)
    done.set()
    await heart
    return late_ms, answered


def slow_guard(**options: Any) -> tg.Guard:
    ledger = SlowLedger(SystemClock(), RandomIds())
    return tg.Guard(ledger=ledger, prices=PRICES, scope="bench", budget=tg.Budget(usd=1_000, per="day"), **options)


async def measure(figures: Figures, url: str, seconds: float) -> None:
    prompts = [megabyte(number) for number in range(24)]
    options: dict[str, Any] = {"api_base": url, "api_key": "none", "max_tokens": 64}

    async def bare(messages: list[dict[str, str]]) -> None:
        await litellm.acompletion(MODEL, messages, **options)

    async def show(name: str, call: Call | None, bar: float | None = None) -> None:
        late_ms, answered = await lag_of(call, prompts, seconds)
        figures.add(f"{name}: lag p50", quantile(late_ms, 0.5), "ms")
        figures.add(f"{name}: lag p99", quantile(late_ms, 0.99), "ms", at_most=bar)
        figures.add(f"{name}: lag max", max(late_ms), "ms")
        if call is not None:
            figures.add(f"{name}: calls answered", answered, "calls")

    await litellm.acompletion(MODEL, [{"role": "user", "content": "warm up"}], **options)
    await show("loop with nothing to do", None)
    with slow_guard(backend=Patient()) as guard:
        async with guard.run("lag"):
            await guard.acompletion(MODEL, [{"role": "user", "content": "warm up"}], max_tokens=64)
            await show(
                "guard, 1 MB messages, 1 s database",
                lambda messages: guard.acompletion(MODEL, messages, max_tokens=64),
                LAG_P99_MS_MAX,
            )
    await show("LiteLLM alone, 1 MB messages", bare)
    with slow_guard() as guard:
        async with guard.run("lag"):
            await guard.acompletion(MODEL, [{"role": "user", "content": "warm up"}], **options)
            await show("guard over LiteLLM", lambda messages: guard.acompletion(MODEL, messages, **options))


def main(seconds: float) -> int:
    figures = Figures("lag", __doc__.partition("\n")[0])
    with model_server() as server:
        asyncio.run(measure(figures, server.url, seconds))
    return figures.finish()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="how long each of the four is watched")
    parser.add_argument("--write", action="store_true", help="keep the figures in benchmarks/results")
    sys.exit(main(parser.parse_args().seconds))
