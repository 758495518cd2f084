"""Stops, caps and prices where several things come together: parents and children, windows, loops, reserves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support import NANO, PENNY, PRICES, ask

import tokenguard as tg
from tokenguard.core.clock import SystemClock
from tokenguard.core.ids import RandomIds
from tokenguard.core.ports import Part
from tokenguard.ledger.memory import MemoryLedger
from tokenguard.testing import FakeClock, ScriptedBackend, ScriptedReply, scripted_guard

CENT = ScriptedReply("one two three", usage={"prompt_tokens": 0, "completion_tokens": 400})

LOOPS = tg.Loops()


def cents(**arguments: Any) -> tg.Guard:
    """A guard whose calls cost a cent and 400 tokens each."""
    return scripted_guard(lambda _: CENT, prices=PRICES, **arguments)


def call(guard: tg.Guard, number: int = 0, **options: Any) -> Any:
    return guard.completion(PENNY, ask(number), max_tokens=400, **options)


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


def loop(result: str = "same", tool: str = "read") -> Iterator[dict[str, Any]]:
    """A conversation that has gone in circles six times."""
    yield {"role": "user", "content": "fix it"}
    for number in range(LOOPS.stop_at or 0):
        function = {"name": tool, "arguments": "{}"}
        yield {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": f"{tool}{number}", "type": "function", "function": function}],
        }
        yield {"role": "tool", "tool_call_id": f"{tool}{number}", "content": result}


def test_a_loop_that_a_person_forgave_does_not_stop_its_run_again_and_another_does() -> None:
    with cents(loops=tg.Loops(steer_at=None)) as guard, guard.run("agent") as run:
        with pytest.raises(tg.LoopDetected):
            guard.completion(PENNY, list(loop()))
        guard.resume(run.id, why="it waits for a build")
        for number in range(3):
            guard.completion(PENNY, list(loop()), seed=number)
        with pytest.raises(tg.LoopDetected):
            guard.completion(PENNY, list(loop(tool="write")))

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

    with cents() as guard, guard.run("agent"), pytest.raises(tg.LoopBlocked) as blocked:
        for _ in range(20):
            guard.completion(PENNY, [{"role": "user", "content": parts}], max_tokens=400)

    assert blocked.value.repeats == LOOPS.block_at


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
