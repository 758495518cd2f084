"""Interruptions, overtakings and forgotten things: whatever comes between, no hold is left and no stop is lost."""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Iterator
from typing import Any

import pytest
from support import NANO, PENNY, PRICES, ask

import tokenguard as tg
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


def test_a_forked_childs_parts_are_its_own() -> None:
    with cents() as guard, guard.run("agent") as run:
        parts = guard.late.get()
        before = parts.executor, parts.watch, parts.lines, parts.tree_lock
        parts.renew_after_fork()
        after = parts.executor, parts.watch, parts.lines, parts.tree_lock
        call(guard)
        before[0].shutdown()

    assert all(one is not other for one, other in zip(before, after, strict=True))
    assert str(os.getpid()) in parts.owner
    assert run.receipt().cost == tg.Money("0.01")


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
