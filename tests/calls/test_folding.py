"""Folding in guarded calls, over real HTTP: what is sent, what stays as it came, what comes back, what it saved."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support import MakeGuard, MakeServer, at

import tokenguard as tg
from tokenguard.prompt.lines import unfold as unfold_lines
from tokenguard.prompt.tables import unfold
from tokenguard.testing.model_server import ModelServer, Reply, ToolCall

CHEAP = "openai/gpt-4o-cheap"
PRICES: dict[str, Any] = {
    "prices": {
        CHEAP: {
            "input": "10",
            "cache_read": "1",
            "output": "40",
            "output_tokens_max": 1_000,
            "context_tokens": 400_000,
        },
    }
}
ROWS = [{"flight": f"HAT{at:03}", "price": 100 + at, "seats": at % 7, "cabin": "economy"} for at in range(40)]
PAGE = "\n".join(
    f"Jun 14 15:16:{at % 60:02} host sshd[{19000 + at}]: Failed password for root from 10.0.0.{at}" for at in range(60)
)
TEXT = "\n".join(f"a plain line of prose with the letter {at} in it" for at in "abcdefgh")
TOOL = {"type": "function", "function": {"name": "search", "parameters": {"type": "object", "properties": {}}}}
WORDS = ("quick", "brown", "fox", "jumps", "over", "lazy", "dog", "while", "nobody", "looks", "waits", "for", "rain")
DICE = random.Random(5)
LONG = "\n".join(" ".join(DICE.choice(WORDS) for _ in range(14)) for _ in range(900))


def used(*results: Any, tool: str = "search") -> list[dict[str, Any]]:
    """A conversation in which a tool was called once for each result."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Go on."}]
    for number, result in enumerate(results):
        text = result if isinstance(result, str) else json.dumps(result)
        call = {"id": f"c{number}", "type": "function", "function": {"name": tool, "arguments": f'{{"n": {number}}}'}}
        messages += [
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": f"c{number}", "content": text},
        ]
    return messages


@pytest.fixture
def make(make_guard: MakeGuard) -> MakeGuard:
    return lambda **options: make_guard(**{"prices": PRICES, "loops": False, **options})


def send(guard: tg.Guard, server: ModelServer, messages: list[dict[str, Any]], **options: Any) -> tg.CallReceipt:
    reply = guard.completion(CHEAP, messages, max_tokens=100, **at(server), **options)
    receipt = tg.receipt_of(reply)
    assert receipt is not None
    return receipt


def sent(server: ModelServer, request: int = -1, message: int = -1) -> Any:
    return server.requests[request].messages[message]["content"]


def test_json_results_lose_their_blanks_unless_told_otherwise_and_the_callers_messages_stay(
    make: MakeGuard, make_server: MakeServer
) -> None:
    server, messages = make_server(), used(ROWS)
    before = copy.deepcopy(messages)

    with (guard := make()).run("agent"):
        send(guard, server, messages)

    assert sent(server) == json.dumps(ROWS, separators=(",", ":"))
    assert messages == before
    assert server.requests[0].messages[:-1] == before[:-1]


def test_lossless_makes_tables_and_templates_that_decode(make: MakeGuard, make_server: MakeServer) -> None:
    server = make_server()

    with (guard := make(prompt="lossless")).run("agent"):
        receipt = send(guard, server, used(ROWS, PAGE))

    assert unfold(sent(server, message=3)) == json.dumps(ROWS, separators=(",", ":"))
    assert unfold_lines(sent(server)) == PAGE
    assert {one.name for one in receipt.savings} == {"json", "text"}
    assert all(one.tokens == one.tokens_before - one.tokens_after > 0 for one in receipt.savings)
    assert receipt.saved > tg.Money("0")


@pytest.mark.parametrize("prompt", ["off", tg.Folding("lossless", off=["json", "text", "mark"])])
def test_off_sends_what_came(make: MakeGuard, make_server: MakeServer, prompt: Any) -> None:
    server, messages = make_server(), used(ROWS, PAGE)

    with (guard := make(prompt=prompt)).run("agent"):
        send(guard, server, messages)

    assert server.requests[0].messages == messages


