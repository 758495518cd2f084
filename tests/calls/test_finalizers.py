"""What ends without a call of its own: dropped streams, collected generators, forked children, closed guards."""

from __future__ import annotations

import gc
import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from support import PENNY, MakeGuard, MakeServer, ask, at, penny_guard

import tokenguard as tg
from tokenguard.testing.model_server import Reply


def test_a_dropped_stream_is_closed_although_the_watch_looked_at_it(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(Reply(completion_tokens=2_000, pace_s=0.005)), make_guard()

    with guard.run("agent") as run:
        stream = guard.completion("openai/gpt-4o-mini", ask(), stream=True, **at(server))
        began = time.monotonic()
        while time.monotonic() - began < 0.8:
            next(stream)
        del stream
        gc.collect()
        time.sleep(1)
        held = run.receipt().held

    assert held == tg.Money(0)
    assert server.sent_chunks[0] < 400


@pytest.mark.timeout(60)
def test_streams_collected_inside_another_submit_do_not_deadlock() -> None:
    guard = penny_guard()
    held: list[Any] = []

    class Cycle:
        def __init__(self) -> None:
            self.stream = guard.completion(PENNY, ask(), stream=True)
            self.me = self

    with guard.run("agent") as run, ThreadPoolExecutor(1) as threads:
        gc.set_threshold(50)
        try:
            for _ in range(300):
                Cycle()
                held.append(threads.submit(Future))
        finally:
            gc.set_threshold(700)
        gc.collect()
        guard.late.get().reaper.finish()

    assert run.receipt().held == tg.Money(0)


@pytest.mark.timeout(60)
def test_generators_collected_inside_the_ledger_do_not_deadlock() -> None:
    guard = penny_guard(loops=False)

    @guard.agent("producer", limits=tg.Limits(children=None, descendants=None, spawns_per_minute=None))
    def produce() -> Any:
        yield 1
        yield 2

    class Cycle:
        def __init__(self) -> None:
            self.generator = produce()
            next(self.generator)
            self.me = self

    limits = tg.Limits(children=None, descendants=None, spawns_per_minute=None)
    with guard.run("agent", limits=limits) as run:
        gc.set_threshold(50)
        try:
            for number in range(300):
                Cycle()
                guard.completion(PENNY, ask(number))
        finally:
            gc.set_threshold(700)
        gc.collect()
        guard.late.get().reaper.finish()

    assert {child.node.outcome for child in run.receipt().children} == {"completed"}


def test_a_generator_called_wrongly_leaves_no_child_behind() -> None:
    guard = penny_guard()

    @guard.agent("producer")
    def produce(number: int) -> Any:
        yield number

    with guard.run("agent") as run:
        for _ in range(3):
            with pytest.raises(TypeError):
                next(produce())  # type: ignore[call-arg]

    assert run.receipt().children == ()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_neither_books_nor_ends_what_is_its_parents(tmp_path: Any) -> None:
    guard = penny_guard(database=str(tmp_path / "spend.db"))

    with guard.run("parent") as run:
        stream = guard.completion(PENNY, ask(), stream=True)
        next(stream)
        child = os.fork()
        if child == 0:
            try:
                del stream
                gc.collect()
                run.__exit__(None, None, None)
                os._exit(0)
            except BaseException:
                os._exit(1)
        os.waitpid(child, 0)
        live = run.receipt().node.ended_at
        list(stream)

    assert live is None
    assert run.receipt().cost == tg.Money("0.01")
    assert run.receipt().estimated == tg.Money(0)


def test_a_closed_guard_says_so() -> None:
    guard = penny_guard()
    with guard.run("agent"):
        guard.completion(PENNY, ask())
    guard.close()

    with pytest.raises(tg.SetupError, match="closed"):
        guard.completion(PENNY, ask())
