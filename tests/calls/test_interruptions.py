"""Interruptions, overtakings and forgotten things: whatever comes between, no hold is left and no stop is lost."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support import NANO, PENNY, PRICES, ask

import tokenguard as tg
from tokenguard.calls import effects, lifecycle
from tokenguard.calls.drive import adrive, drive
from tokenguard.calls.effects import Flow, Wait
from tokenguard.calls.parts import LateParts
from tokenguard.calls.scope import current
from tokenguard.calls.waiting import Lines
from tokenguard.core.clock import SystemClock
from tokenguard.core.ids import RandomIds
from tokenguard.core.ports import Part
from tokenguard.ledger.memory import MemoryLedger
from tokenguard.loops.repeats import STOP_AT
from tokenguard.testing import FakeClock, ScriptedBackend, ScriptedReply, scripted_guard

CENT = ScriptedReply("one two three", usage={"prompt_tokens": 0, "completion_tokens": 400})


def cents(**arguments: Any) -> tg.Guard:
    """A guard whose calls cost a cent and 400 tokens each."""
    return scripted_guard(lambda _: CENT, prices=PRICES, **arguments)


def call(guard: tg.Guard, number: int = 0, **options: Any) -> Any:
    return guard.completion(PENNY, ask(number), max_tokens=400, **options)


class Between:
    """A real ledger, and something that happens before or after one of its verbs."""

    def __init__(self, verb: str, *, before: Any = None, after: Any = None) -> None:
        self.inner = MemoryLedger(SystemClock(), RandomIds())
        self._verb, self._before, self._after = verb, before, after
        self.name, self.inline = "memory", True

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)
        if name != self._verb:
            return method

        def between(*arguments: Any, **named: Any) -> Any:
            if self._before is not None:
                self._before(*arguments, **named)
            answer = method(*arguments, **named)
            if self._after is not None:
                self._after(*arguments, **named)
            return answer

        return between


def interrupt(*_: Any, **__: Any) -> None:
    """Ctrl-C."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupt_around_a_reservation_leaves_no_hold(when: str) -> None:
    ledger = Between("reserve", **{when: interrupt})

    with cents(ledger=ledger) as guard, guard.run("agent") as run, pytest.raises(KeyboardInterrupt):
        call(guard)

    assert run.receipt().held == tg.Money(0)
    assert run.receipt().calls == 0


async def test_an_interrupt_around_an_async_reservation_leaves_no_hold() -> None:
    with cents(ledger=Between("reserve", after=interrupt)) as guard:
        async with guard.run("agent") as run:
            with pytest.raises(KeyboardInterrupt):
                await guard.acompletion(PENNY, ask(), max_tokens=400)

    assert run.receipt().held == tg.Money(0)


def test_a_stop_that_somebody_else_wrote_first_is_announced_by_them_only() -> None:
    stops: list[tg.events.Stopped] = []
    ledger = Between("close_run")
    ledger._before = ledger.inner.close_run  # another process comes between the verdict and our tombstone

    with cents(ledger=ledger) as guard, guard.run("agent", budget=tg.Budget(usd="0.01")) as run:
        guard.on(tg.events.Stopped, stops.append)
        call(guard, 1)
        with pytest.raises(tg.BudgetExceeded):
            call(guard, 2)

    assert stops == []
    assert run.receipt().stopped is not None


def test_a_spent_shared_scope_is_announced_once_in_each_window() -> None:
    clock, stops = FakeClock(), []

    with cents(clock=clock, scope="acme", budget=tg.Budget(calls=1, per="minute")) as guard, guard.run("agent"):
        guard.on(tg.events.Stopped, stops.append)
        for minute in range(2):
            call(guard, 10 * minute)
            for number in range(1, 4):
                with pytest.raises(tg.BudgetExceeded):
                    call(guard, 10 * minute + number)
            clock.advance(60)

    assert [event.scope_key for event in stops] == ["scope:acme", "scope:acme"]


