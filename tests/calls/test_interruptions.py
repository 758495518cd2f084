"""Interruptions, overtakings and forgotten things: whatever comes between, no hold is left and no stop is lost."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import threading
import time
from typing import Any

import pytest
from support import PENNY, PRICES, ask

import tokenguard as tg
from tokenguard.calls import effects, lifecycle
from tokenguard.calls.drive import adrive, drive
from tokenguard.calls.effects import Flow, Wait
from tokenguard.calls.parts import LateParts
from tokenguard.calls.scope import current
from tokenguard.calls.waiting import Lines
from tokenguard.core.clock import SystemClock
from tokenguard.core.ids import RandomIds
from tokenguard.ledger.memory import MemoryLedger
from tokenguard.testing import ScriptedReply, scripted_guard

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


def test_leaving_what_never_began_changes_nothing() -> None:
    with cents() as guard, guard.run("agent") as run:
        guard.run("never").__exit__(None, None, None)
        guard.join(run.token()).__exit__(None, None, None)
        call(guard)

    assert run.receipt().calls == 1
    assert run.receipt().children == ()


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
