"""What only goes wrong when two things happen at once: finalizers, shared blocks, cancellations, forks."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import litellm
import pytest
from support import PENNY, PRICES, MakeGuard, MakeServer, ask, at

import tokenguard as tg
from tokenguard.core.budget import Unit
from tokenguard.testing import FakeClock, ScriptedReply, scripted_guard
from tokenguard.testing.model_server import Reply

USAGE = {"prompt_tokens": 0, "completion_tokens": 400, "total_tokens": 400}


def penny_guard(**arguments: Any) -> tg.Guard:
    """Every answer costs a cent."""
    arguments.setdefault("prices", PRICES)
    return scripted_guard(lambda request: ScriptedReply(f"{request.arguments['messages']}", usage=USAGE), **arguments)


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


async def test_one_scope_block_shared_by_tasks_leaves_nobody_in_it() -> None:
    guard = penny_guard()
    team = guard.scope("team/ml", budget=tg.Budget(usd="1", per="total"))

    async def work(number: int) -> None:
        async with team:
            await asyncio.sleep(0.01 * (number % 3))
            await guard.acompletion(PENNY, ask(number))
        await guard.acompletion(PENNY, ask(100 + number))

    async with guard.run("agent"):
        await asyncio.gather(*(work(number) for number in range(4)))

    spend = {row.by[0]: row.calls for row in guard.late.get().ledger.spend(["scope"])}
    assert spend == {"team/ml": 4, "": 4}


async def test_a_charge_cancelled_while_it_reserves_holds_nothing() -> None:
    guard = penny_guard()
    ledger = guard.late.get().ledger
    slow, reached = ledger.reserve, threading.Event()

    def reserve(*arguments: Any) -> Any:
        reached.set()
        time.sleep(0.1)
        return slow(*arguments)

    ledger.inline, ledger.reserve = False, reserve  # type: ignore[method-assign]

    async def pay() -> None:
        async with guard.charge("browser", up_to="0.50"):
            pass

    async with guard.run("agent", budget=tg.Budget(usd="1")) as run:
        task = asyncio.create_task(pay())
        while not reached.is_set():
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert run.receipt().held == tg.Money(0)


async def test_a_run_cancelled_while_it_begins_is_ended(tmp_path: Any) -> None:
    guard = penny_guard(database=str(tmp_path / "spend.db"))

    async with guard.run("root") as root:
        for _ in range(5):
            task = asyncio.create_task(_enter(guard))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        node = root.frame.node
        live = node.live_children if node else None

    assert live == 0
    assert all(child.node.ended_at is not None for child in root.receipt().children)


async def _enter(guard: tg.Guard) -> None:
    async with guard.run("below"):
        await asyncio.sleep(5)


def test_an_error_that_the_caller_is_handling_says_nothing_about_ours(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(Reply(completion_tokens=400, latency_s=5)), make_guard()
    request = httpx.Request("GET", "http://127.0.0.1/tool")
    missing = httpx.HTTPStatusError("404", request=request, response=httpx.Response(404, request=request))

    with guard.run("agent") as run, pytest.raises(litellm.Timeout):
        try:
            raise missing
        except httpx.HTTPStatusError:
            guard.completion(PENNY, ask(), max_tokens=400, timeout=0.3, num_retries=0, **at(server))

    assert run.receipt().held == tg.Money("0.01")


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


@pytest.mark.parametrize(
    "options",
    [
        {"extra_body": {"max_tokens": 10_000}},
        {"extra_body": {"n": 20}},
        {"additional_drop_params": ["max_tokens"]},
        {"max_tokens": 10_000, "max_completion_tokens": 100},
    ],
)
def test_options_that_would_undo_the_bound_are_refused(options: dict[str, Any]) -> None:
    guard = penny_guard()

    with guard.run("agent", budget=tg.Budget(usd="0.05")), pytest.raises(tg.SetupError, match=r"max_tokens|n in"):
        guard.completion(PENNY, ask(), **options)


def test_a_persons_price_is_not_overruled_by_the_name_in_an_answer() -> None:
    prices = {"prices": {"openai/gpt-4o": {"input": "0.01", "output": "0.01"}}}
    usage = {"prompt_tokens": 1_000, "completion_tokens": 1_000, "total_tokens": 2_000}
    guard = scripted_guard([ScriptedReply("x", usage=usage, model="gpt-4o-2024-08-06")], prices=prices)

    with guard.run("agent") as run:
        guard.completion("openai/gpt-4o", ask())

    assert run.receipt().cost == tg.Money("0.00002")


async def test_a_cancellation_is_not_lost_when_the_ledger_fails_meanwhile() -> None:
    guard = penny_guard()
    ledger, reached = guard.late.get().ledger, threading.Event()

    def reserve(*_: Any) -> Any:
        reached.set()
        time.sleep(0.1)
        raise tg.LedgerUnavailable("away", database="memory")

    ledger.inline, ledger.reserve = False, reserve  # type: ignore[method-assign]

    async def stubborn() -> None:
        for number in range(3):
            try:
                await guard.acompletion(PENNY, ask(number))
            except Exception:
                continue

    async with guard.run("agent"):
        task = asyncio.create_task(stubborn())
        while not reached.is_set():
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("stated", ["NaN", "1e30", "-1", "much"])
def test_a_stated_cost_that_cannot_be_meant_is_no_statement(stated: str) -> None:
    guard = scripted_guard([ScriptedReply("x", usage=USAGE, stated_usd=stated)], prices=PRICES)

    with guard.run("agent") as run:
        reply = guard.completion(PENNY, ask())

    assert reply.choices[0].message.content == "x"
    assert run.receipt().cost == tg.Money("0.01")


def test_an_answer_is_handed_out_although_the_run_cannot_be_ended() -> None:
    guard = penny_guard()
    faults: list[tg.events.Fault] = []
    guard.on(tg.events.Fault, faults.append)

    def leave(*_: Any, **__: Any) -> None:
        raise tg.LedgerUnavailable("away", database="memory")

    @guard.agent("agent")
    def agent() -> str:
        return str(guard.completion(PENNY, ask()).choices[0].message.content)

    guard.late.get().ledger.leave = leave  # type: ignore[method-assign]

    assert agent()
    assert [fault.where for fault in faults] == ["leave"]


def test_a_child_cannot_take_its_parents_last_words() -> None:
    guard = penny_guard()

    @guard.agent("child")
    def child() -> None:
        for number in range(5):
            guard.completion(PENNY, ask(number), max_tokens=400)

    with guard.run("parent", budget=tg.Budget(usd="0.03", reserve_final="0.01")) as run:
        with pytest.raises(tg.BudgetExceeded):
            child()
        guard.completion(PENNY, ask(99), max_tokens=400)
        with pytest.raises(tg.BudgetExceeded):
            guard.completion(PENNY, ask(100), max_tokens=400)

    assert run.receipt().cost == tg.Money("0.03")


def test_eight_threads_speak_last_words_once() -> None:
    guard = penny_guard()

    with guard.run("parent", budget=tg.Budget(usd="0.03", reserve_final="0.01")) as run, ThreadPoolExecutor(8) as pool:
        call = guard.bind(lambda number: _code(guard, number))
        codes = list(pool.map(call, range(8)))

    assert codes.count("ok") == 3
    assert run.receipt().cost == tg.Money("0.03")


def _code(guard: tg.Guard, number: int) -> str:
    try:
        guard.completion(PENNY, ask(number), max_tokens=400)
    except tg.TokenguardError as refusal:
        return refusal.code
    return "ok"


def test_a_kill_never_trips_over_streams_that_come_and_go() -> None:
    guard = penny_guard()
    stop, errors = threading.Event(), []

    def churn() -> None:
        while not stop.is_set():
            list(guard.completion(PENNY, ask(), stream=True))

    with guard.run("agent"), guard.run("other") as other:
        churner = threading.Thread(target=guard.bind(churn))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(guard.late.get(), "loops", False)
            churner.start()
            try:
                for _ in range(300):
                    guard.resume(other.id, why="again")
            except RuntimeError as error:
                errors.append(error)
            stop.set()
            churner.join()

    assert errors == []


def test_a_finished_stream_that_is_still_referenced_holds_nobody_up() -> None:
    guard = penny_guard()

    with guard.run("agent", budget=tg.Budget(usd="0.02")) as run:
        kept = guard.completion(PENNY, ask(1), stream=True, max_tokens=400)
        list(kept)
        guard.completion(PENNY, ask(2), max_tokens=400)

    assert run.receipt().cost == tg.Money("0.02")


def test_a_call_inside_its_own_charge_does_not_wait_for_it() -> None:
    guard = penny_guard()

    with guard.run("agent", budget=tg.Budget(usd="0.02")), guard.charge("browser", up_to="0.015"):
        began = time.monotonic()
        with pytest.raises(tg.HeadroomBusy):
            guard.completion(PENNY, ask(), max_tokens=400)

    assert time.monotonic() - began < 5


def test_the_first_finish_of_two_answers_reads_nothing_ahead(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(completion_tokens=200, pace_s=0.002)), make_guard()
    seen = 0

    with guard.run("agent") as run, pytest.raises(tg.RunRevoked):
        for chunk in guard.completion("openai/gpt-4o-mini", ask(), stream=True, n=2, **at(server)):
            seen += 1
            if chunk.choices[0].finish_reason:
                guard.kill(run.id, why="enough")
                after = seen

    assert seen == after


def test_resume_restarts_the_wall_and_forgives_velocity() -> None:
    from datetime import timedelta  # noqa: PLC0415

    clock = FakeClock()
    guard = penny_guard(clock=clock)
    budget, limits = tg.Budget(wall=timedelta(seconds=60)), tg.Limits(usd_per_minute="0.02")

    with guard.run("slow", budget=budget) as slow:
        clock.advance(61)
        with pytest.raises(tg.BudgetExceeded, match="61"):
            guard.completion(PENNY, ask(1))
        guard.resume(slow.id, why="it is nearly done")
        guard.completion(PENNY, ask(2))
    with guard.run("fast", limits=limits) as fast:
        for number in range(2):
            guard.completion(PENNY, ask(number))
        with pytest.raises(tg.VelocityExceeded):
            guard.completion(PENNY, ask(9))
        guard.resume(fast.id, why="a burst")
        guard.completion(PENNY, ask(10))

    assert (slow.receipt().calls, fast.receipt().calls) == (1, 3)


def test_a_top_up_and_a_resume_let_tools_run_at_once() -> None:
    guard = penny_guard()

    @guard.tool
    def look() -> str:
        return "seen"

    with guard.run("agent", budget=tg.Budget(usd="0.01")) as run:
        guard.completion(PENNY, ask(1), max_tokens=400)
        with pytest.raises(tg.BudgetExceeded):
            guard.completion(PENNY, ask(2), max_tokens=400)
        with pytest.raises(tg.BudgetExceeded):
            look()
        guard.top_up(run.id, usd="0.01")
        after_top_up = look()
        guard.kill(run.id, why="enough")
        with pytest.raises(tg.RunRevoked):
            look()
        guard.resume(run.id, why="go on")

        assert (after_top_up, look()) == ("seen", "seen")


@pytest.mark.parametrize("messages", [["hi"], [None], [{"role": "tool", "content": {1: 2, "a": 3}}]])
def test_a_detector_that_meets_strange_messages_breaks_nothing_of_its_own(messages: Any) -> None:
    guard = penny_guard()

    with guard.run("agent"):
        try:
            guard.completion(PENNY, messages)
        except tg.SetupError:
            return


def test_a_closed_guard_says_so() -> None:
    guard = penny_guard()
    with guard.run("agent"):
        guard.completion(PENNY, ask())
    guard.close()

    with pytest.raises(tg.SetupError, match="closed"):
        guard.completion(PENNY, ask())


def test_a_charge_is_told_like_a_call() -> None:
    guard = penny_guard()
    told: list[str] = []
    guard.on(tg.events.Settlement, lambda _: told.append("settled"))
    guard.on(tg.events.Warned, lambda event: told.append(f"{event.share}"))

    with guard.run("agent", budget=tg.Budget(usd="1")):
        guard.charge("browser", usd="0.90")

    assert told == ["settled", "0.5", "0.8"]


def test_a_cap_that_a_person_sets_on_an_agents_name_binds(tmp_path: Any) -> None:
    guard = penny_guard(database=str(tmp_path / "spend.db"))
    parts = guard.late.get()
    parts.ledger.set_cap("agent:worker", Unit.CALLS, "day", "UTC", 1, by="ada", at=parts.clock.now())

    @guard.agent("worker")
    def worker(number: int) -> None:
        guard.completion(PENNY, ask(number))

    worker(1)
    with pytest.raises(tg.BudgetExceeded):
        worker(2)


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


def test_an_answer_that_nobody_can_read_is_handed_out_and_its_hold_stands() -> None:
    guard = penny_guard()
    faults: list[tg.events.Fault] = []
    guard.on(tg.events.Fault, faults.append)

    def read(operation: str, reply: Any) -> Any:
        raise ValueError(f"{operation}: {type(reply)}")

    guard.late.get().backend.read = read  # type: ignore[method-assign]

    with guard.run("agent", budget=tg.Budget(usd="1")) as run:
        reply = guard.completion(PENNY, ask(), max_tokens=400)

    assert reply.choices[0].message.content
    assert [fault.where for fault in faults] == ["read"]
    assert run.receipt().held == tg.Money("0.01")


def test_chunks_that_nobody_can_read_are_handed_out_and_the_stream_is_counted() -> None:
    guard = penny_guard()

    def read(operation: str, chunk: Any) -> Any:
        raise ValueError(f"{operation}: {type(chunk)}")

    guard.late.get().backend.read = read  # type: ignore[method-assign]

    with guard.run("agent", budget=tg.Budget(usd="1")) as run:
        chunks = list(guard.completion(PENNY, ask(), stream=True, max_tokens=400))

    assert len(chunks) > 1
    assert run.receipt().held == tg.Money(0)
