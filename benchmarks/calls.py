"""What `guard.completion` costs over `litellm.completion`, in one run, against a real HTTP server in another process.

    python benchmarks/calls.py [--pairs 1500] [--write]

Guarded and bare calls take turns, sixteen at a time, so that a machine that gets slower slows both. The first of each
turn is not counted: LiteLLM logs a call on a thread of its own after it has returned, so the first call of a turn pays
for the other side's last one. The guard has a scope capped by the day, a capped run in it, and its loop rules on. Bars:
the difference of the medians, and of the 99th percentiles.
Without a bar: the CPU time of the calling thread, which neighbours on the machine disturb least, and the guard's own
time (everything that passes outside LiteLLM's function). Last, the same guard without LiteLLM, in a loop of its own and
again with the processor's caches emptied before each call, as LiteLLM empties them: how much of it is memory.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import litellm
from figures import Figures, quantile
from world import MODEL, PRICES, NoModel, Server, model_server, question

import tokenguard as tg
from tokenguard.backends.litellm import LiteLLMBackend
from tokenguard.core.ports import Request

P50_MS_MAX = {"memory": 0.15, "sqlite": 0.5}
P99_MS_MAX = 3.0
FLIGHT = 64
TURN = 16
WARM_UP = 4
"""Turns of each side that are not counted."""


class Stopwatch(LiteLLMBackend):
    """The real backend, which also says how long LiteLLM's function took."""

    inside_s = 0.0

    def send(self, request: Request) -> Any:
        begin = perf_counter()
        try:
            return super().send(request)
        finally:
            self.inside_s = perf_counter() - begin

    async def asend(self, request: Request) -> Any:
        begin = perf_counter()
        try:
            return await super().asend(request)
        finally:
            self.inside_s = perf_counter() - begin


class Pair:
    """The same call twice: through the guard, and through LiteLLM itself."""

    def __init__(self, guard: tg.Guard, watch: Stopwatch, server: Server) -> None:
        self.guard = guard
        self.watch = watch
        self._options = {"api_base": server.url, "api_key": "none", "max_tokens": 64}

    def guarded(self, text: str) -> None:
        self.guard.completion(MODEL, question(text), **self._options)

    def bare(self, text: str) -> None:
        litellm.completion(MODEL, question(text), **self._options)

    async def aguarded(self, text: str) -> None:
        await self.guard.acompletion(MODEL, question(text), **self._options)

    async def abare(self, text: str) -> None:
        await litellm.acompletion(MODEL, question(text), **self._options)


class Times:
    """Milliseconds of both sides."""

    def __init__(self) -> None:
        self.wall: dict[str, list[float]] = {"guarded": [], "bare": []}
        self.cpu: dict[str, list[float]] = {"guarded": [], "bare": []}
        self.own: list[float] = []

    def note(self, side: str, began: tuple[float, float], watch: Stopwatch) -> None:
        wall, cpu = perf_counter() - began[0], thread_time() - began[1]
        self.wall[side].append(wall * 1e3)
        self.cpu[side].append(cpu * 1e3)
        if side == "guarded":
            self.own.append((wall - watch.inside_s) * 1e3)