def test_what_was_announced_is_forgotten_after_a_thousand_windows() -> None:
    clock = FakeClock()

    with cents(clock=clock, scope="acme", budget=tg.Budget(calls=1, per="minute")) as guard, guard.run("agent"):
        for number in range(1_100):
            call(guard, 2 * number)
            with pytest.raises(tg.BudgetExceeded):
                call(guard, 2 * number + 1)
            clock.advance(60)
        remembered = len(guard.late.get().announced)

    assert 0 < remembered <= 1_024


def test_a_run_that_the_books_forgot_still_stops_at_its_cap() -> None:
    with cents() as guard:
        with guard.run("long ago", budget=tg.Budget(usd="0.01")):
            carried = guard.bind(call)
        for number in range(1_100):
            with guard.run(f"later {number}"):
                pass
        carried(guard, 1)
        with pytest.raises(tg.BudgetExceeded) as stop:
            carried(guard, 2)

    assert stop.value.scope == "run long ago"
    assert stop.value.receipt is None


def test_a_kill_of_a_parent_is_known_in_the_child_that_is_open() -> None:
    with cents() as guard, guard.run("parent") as parent, guard.run("child") as child:
        call(guard, 1)
        guard.kill(parent.id, why="enough", by="ada")
        with pytest.raises(tg.RunRevoked) as stop:
            call(guard, 2)
        guard.resume(parent.id, why="it was fine")
        call(guard, 3)

    assert stop.value.scope == parent.id
    assert child.receipt().stopped is None
    assert child.receipt().calls == 2


def test_a_kill_of_a_parent_ends_the_stream_of_its_child() -> None:
    seen: list[Any] = []

    with cents() as guard, guard.run("parent") as parent, guard.run("child"):
        with pytest.raises(tg.RunRevoked):
            for chunk in call(guard, stream=True):
                seen.append(chunk)
                guard.kill(parent.id, why="enough", by="ada")

    assert len(seen) == 1


def test_leaving_what_never_began_changes_nothing() -> None:
    with cents() as guard, guard.run("agent") as run:
        guard.run("never").__exit__(None, None, None)
        guard.join(run.token()).__exit__(None, None, None)
        call(guard)

    assert run.receipt().calls == 1
    assert run.receipt().children == ()


def test_a_named_scope_without_a_budget_is_a_place_in_the_books() -> None:
    with cents(scope="acme") as guard, guard.scope("search"), guard.run("agent"):
        call(guard)
        (row,) = guard.late.get().ledger.spend(["scope"])

    assert row.by == ("acme/search",)


def test_an_agents_budget_over_time_counts_every_entry_of_that_name() -> None:
    with cents(scope="acme") as guard:

        @guard.agent("daily", budget=tg.Budget(usd="0.02", per="day"))
        def daily(number: int) -> None:
            call(guard, number)

        with guard.run("morning"):
            daily(1)
            daily(2)
        with guard.run("evening") as evening:
            with pytest.raises(tg.BudgetExceeded) as stop:
                daily(3)
            call(guard, 4)

    assert stop.value.scope == "agent acme/daily"
    assert stop.value.retry_at is not None
    assert evening.receipt().calls == 1


def test_a_run_left_in_a_copy_of_its_context_is_left_there() -> None:
    places: list[Any] = []

    with cents() as guard:
        run = guard.run("fixture")

        def teardown() -> None:
            run.__exit__(None, None, None)
            places.append(current(guard))

        def setup() -> None:
            run.__enter__()
            contextvars.copy_context().run(teardown)
            places.append(current(guard))

        contextvars.copy_context().run(setup)

    assert places == [None, run.frame]
    assert run.receipt().node.outcome == "completed"


def test_a_place_in_line_is_given_up_once() -> None:
    lines = Lines()
    first, second = lines.join("a"), lines.join("a")

    first.leave()
    first.leave()

    assert second.is_head
    assert not first.is_head
    second.leave()
    second.leave()
    assert lines.waited_on(["a"]) is None


def loop(result: str = "same") -> Iterator[dict[str, Any]]:
    """A conversation that has gone in circles six times."""
    yield {"role": "user", "content": "fix it"}
    for number in range(STOP_AT):
        function = {"name": "read", "arguments": "{}"}
        yield {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": f"c{number}", "type": "function", "function": function}],
        }
        yield {"role": "tool", "tool_call_id": f"c{number}", "content": result}


