"""What an answer is booked at where something about it is missing, odd, or dearer than thought."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from support import NANO, PENNY, PRICES, ask

import tokenguard as tg
from tokenguard.core.clock import SystemClock
from tokenguard.core.ids import RandomIds
from tokenguard.ledger.memory import MemoryLedger
from tokenguard.loops.memory import LoopMemory
from tokenguard.loops.tail import Tail
from tokenguard.testing import ScriptedReply, scripted_guard

RATES: dict[str, Any] = {
    "prices": {
        **PRICES["prices"],
        "openai/text-only": {"input": "1", "output": "2", "context_tokens": 10_000, "output_tokens_max": 1_000},
        "openai/twin": {"input": "1", "output": "2", "context_tokens": 10_000, "output_tokens_max": 1_000},
        "openai/dear": {"input": "10", "output": "20", "context_tokens": 10_000, "output_tokens_max": 1_000},
        "openai/speaker": {"input": "1", "output": "2", "audio_output": "9", "context_tokens": 10_000},
    }
}
TEXT = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
SPOKEN = {**TEXT, "completion_tokens_details": {"audio_tokens": 8}}


class Till:
    """A guard, and every booking it made."""

    def __init__(self, *replies: ScriptedReply, **arguments: Any) -> None:
        self.guard = scripted_guard(replies, **{"prices": RATES, **arguments})
        self.settlements: list[tg.events.Settlement] = []
        self.faults: list[tg.events.Fault] = []
        self.guard.on(tg.events.Settlement, self.settlements.append)
        self.guard.on(tg.events.Fault, self.faults.append)

    def call(self, model: str, **options: Any) -> Any:
        with self.guard.run("agent") as self.run:
            return self.guard.completion(model, ask(), max_tokens=100, **options)

    @property
    def booking(self) -> Any:
        return self.settlements[-1].booking


def test_a_meter_without_a_rate_is_assumed_at_what_was_held() -> None:
    till = Till(ScriptedReply("hi", usage=SPOKEN))

    with till.guard:
        receipt = tg.receipt_of(till.call("openai/text-only"))

    assert receipt is not None
    assert (receipt.cost, receipt.quality) == (receipt.ceiling, "assumed")
    assert "assumed at the ceiling" in till.booking.note
    assert "audio_output_tokens" in till.booking.note
    assert till.run.receipt().assumed == receipt.ceiling > tg.Money(0)
    assert till.run.receipt().tokens == 110


def test_a_cost_that_the_provider_states_is_booked_where_we_have_no_rate() -> None:
    till = Till(ScriptedReply("hi", usage=SPOKEN, stated_usd="0.123"))

    with till.guard:
        receipt = tg.receipt_of(till.call("openai/text-only"))

    assert receipt is not None
    assert (receipt.cost, receipt.quality) == (tg.Money("0.123"), "reported")


@pytest.mark.parametrize("stated", ["NaN", "-1", "free of charge"])
def test_a_stated_cost_that_cannot_be_meant_is_no_statement(stated: str) -> None:
    till = Till(ScriptedReply("hi", usage=TEXT, stated_usd=stated))

    with till.guard:
        till.call("openai/text-only")

    assert till.booking.stated_pico is None
    assert till.booking.amounts.usd_pico == (100 + 2 * 10) * 10**6


def test_a_price_that_a_person_named_is_not_overruled_by_the_name_in_an_answer() -> None:
    till = Till(ScriptedReply("hi", usage=TEXT, model="gpt-4o"))

    with till.guard:
        till.call("openai/text-only")

    assert till.booking.amounts.usd_pico == (100 + 2 * 10) * 10**6
    assert till.booking.response_model == "gpt-4o"


def test_an_answer_without_usage_and_without_text_pays_its_prompt() -> None:
    till = Till(ScriptedReply("", usage=None))

    with till.guard:
        till.call("openai/text-only")

    assert till.booking.quality == "estimated"
    assert till.booking.usage.input_tokens > 0
    assert till.booking.usage.output_tokens == 0


@pytest.mark.parametrize("answered", ["openai/twin", "twin", "nobody-knows-this", "openai/text-only", "text-only"])
def test_a_model_that_answers_under_another_name_at_equal_or_unknown_rates_changes_nothing(answered: str) -> None:
    till = Till(ScriptedReply("hi", usage=TEXT, model=answered))

    with till.guard:
        till.call("openai/text-only")

    assert till.booking.amounts.usd_pico == 100 * 10**6 + 10 * 2 * 10**6
    assert till.booking.note is None
    assert till.booking.response_model == answered


def test_a_dearer_model_that_answers_is_booked_at_its_own_rates() -> None:
    till = Till(ScriptedReply("hi", usage=TEXT, model="dear"))

    with till.guard:
        till.call("openai/text-only")

    assert till.booking.amounts.usd_pico == 100 * 10**7 + 10 * 2 * 10**7
    assert till.booking.note == "answered and priced as dear"


def test_an_answering_model_without_a_rate_leaves_the_model_that_was_asked() -> None:
    till = Till(ScriptedReply("hi", usage=SPOKEN, model="dear"))

    with till.guard:
        till.call("openai/speaker", modalities=["audio"])

    assert till.booking.quality == "reported"
    assert till.booking.amounts.usd_pico == (100 + 2 * 2 + 8 * 9) * 10**6
    assert till.booking.note is None


def test_a_model_that_reports_zeros_for_an_answer_is_counted() -> None:
    zeros = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    till = Till(ScriptedReply("one two three", usage=zeros))

    with till.guard:
        till.call("openai/text-only")

    assert till.booking.quality == "estimated"
    assert till.run.receipt().cost > tg.Money(0)


class Leaving:
    """A real ledger that goes away at one verb."""

    def __init__(self, verb: str) -> None:
        self._inner = MemoryLedger(SystemClock(), RandomIds())
        self._verb = verb
        self.name, self.inline = "memory", True

    def __getattr__(self, name: str) -> Any:
        if name == self._verb:
            return self._away
        return getattr(self._inner, name)

    def _away(self, *_: Any, **__: Any) -> Any:
        raise tg.LedgerUnavailable("the database is away.", database="memory")


def test_a_ledger_that_is_away_when_nobody_knows_the_outcome_keeps_the_hold_by_itself() -> None:
    till = Till(ScriptedReply(error=TimeoutError("no answer")), ledger=Leaving("keep"))

    with till.guard, pytest.raises(TimeoutError):
        till.call(PENNY)

    assert [fault.where for fault in till.faults] == ["keep"]
    assert till.run.receipt().held == tg.Money("0.0025")


def test_an_error_says_what_is_held_for_it() -> None:
    till = Till(ScriptedReply(error=TimeoutError("no answer")))

    with till.guard, pytest.raises(TimeoutError) as error:
        till.call(PENNY)

    assert error.value.__notes__[0].startswith("tokenguard: $0.0025 held until its lease ends")


def test_an_open_stream_outlives_a_ledger_that_cannot_be_asked_about_stops() -> None:
    till = Till(ScriptedReply("one two", usage=TEXT), ledger=Leaving("closures"))

    with till.guard as guard, guard.run("agent") as run:
        chunks = guard.completion(NANO, ask(), stream=True)
        next(chunks)
        asked = threading.Event()
        guard.on(tg.events.Fault, lambda _: asked.set())
        asked.wait(20)  # the watch looks twice a second
        rest = list(chunks)

    assert {fault.where for fault in till.faults} == {"watch"}
    assert len(rest) > 1
    assert run.receipt().cost > tg.Money(0)


def test_a_ledger_that_is_away_when_a_run_ends_costs_nobody_its_result() -> None:
    till = Till(ScriptedReply("hi", usage=TEXT), ledger=Leaving("leave"))

    with till.guard:
        reply = till.call("openai/text-only")

    assert reply.choices[0].message.content == "hi"
    assert [fault.where for fault in till.faults] == ["leave"]


def test_a_ledger_that_is_away_when_a_loop_is_found_costs_nobody_the_answer() -> None:
    loops = tg.Loops(steer_at=None, block_at=None)
    till = Till(*[ScriptedReply("same", usage=TEXT)] * 6, ledger=Leaving("closures"), loops=loops)

    with till.guard as guard, guard.run("agent") as run:
        answers = [guard.completion("openai/text-only", ask()) for _ in range(6)]

    assert len(answers) == run.receipt().calls == 6
    assert [fault.where for fault in till.faults] == ["loops"]


@pytest.mark.parametrize("rule", ["asked", "answered"])
def test_a_rule_that_trips_over_a_message_breaks_no_call(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def trips(*_: Any, **__: Any) -> None:
        raise RuntimeError("not loaded")

    till = Till(ScriptedReply("hi", usage=TEXT))
    monkeypatch.setattr(LoopMemory, rule, trips)

    with till.guard as guard, guard.run("agent") as run:
        guard.completion("openai/text-only", ask())

    assert {fault.where for fault in till.faults} == {"loops"}
    assert run.receipt().calls == 1


@pytest.mark.parametrize("rule", ["calling", "returned"])
def test_a_rule_that_trips_over_a_tool_breaks_no_tool(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def trips(*_: Any, **__: Any) -> None:
        raise RuntimeError("not loaded")

    till = Till()
    monkeypatch.setattr(LoopMemory, rule, trips)

    @till.guard.tool
    def read() -> str:
        return "text"

    with till.guard as guard, guard.run("agent"):
        assert read() == "text"

    assert {fault.where for fault in till.faults} == {"loops"}


@pytest.mark.parametrize("verb", ["secret", "remember", "record"])
def test_a_ledger_that_cannot_keep_what_repeats_breaks_no_call(verb: str) -> None:
    till = Till(*[ScriptedReply("same", usage=TEXT)] * 4, ledger=Leaving(verb))

    with till.guard as guard, guard.run("agent") as run:
        for _ in range(4):
            guard.completion("openai/text-only", ask())

    assert run.receipt().calls == 4
    assert {fault.where for fault in till.faults} == {"loops"}


def test_a_stream_that_goes_in_circles_is_read_on_where_the_ledger_cannot_stop_its_run() -> None:
    till = Till(*[ScriptedReply("over and over " * 40, usage=TEXT)] * 3, ledger=Leaving("close_run"))
    ends: list[str] = []

    with till.guard as guard, guard.run("agent"):
        for number in range(3):
            try:
                list(guard.completion(NANO, ask(number), stream=True))
                ends.append("read")
            except tg.LoopBlocked:
                ends.append("blocked")

    assert ends == ["blocked", "blocked", "read"]
    assert {fault.where for fault in till.faults} == {"loops"}


def test_a_stream_that_goes_in_circles_is_closed_also_where_nothing_is_remembered() -> None:
    till = Till(ScriptedReply("over and over " * 40, usage=TEXT), ledger=Leaving("secret"))

    with till.guard as guard, guard.run("agent") as run, pytest.raises(tg.LoopBlocked):
        list(guard.completion(NANO, ask(), stream=True))

    assert [loop.rule for loop in run.receipt().loops] == ["text_tail"]


def test_a_rule_that_trips_over_a_text_breaks_no_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    def trips(*_: Any) -> None:
        raise RuntimeError("no such word")

    till = Till(ScriptedReply("over and over " * 40, usage=TEXT))
    monkeypatch.setattr(Tail, "feed", trips)

    with till.guard as guard, guard.run("agent"):
        chunks = list(guard.completion(NANO, ask(), stream=True))

    assert len(chunks) > 100
    assert [fault.where for fault in till.faults] == ["loops"]


class Forgetful:
    """A counter that can bound and count but fails to learn."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def learn(self, *_: Any, **__: Any) -> None:
        raise MemoryError("the counter is full")