def test_observing_sends_what_came_and_says_what_would_have_been_saved(
    make: MakeGuard, make_server: MakeServer
) -> None:
    server, messages = make_server(), used(ROWS)

    with (guard := make(prompt="lossless", mode="observe")).run("agent") as run:
        receipt = send(guard, server, messages)

    assert server.requests[0].messages == messages
    assert [(one.name, one.applied) for one in receipt.savings] == [("json", False)]
    assert receipt.saved == tg.Money("0")
    assert [(one.name, one.applied) for one in run.receipt().savings] == [("json", False)]
    assert "saved" not in str(run.receipt())


def test_shielded_tools_and_kept_text_stay(make: MakeGuard, make_server: MakeServer) -> None:
    server = make_server()
    kept = f"<keep>{json.dumps(ROWS)}</keep>"
    guard = make(prompt=tg.Folding("lossless", shield=["read_*"]))

    with guard.run("agent"):
        send(guard, server, used(ROWS, tool="read_file"))
        send(guard, server, used(kept))

    assert sent(server, 0) == json.dumps(ROWS)
    assert sent(server, 1) == kept


def test_a_conversation_that_goes_on_sends_every_byte_again(make: MakeGuard, make_server: MakeServer) -> None:
    server = make_server()
    results = [ROWS, PAGE, ROWS[:20], "ok", PAGE, ROWS, LONG, PAGE]
    guard = make(prompt="lossless")

    with guard.run("agent"):
        for count in range(1, len(results) + 1):
            send(guard, server, used(*results[:count]))

    for earlier, later in pairwise(server.requests):
        assert later.messages[: len(earlier.messages)] == earlier.messages


def test_another_process_sends_the_same_bytes(make: MakeGuard, make_server: MakeServer) -> None:
    server, messages = make_server(), used(ROWS, PAGE, ROWS, PAGE)

    for guard in (make(prompt="lossless"), make(prompt="lossless")):
        with guard.run("agent"):
            send(guard, server, messages)

    assert server.requests[0].messages == server.requests[1].messages