def test_a_loop_that_a_person_forgave_does_not_stop_its_run_again_and_another_does() -> None:
    with cents() as guard, guard.run("agent") as run:
        with pytest.raises(tg.LoopDetected):
            guard.completion(PENNY, list(loop()))
        guard.resume(run.id, why="it waits for a build")
        for number in range(3):
            guard.completion(PENNY, list(loop()), seed=number)
        with pytest.raises(tg.LoopDetected):
            guard.completion(PENNY, list(loop("another result")))

    assert run.receipt().calls == 3


def test_a_kill_comes_before_a_loop() -> None:
    with cents() as guard, guard.run("agent") as run:
        guard.kill(run.id, why="enough", by="ada")
        with pytest.raises(tg.RunRevoked):
            guard.completion(PENNY, list(loop()))

    assert run.receipt().calls == 0


def test_observing_says_that_a_run_repeats_itself_and_sends() -> None:
    would: list[tg.events.WouldHave] = []

    with cents(mode="observe") as guard, guard.run("agent") as run:
        guard.on(tg.events.WouldHave, would.append)
        guard.completion(PENNY, list(loop()))

    assert run.receipt().calls == 1
    assert [event.error.code for event in would] == ["loop_detected"]


def test_messages_of_any_depth_are_compared_and_equal_ones_are_a_loop() -> None:
    deep: Any = "bottom"
    for _ in range(30):
        deep = {"deeper": [deep]}
    parts = [{"type": "text", "text": "look"}, {"type": "input", "value": deep}]

    with cents() as guard, guard.run("agent"), pytest.raises(tg.LoopDetected) as stop:
        for _ in range(20):
            guard.completion(PENNY, [{"role": "user", "content": parts}], max_tokens=400)

    assert stop.value.repeats == STOP_AT


class Cached(ScriptedBackend):
    """A backend whose answers come from LiteLLM's own cache."""

    def read(self, operation: str, reply: Any) -> Part:
        part = super().read(operation, reply)
        return Part(text=part.text, usage=part.usage, reply=part.reply, cache_hit=True)


def test_an_answer_from_a_cache_costs_nothing_and_is_a_call() -> None:
    bookings: list[Any] = []

    with tg.Guard(database="memory", backend=Cached([CENT]), prices=PRICES) as guard, guard.run("agent") as run:
        guard.on(tg.events.Settlement, lambda event: bookings.append(event.booking))
        call(guard)

    assert (bookings[0].status, bookings[0].quality) == ("cache_hit", "reported")
    assert (run.receipt().cost, run.receipt().calls) == (tg.Money(0), 1)


AUDIO = [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]}]


def test_a_part_without_a_price_is_sent_where_no_usd_cap_applies_and_refused_where_one_does() -> None:
    ledger = MemoryLedger(SystemClock(), RandomIds())

    with cents(ledger=ledger, scope="acme", budget=tg.Budget(usd="1", per="total")) as boss, boss.run("declares"):
        call(boss)
    with cents(ledger=ledger) as free, free.run("free") as run:
        free.completion(NANO, AUDIO, max_tokens=10)
    with cents(ledger=ledger, scope="acme/search") as worker, worker.run("inherits"):
        with pytest.raises(tg.Unpriceable, match="no price and a usd cap applies"):
            worker.completion(NANO, AUDIO, max_tokens=10)

    assert run.receipt().calls == 1


def test_a_structured_answer_without_a_maximum_gets_one_of_ours() -> None:
    with cents() as guard, guard.run("agent", budget=tg.Budget(usd="0.05")):
        reply = guard.completion(PENNY, ask(), response_format={"type": "json_object"})

    receipt = tg.receipt_of(reply)
    assert receipt is not None
    assert receipt.max_tokens == 2_000