def test_a_counter_that_fails_breaks_no_paid_answer() -> None:
    till = Till(ScriptedReply("hi", usage=TEXT))

    with till.guard as guard:
        parts = guard._late.get()
        parts.counter = Forgetful(parts.counter)
        reply = till.call("openai/text-only")

    assert reply.choices[0].message.content == "hi"
    assert [fault.where for fault in till.faults] == ["learn"]
    assert till.run.receipt().estimated == tg.Money(0)


class Sealed:
    """A reply of a library of one's own that takes no attributes."""

    __slots__ = ()


class Hidden:
    """A reply with LiteLLM's own hidden fields."""

    def __init__(self) -> None:
        self._hidden_params: dict[str, Any] = {"response_cost": 1}


def test_a_receipt_rides_beside_hidden_fields_and_a_sealed_reply_goes_without() -> None:
    from tokenguard.calls.receipts import attach_receipt  # noqa: PLC0415

    till, replies = Till(ScriptedReply("hi", usage=TEXT)), [Hidden(), Sealed(), object(), {"choices": []}]
    with till.guard:
        receipt = tg.receipt_of(till.call("openai/text-only"))
    assert receipt is not None

    for reply in replies:
        attach_receipt(reply, receipt)

    assert [tg.receipt_of(reply) for reply in replies] == [receipt, None, None, None]
    assert isinstance(replies[0], Hidden)
    assert replies[0]._hidden_params["response_cost"] == 1