def test_a_result_that_stands_above_is_referred_to_and_given_again_when_asked_a_third_time(
    make: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(), make(prompt="lossless")

    with guard.run("agent"):
        send(guard, server, used(TEXT, TEXT, TEXT))

    results = [one["content"] for one in server.requests[0].messages if one["role"] == "tool"]
    assert results[0] == TEXT
    assert "the same as tool result 1 (search) above" in results[1]
    assert results[2] == TEXT


def test_what_is_asked_again_after_it_was_folded_is_given_as_it_came_and_said_once(
    make: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(), make(prompt="lossless")
    limited: list[tg.events.FoldingLimited] = []
    guard.on(tg.events.FoldingLimited, limited.append)

    with guard.run("agent"):
        send(guard, server, used(ROWS, ROWS))
        send(guard, server, used(ROWS, ROWS, TEXT, TEXT))

    assert sent(server, 0) == json.dumps(ROWS)
    assert sent(server, 1) == TEXT  # Nothing is referred to any more.
    assert [one.reason for one in limited] == ["search was called again after its result was folded"]


@pytest.fixture(params=["memory", "sqlite"])
def books(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory" if request.param == "memory" else str(tmp_path / "spend.db")


def test_a_very_long_result_is_shortened_and_its_original_comes_back_through_the_tool(
    make: MakeGuard, make_server: MakeServer, books: str
) -> None:
    asked = {"value": ""}

    def script(request: Any) -> Reply:
        if not asked["value"]:
            marker = request.messages[-1]["content"].rsplit("[tokenguard folded ", 1)[1].split(":")[0]
            asked["value"] = json.dumps({"marker": marker})
            return Reply(tool_calls=[ToolCall("tokenguard_show", asked["value"])])
        return Reply("done")

    server = make_server(script)
    guard = make(database=books, prompt=tg.Folding("safe", recovery="tool", trim_above=1_000))

    with guard.run("agent") as run:
        tools = [TOOL, guard.recovery_tool]
        messages = used(LONG)
        reply = guard.completion(CHEAP, messages, tools=tools, max_tokens=100, **at(server))
        (call,) = reply.choices[0].message.tool_calls
        original = guard.show(call.function.arguments)
        messages += [
            reply.choices[0].message.model_dump(),
            {"role": "tool", "tool_call_id": call.id, "content": original},
        ]
        guard.completion(CHEAP, messages, tools=tools, max_tokens=100, **at(server))

    assert len(sent(server, 0)) < len(LONG) // 4
    assert original == LONG
    assert sent(server, 1) == LONG
    assert "trim" in {one.name for one in run.receipt().savings}
    with guard.run("another"):
        assert guard.unfold(json.loads(asked["value"])["marker"]) is None
        assert "It cannot be read again" in guard.show(asked["value"])


def test_a_marker_resolves_after_a_restart_in_another_guard(
    make: MakeGuard, make_server: MakeServer, tmp_path: Path
) -> None:
    server, books = make_server(), str(tmp_path / "spend.db")
    first, second = (
        make(database=books, prompt=tg.Folding("safe", recovery="shell", trim_above=1_000)) for _ in range(2)
    )
    with first.run("agent") as run:
        send(first, server, used(LONG))
    marker = sent(server).rsplit("`tokenguard show ", 1)[1].split("`")[0]

    found = second.late.get().ledger.find_text(marker, root_id=run.id)

    assert found == LONG
    assert second.late.get().ledger.find_text(marker, root_id="other") is None
    assert second.late.get().ledger.find_text(marker, root_id=None) == LONG


def test_without_the_tool_in_the_call_nothing_is_left_out(make: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make(prompt=tg.Folding("safe", recovery="tool", trim_above=1_000))

    with guard.run("agent"):
        send(guard, server, used(LONG), tools=[TOOL])

    assert sent(server) == LONG


def test_a_ledger_that_cannot_keep_originals_means_that_they_are_sent(
    make: MakeGuard, make_server: MakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server()
    guard = make(database=str(tmp_path / "spend.db"), prompt=tg.Folding("safe", recovery="shell", trim_above=1_000))
    faults: list[tg.events.Fault] = []
    guard.on(tg.events.Fault, faults.append)
    with guard.run("agent"):
        ledger = guard.late.get().ledger
        monkeypatch.setattr("tokenguard.core.recovery.CHARACTERS_MAX", 1_000)
        send(guard, server, used(LONG))
        monkeypatch.undo()
        send(guard, server, used(LONG, "ok"))

    assert sent(server, 0) == LONG
    assert server.requests[1].messages[3]["content"] == LONG
    assert [one.where for one in faults] == ["prompt.store"]
    assert ledger.savings() == ()


def test_a_stage_that_fails_leaves_the_text_as_it_came_and_says_so(
    make: MakeGuard, make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, guard = make_server(), make(prompt="lossless")
    faults: list[tg.events.Fault] = []
    guard.on(tg.events.Fault, faults.append)

    def trips(text: str) -> Any:
        raise ZeroDivisionError(text[:3])

    monkeypatch.setattr("tokenguard.prompt.entry.tables.fold", trips)
    with guard.run("agent"):
        send(guard, server, used(ROWS))
    monkeypatch.setattr("tokenguard.prompt.folder.places", trips)
    with guard.run("agent"):
        send(guard, server, used(ROWS))

    assert [sent(server, 0), sent(server, 1)] == [json.dumps(ROWS)] * 2
    assert [(one.where, type(one.error)) for one in faults] == [
        ("prompt.json", ZeroDivisionError),
        ("prompt", ZeroDivisionError),
    ]


def test_a_run_that_is_held_out_is_only_measured(make: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make(prompt=tg.Folding("lossless", holdout=0.5))
    applied: list[bool] = []

    for _ in range(24):
        with guard.run("agent"):
            (saving,) = send(guard, server, used(ROWS)).savings
        applied.append(saving.applied)

    assert {True, False} == set(applied)
    assert [sent(server, at) == json.dumps(ROWS) for at in range(24)] == [not one for one in applied]


def conversation(server: ModelServer, guard: tg.Guard, results: list[Any]) -> Iterator[tg.CallReceipt]:
    for count in range(1, len(results) + 1):
        yield send(guard, server, used(*results[:count]))


def test_what_each_call_saved_adds_up_to_the_receipt_of_the_run(
    make: MakeGuard, make_server: MakeServer, books: str
) -> None:
    server, guard = make_server(Reply("ok", cached_tokens=50)), make(database=books, prompt="lossless")

    with guard.run("agent") as run:
        receipts = list(conversation(server, guard, [ROWS, PAGE, ROWS[:30], "ok"]))

    found = {one.name: one for one in run.receipt().savings}
    for stage in ("json", "text"):
        calls = [one for receipt in receipts for one in receipt.savings if one.name == stage]
        assert found[stage].settled == sum((one.settled for one in calls), tg.Money("0"))
        assert found[stage].tokens == sum(one.tokens for one in calls)
    assert run.receipt().saved == sum((one.saved for one in receipts), tg.Money("0"))
    assert f"saved: {run.receipt().saved} by" in str(run.receipt())
    assert run.receipt().json()["saved_usd"] == run.receipt().saved.json()


def test_old_results_give_way_where_the_price_says_so_and_their_originals_stay(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server = make_server(Reply("ok"))
    flat = {**PRICES["prices"][CHEAP], "cache_read": "10"}  # No discount: a token costs the same each time it is sent.
    guard = make_guard(
        prices={"prices": {CHEAP: flat}}, loops=False, prompt=tg.Folding("gated", recovery="shell", off=["refer"])
    )
    results = [f"order ORD-{number}\n{LONG[number * 2_000 : number * 2_000 + 2_000].strip()}" for number in range(14)]

    with guard.run("agent") as run:
        for _ in conversation(server, guard, results):
            pass
        texts = [one["content"] for one in server.requests[-1].messages if one["role"] == "tool"]
        markers = [text.split("[tokenguard folded ")[1].split(":")[0] for text in texts if "[tokenguard folded" in text]
        originals = [guard.unfold(marker) for marker in markers]

    assert len(markers) >= 3
    assert texts[-5:] == results[-5:]
    assert set(originals) <= set(results)
    assert "ORD-0" in texts[0]
    assert any(one.name == "retire" and one.tokens > 0 for one in run.receipt().savings)


def test_originals_are_forgotten_when_their_days_are_over(
    make: MakeGuard, make_server: MakeServer, tmp_path: Path
) -> None:
    server = make_server()
    guard = make(
        database=str(tmp_path / "spend.db"),
        prompt=tg.Folding("safe", recovery="shell", trim_above=1_000, recovery_days=1),
    )
    with guard.run("agent") as run:
        send(guard, server, used(LONG))
    parts = guard.late.get()
    marker = sent(server).rsplit("`tokenguard show ", 1)[1].split("`")[0]
    later = parts.clock.now() + timedelta(days=2)

    class Later:
        def now(self) -> Any:
            return later

        def monotonic(self) -> float:
            return 0.0

    ledger: Any = parts.ledger
    ledger.inner.inner._clock = Later()  # The books' own clock, two days on.

    assert ledger.find_text(marker, root_id=run.id) is None


def test_a_call_of_the_tool_that_cannot_be_read_gets_an_answer_all_the_same(make: MakeGuard) -> None:
    guard = make()

    for arguments in ("no json", {"other": 1}, "[1]"):
        assert "It cannot be read again" in guard.show(arguments)


def test_a_prompt_can_be_looked_at_on_any_level_without_being_sent(make: MakeGuard) -> None:
    guard, messages = make(), used(ROWS)

    off, own = guard.fold(messages, model=CHEAP, level="off"), guard.fold(messages, model=CHEAP)
    table = guard.fold(messages, model="nobody/knows", level=tg.Folding("lossless"))

    assert (off.messages, off.level, off.tokens_saved) == (messages, "off", 0)
    assert own.level == "compact"
    assert own.usd_first_pico == own.tokens_saved * 10_000_000
    assert own.usd_again_pico == own.tokens_saved * 1_000_000
    assert table.tokens_after < own.tokens_after
    assert table.usd_first_pico is None


def test_a_model_without_a_price_is_folded_but_nothing_is_retired_or_counted(
    make: MakeGuard, make_server: MakeServer
) -> None:
    server = make_server()
    guard = make(prompt=tg.Folding("gated", recovery="shell"), mode="enforce", unattributed=tg.Budget(calls=9))

    with guard.run("agent", budget=tg.Budget(calls=9)):
        reply = guard.completion("openai/nobody-knows", used(ROWS), max_tokens=100, **at(server))

    receipt = tg.receipt_of(reply)
    assert receipt is not None
    assert receipt.savings == ()
    assert sent(server).startswith("[40]{flight,price,")


def test_calls_outside_any_run_are_folded_and_their_savings_written_when_the_guard_closes(
    make: MakeGuard, make_server: MakeServer, tmp_path: Path
) -> None:
    server, books = make_server(), str(tmp_path / "spend.db")
    guard = make(database=books)

    with pytest.warns(tg.UnattributedSpend):
        send(guard, server, used(ROWS))
    assert guard.late.get().ledger.savings() == ()
    guard.close()

    (found,) = make(database=books).late.get().ledger.savings("run")
    assert (found.name, found.calls, found.results) == ("", 1, 1)


def test_savings_of_a_long_run_are_written_while_it_goes_on(make: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make()

    with guard.run("agent") as run:
        for _ in range(33):
            send(guard, server, used(ROWS))
        (found,) = run.receipt().savings

    assert found.calls == 32
    assert run.receipt().savings[0].calls == 33


def test_a_ledger_that_is_away_at_the_end_costs_nobody_the_run(
    make: MakeGuard, make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, guard = make_server(), make()
    faults: list[tg.events.Fault] = []
    guard.on(tg.events.Fault, faults.append)

    def away(*_: Any) -> None:
        raise tg.LedgerUnavailable("the disk is full.")

    with guard.run("agent"):
        send(guard, server, used(ROWS))
        monkeypatch.setattr(type(guard.late.get().ledger), "note_savings", away)

    assert [one.where for one in faults] == ["savings"]


def test_savings_that_cannot_be_worked_out_cost_nobody_the_answer(
    make: MakeGuard, make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, guard = make_server(), make()
    faults: list[tg.events.Fault] = []
    guard.on(tg.events.Fault, faults.append)

    def trips(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("tokenguard.calls.savings.saved_in", trips)
    with guard.run("agent"):
        assert send(guard, server, used(ROWS)).savings == ()

    assert [one.where for one in faults] == ["savings"]


def test_an_answer_without_usage_settles_nothing_and_estimates(make: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply("ok", usage_mode="never")), make()

    with guard.run("agent"):
        (saving,) = send(guard, server, used(ROWS)).savings

    assert saving.estimated > tg.Money("0")


def test_a_cache_that_holds_less_than_it_must_ends_references(make: MakeGuard, make_server: MakeServer) -> None:
    cached = iter([0, 2_000, 100, 100])
    server = make_server(lambda _: Reply("ok", cached_tokens=next(cached), prompt_tokens=4_000))
    guard = make(prompt="lossless")
    limited: list[tg.events.FoldingLimited] = []
    guard.on(tg.events.FoldingLimited, limited.append)

    with guard.run("agent"):
        for _ in conversation(server, guard, [TEXT, TEXT, "ok", "ok"]):
            pass

    assert [one.reason for one in limited] == ["the provider's cache holds less of the prompt than it must"]


def test_the_same_reason_is_told_once_and_says_nothing_where_nothing_is_referred_to(
    make: MakeGuard, make_server: MakeServer
) -> None:
    server, told = make_server(), list[tg.events.FoldingLimited]()
    guard = make(prompt="lossless")
    guard.on(tg.events.FoldingLimited, told.append)

    with guard.run("agent"):
        send(guard, server, used(ROWS, ROWS))
        send(guard, server, used(PAGE, PAGE))

    assert len(told) == 1


def test_originals_that_are_read_back_too_often_end_shortening(make: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make(prompt=tg.Folding("safe", recovery="shell", trim_above=1_000))
    limited: list[tg.events.FoldingLimited] = []
    guard.on(tg.events.FoldingLimited, limited.append)
    second = LONG[::-1]

    with guard.run("agent"):
        send(guard, server, used(LONG))
        marker = sent(server).rsplit("`tokenguard show ", 1)[1].split("`")[0]
        assert [guard.unfold(marker) for _ in range(2)] == [LONG, LONG]
        send(guard, server, used(LONG, "ok"))
        send(guard, server, used(LONG, "ok", second))

    assert [one.reason for one in limited] == ["more than three in ten of the originals left out were read back"]
    assert sent(server) == second
    assert len(sent(server, message=3)) < len(LONG) // 4  # What was sent stays as it was sent.


def test_tools_are_sent_in_one_order(make: MakeGuard, make_server: MakeServer) -> None:
    server = make_server()
    tools = [{**TOOL, "function": {**TOOL["function"], "name": name}} for name in ("write", "read", "look")]
    guard = make(prompt="lossless")

    with guard.run("agent"):
        send(guard, server, used(ROWS), tools=tools)
        send(guard, server, used(ROWS), tools=tools[::-1])
    with (compact := make()).run("agent"):
        send(compact, server, used(ROWS), tools=tools)

    orders = [[one["function"]["name"] for one in request.json["tools"]] for request in server.requests]
    assert orders == [["look", "read", "write"], ["look", "read", "write"], ["write", "read", "look"]]
    assert [one["function"]["name"] for one in tools] == ["write", "read", "look"]