def turns(pairs: int) -> Iterator[tuple[str, str, bool]]:
    """(side, text, whether it counts) of each call."""
    for number in range(WARM_UP + -(-pairs // TURN)):
        for side in ("guarded", "bare") if number % 2 else ("bare", "guarded"):
            for place in range(TURN):
                yield side, f"{side} question {number}.{place}", number >= WARM_UP and place > 0


def in_turns(pair: Pair, pairs: int) -> Times:
    """Blocking calls, one at a time."""
    times = Times()
    for side, text, counts in turns(pairs):
        call = pair.guarded if side == "guarded" else pair.bare
        began = perf_counter(), thread_time()
        call(text)
        if counts:
            times.note(side, began, pair.watch)
    return times


async def in_turns_async(pair: Pair, pairs: int) -> Times:
    """Awaited calls, one at a time."""
    times = Times()
    for side, text, counts in turns(pairs):
        call = pair.aguarded if side == "guarded" else pair.abare
        began = perf_counter(), thread_time()
        await call(text)
        if counts:
            times.note(side, began, pair.watch)
    return times


def flights(pair: Pair, pairs: int) -> dict[str, list[float]]:
    """64 threads at once: milliseconds per call of each flight."""
    per_call: dict[str, list[float]] = {"guarded": [], "bare": []}
    with ThreadPoolExecutor(FLIGHT) as threads:
        for number in range(pairs + 2):
            for side in ("guarded", "bare") if number % 2 else ("bare", "guarded"):
                call = pair.guard.bind(pair.guarded if side == "guarded" else pair.bare)
                begin = perf_counter()
                list(threads.map(call, [f"{side} question {number}.{one}" for one in range(FLIGHT)]))
                if number > 1:
                    per_call[side].append((perf_counter() - begin) * 1e3 / FLIGHT)
    return per_call


async def flights_async(pair: Pair, pairs: int) -> dict[str, list[float]]:
    """64 tasks at once: milliseconds per call of each flight."""
    per_call: dict[str, list[float]] = {"guarded": [], "bare": []}
    for number in range(pairs + 2):
        for side in ("guarded", "bare") if number % 2 else ("bare", "guarded"):
            call = pair.aguarded if side == "guarded" else pair.abare
            begin = perf_counter()
            await asyncio.gather(*(call(f"{side} question {number}.{one}") for one in range(FLIGHT)))
            if number > 1:
                per_call[side].append((perf_counter() - begin) * 1e3 / FLIGHT)
    return per_call


def report(figures: Figures, name: str, times: Times, books: str) -> None:
    """Both sides, their difference, and what of it is certain."""
    for share, bar in ((0.5, P50_MS_MAX[books]), (0.99, P99_MS_MAX)):
        guarded, bare = quantile(times.wall["guarded"], share), quantile(times.wall["bare"], share)
        figures.add(f"{name}: p{share * 100:.0f} guarded", guarded, "ms")
        figures.add(f"{name}: p{share * 100:.0f} bare LiteLLM", bare, "ms")
        figures.add(f"{name}: p{share * 100:.0f} difference", guarded - bare, "ms", at_most=bar)
    cpu = quantile(times.cpu["guarded"], 0.5) - quantile(times.cpu["bare"], 0.5)
    figures.add(f"{name}: p50 difference in CPU time of the thread", cpu, "ms")
    figures.add(f"{name}: p50 outside LiteLLM's function", quantile(times.own, 0.5), "ms")


def report_flights(figures: Figures, name: str, per_call: dict[str, list[float]], books: str) -> None:
    guarded, bare = quantile(per_call["guarded"], 0.5), quantile(per_call["bare"], 0.5)
    figures.add(f"{name}: guarded, per call", guarded, "ms")
    figures.add(f"{name}: bare LiteLLM, per call", bare, "ms")
    figures.add(f"{name}: difference, per call", guarded - bare, "ms", at_most=P50_MS_MAX[books])


@contextmanager
def guarded_pair(books: str, server: Server) -> Iterator[Pair]:
    """A guard on fresh books, inside a run."""
    with tempfile.TemporaryDirectory() as folder:
        database = "memory" if books == "memory" else str(Path(folder) / "spend.db")
        watch = Stopwatch()
        day, whole = tg.Budget(usd=1_000, per="day"), tg.Budget(usd=1_000)
        with (
            tg.Guard(database=database, prices=PRICES, scope="bench", budget=day, backend=watch) as guard,
            guard.run("calls", budget=whole),
        ):
            yield Pair(guard, watch, server)


def alone(figures: Figures, calls: int) -> None:
    """CPU time of a guarded call without LiteLLM, with warm and with cold caches."""
    clutter = [object() for _ in range(400_000)]  # More than the caches hold, as LiteLLM's own objects are.
    day = tg.Budget(usd=1_000, per="day")
    with (
        tg.Guard(database="memory", prices=PRICES, scope="bench", budget=day, backend=NoModel()) as guard,
        guard.run("alone", budget=tg.Budget(usd=1_000)),
    ):
        for caches in ("warm", "cold"):
            taken: list[float] = []
            for number in range(calls):
                if caches == "cold":
                    sum(map(hash, clutter[::3]))
                began = thread_time()
                guard.completion(MODEL, question(f"{caches} {number}"), max_tokens=64)
                taken.append((thread_time() - began) * 1e3)
            figures.add(f"guard alone, memory, {caches} caches: p50 CPU time", quantile(taken, 0.5), "ms")


def main(pairs: int) -> int:
    figures = Figures("calls", __doc__.partition("\n")[0])
    rounds: dict[str, Callable[[Pair, int], Any]] = {
        "blocking": in_turns,
        "asyncio": lambda pair, count: asyncio.run(in_turns_async(pair, count)),
        f"{FLIGHT} threads": lambda pair, count: flights(pair, max(10, count // 40)),
        f"{FLIGHT} tasks": lambda pair, count: asyncio.run(flights_async(pair, max(10, count // 40))),
    }
    with model_server() as server:
        for books in ("memory", "sqlite"):
            for way, measure in rounds.items():
                with guarded_pair(books, server) as pair:
                    measured = measure(pair, pairs)
                show = report if isinstance(measured, Times) else report_flights
                show(figures, f"{way}, {books}", measured, books)
    alone(figures, pairs)
    return figures.finish()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=1_500, help="guarded and bare calls each, per way and books")
    parser.add_argument("--write", action="store_true", help="keep the figures in benchmarks/results")
    sys.exit(main(parser.parse_args().pairs))