def test_a_forked_childs_parts_are_its_own_and_its_copies_of_streams_book_nothing() -> None:
    with cents() as guard, cents(), guard.run("agent") as run:
        parts = guard.late.get()
        chunks = call(guard, stream=True)
        next(chunks)
        before = parts.executor, parts.watch, parts.lines, parts.tree_lock
        lifecycle._renew_all()  # what a child does first
        after = parts.executor, parts.watch, parts.lines, parts.tree_lock
        chunks.close()
        held = run.receipt().held
        call(guard, 1)
        before[0].shutdown()

    assert all(one is not other for one, other in zip(before, after, strict=True))
    assert str(os.getpid()) in parts.owner
    assert held == tg.Money("0.01")
    assert run.receipt().calls == 1


def test_the_exit_of_the_interpreter_closes_every_guard() -> None:
    guards = [cents(), cents()]
    with pytest.warns(tg.UnattributedSpend):
        chunks = call(guards[0], stream=True)
    next(chunks)

    lifecycle._close_all()

    assert chunks.settled
    assert list(chunks) == []


def test_a_block_that_a_forked_child_leaves_too_is_its_parents_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with cents() as guard:
        run = guard.run("agent")
        with monkeypatch.context() as child:
            run.__enter__()
            child.setattr(os, "getpid", lambda: -1)
            run.__exit__(None, None, None)
        ended_there = run.receipt().node.ended_at
        run.finish(None)

    assert ended_there is None
    assert run.receipt().node.outcome == "completed"


class Distant(Between):
    """A ledger that waits for I/O, so that asyncio asks it on the guard's executor."""

    def __init__(self, verb: str = "", *, before: Any = None, after: Any = None) -> None:
        super().__init__(verb, before=before, after=after)
        self.inline = False


async def test_an_executor_that_is_gone_loses_no_booking() -> None:
    with cents(ledger=Distant()) as guard:
        async with guard.run("agent") as run:
            guard.late.get().executor.shutdown()  # as at interpreter exit
            await guard.acompletion(PENNY, ask(), max_tokens=400)

    assert run.receipt().cost == tg.Money("0.01")
    assert run.receipt().node.outcome == "completed"


def away(*_: Any, **__: Any) -> None:
    raise tg.LedgerUnavailable("the database is away.", database="memory")


@pytest.mark.parametrize("gone", [False, True])
async def test_a_ledger_that_is_away_is_said_with_and_without_an_executor(*, gone: bool) -> None:
    with cents(ledger=Distant("reserve", before=away)) as guard:
        async with guard.run("agent") as run:
            if gone:
                guard.late.get().executor.shutdown()
            with pytest.raises(tg.LedgerUnavailable):
                await guard.acompletion(PENNY, ask(), max_tokens=400)

    assert run.receipt().calls == 0


LONG = [{"role": "user", "content": "word " * 20_000}]


async def test_a_long_prompt_is_counted_off_the_loop_and_booked_the_same() -> None:
    with cents() as guard:
        async with guard.run("agent", budget=tg.Budget(usd="0.01")) as run:
            await guard.acompletion(PENNY, LONG, max_tokens=400)
            with pytest.raises(tg.BudgetExceeded):
                await guard.acompletion(PENNY, LONG, max_tokens=400)

    assert run.receipt().cost == tg.Money("0.01")


async def test_a_call_thrown_away_while_its_prompt_is_counted_leaves_no_hold() -> None:
    with cents() as guard:
        async with guard.run("agent") as run:
            await guard.late.aget()
            coroutine = guard.acompletion(PENNY, LONG, max_tokens=400)
            coroutine.send(None)
            coroutine.close()
            guard.late.get().reaper.finish()

    assert (run.receipt().held, run.receipt().calls) == (tg.Money(0), 0)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancellation_during_the_last_work_of_a_block_wins_and_leaves_nothing(*, fails: bool) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def slowly(*_: Any, **__: Any) -> None:
        entered.set()
        go_on.wait(20)
        if fails:
            away()

    with cents(ledger=Distant("reserve", after=slowly)) as guard:
        async with guard.run("agent") as run:

            async def browse() -> None:
                async with guard.charge("browser", up_to="0.50"):
                    raise AssertionError("not reached")

            task = asyncio.create_task(browse())
            while not entered.is_set():
                await asyncio.sleep(0.001)
            task.cancel()
            await asyncio.sleep(0)
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await task
        held = run.receipt().held

    assert held == (tg.Money("0.50") if fails else tg.Money(0))