def test_a_provider_that_states_nearly_our_cost_is_no_disagreement() -> None:
    events: list[tg.events.PriceDisagreed] = []
    ours = tg.Money.from_pico(100 * 10**6 + 10 * 2 * 10**6)
    near = tg.Money.from_pico(ours.pico * 1005 // 1000)
    till = Till(ScriptedReply("hi", usage=TEXT, stated_usd=near.json()))
    till.guard.on(tg.events.PriceDisagreed, events.append)

    with till.guard:
        till.call("openai/text-only")

    assert events == []
    assert till.booking.amounts.usd_pico == near.pico


def test_the_speed_of_a_stream_is_measured_from_its_first_chunk() -> None:
    bookings: list[Any] = []

    with scripted_guard([ScriptedReply("one two", usage=TEXT)] * 2, prices=RATES) as guard, guard.run("agent"):
        guard.on(tg.events.Settlement, lambda event: bookings.append(event.booking))
        clock: Any = guard._late.get().clock
        for seconds in (0.0, 0.5):
            for _ in guard.completion("openai/text-only", ask(int(2 * seconds)), stream=True):
                clock.advance(seconds)

    at_once, slow = bookings
    assert (at_once.ttft_ms, at_once.output_tps) == (0, None)
    assert slow.output_tps == Decimal(10_000) / Decimal(
        1_500
    )  # 10 tokens; the finish came three chunks after the first


def test_facts_of_events_are_recorded_without_their_text() -> None:
    recorded: list[Mapping[str, Any]] = []

    class Recording(Leaving):
        def __getattr__(self, name: str) -> Any:
            if name == "record":
                return lambda row: recorded.append({"kind": row.kind, **row.facts})
            return super().__getattr__(name)

    till = Till(ScriptedReply("hi", usage=TEXT, stated_usd="0.5"), ledger=Recording("nothing"))
    with till.guard:
        till.call("openai/text-only")

    kinds = {row["kind"]: row for row in recorded}
    assert kinds["price_disagreed"]["stated"] == "0.5"
    assert kinds["overrun"]["cost"] == "0.5"