def test_two_threads_that_need_the_parts_at_once_assemble_them_once() -> None:
    built: list[Any] = []
    begun, go_on = threading.Event(), threading.Event()

    def build() -> Any:
        begun.set()
        go_on.wait(20)
        built.append(object())
        return built[-1]

    late = LateParts(build)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(late.get())) for _ in range(2)]
    threads[0].start()
    begun.wait(20)
    threads[1].start()
    while sys._current_frames()[threads[1].ident or 0].f_code.co_name != "get":  # until it stands at the door
        time.sleep(0.001)
    go_on.set()
    for thread in threads:
        thread.join(20)

    assert found == [built[0], built[0]]
    assert len(built) == 1


def standing(lines: Lines) -> Flow[bool]:
    """A flow that waits for its turn for half a minute."""
    ticket = lines.join("a")
    woken = yield from effects.ask(Wait(30, ticket))
    ticket.leave()
    return woken


def test_a_waiter_that_was_called_before_it_slept_does_not_sleep() -> None:
    with cents() as guard:
        parts = guard.late.get()

        def called(lines: Lines) -> Flow[bool]:
            flow = standing(lines)
            waiting = next(flow)
            lines.room_made(["a"])
            return (yield from resumed(flow, waiting))

        woken = drive(called(parts.lines), parts), asyncio.run(adrive(called(parts.lines), parts))

    assert woken == (True, True)


def resumed(flow: Flow[bool], effect: Any) -> Flow[bool]:
    """Go on with a flow whose first effect was taken already."""
    answer = yield effect
    try:
        flow.send(answer)
    except StopIteration as end:
        return bool(end.value)
    raise AssertionError("one effect only")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_call_to_a_waiter_whose_loop_was_closed_is_no_error() -> None:
    with cents() as guard:
        parts, loop = guard.late.get(), asyncio.new_event_loop()
        task = loop.create_task(adrive(standing(parts.lines), parts))
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()

        parts.lines.room_made(["a"])

        assert not task.done()


def test_a_reserve_that_was_too_small_for_one_answer_is_left_for_a_smaller_one() -> None:
    structured = {"response_format": {"type": "json_object"}}

    with cents() as guard, guard.run("agent", budget=tg.Budget(usd="0.02", reserve_final="0.008")) as run:
        call(guard, 1)
        with pytest.raises(tg.BudgetExceeded):
            guard.completion(PENNY, ask(2), max_tokens=440, **structured)
        guard.top_up(run.id, usd="0.001")
        last = guard.completion(PENNY, ask(3), max_tokens=320)

    receipt = tg.receipt_of(last)
    assert receipt is not None
    assert receipt.ceiling == tg.Money("0.008")
    assert run.receipt().calls == 2


def test_a_kill_while_a_call_is_reserved_is_not_forgotten() -> None:
    ledger = Between("reserve")

    with cents(ledger=ledger) as guard, guard.run("agent") as run:
        guard.kill(run.id, why="first", by="ada")
        ledger.inner.reopen(run.id, by="grace", why="elsewhere", at=guard.late.get().clock.now())
        ledger._after = lambda *_: guard.kill(run.id, why="second", by="ada")
        call(guard, 1)
        ledger._after = None
        with pytest.raises(tg.RunRevoked) as stop:
            call(guard, 2)

    assert stop.value.why == "second"


async def test_a_waiter_whose_loop_is_gone_disturbs_nobody() -> None:
    with cents() as guard, guard.run("agent", budget=tg.Budget(usd="0.01")) as run:
        parts = guard.late.get()

        def wait_and_go() -> None:
            async def main() -> None:
                task = asyncio.create_task(guard.acompletion(PENNY, ask(1), max_tokens=400))
                while not parts.lines._lines:
                    await asyncio.sleep(0.001)
                task.cancel()

            asyncio.run(main())

        async with guard.charge("browser", up_to="0.01") as charge:
            await asyncio.to_thread(guard.bind(wait_and_go))
            left = dict(parts.lines._lines)
            charge.usd("0")
        await guard.acompletion(PENNY, ask(2), max_tokens=400)

    assert left == {}
    assert run.receipt().cost == tg.Money("0.01")
