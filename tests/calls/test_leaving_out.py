"""Text that is left out of guarded calls, and how it comes back."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from folding_talk import CHEAP, FLAT, LONG, ORDERS, PRICES, TOOL, conversation, send, sent, used
from support import MakeGuard, MakeServer, at

import tokenguard as tg
from tokenguard.calls.fold_keeping import recalled
from tokenguard.calls.scope import current
from tokenguard.prompt.markers import markers_in
from tokenguard.testing.model_server import Reply, ToolCall


@pytest.fixture
def make(make_guard: MakeGuard) -> MakeGuard:
    return lambda **options: make_guard(**{"prices": PRICES, "loops": False, **options})


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


def test_old_results_give_way_where_the_price_says_so_and_their_originals_stay(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server = make_server(Reply("ok"))
    guard = make_guard(prices=FLAT, loops=False, prompt=tg.Folding("gated", recovery="shell", off=["refer"]))
    results = ORDERS[:14]

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


def test_several_results_in_one_message_give_way_one_by_one(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server = make_server(Reply("ok"))
    guard = make_guard(prices=FLAT, loops=False, prompt=tg.Folding("gated", recovery="shell", off=["refer"]))
    rounds: list[dict[str, Any]] = [{"role": "user", "content": "Go on."}]

    with guard.run("agent"):
        for first in range(0, 16, 2):
            pair = ORDERS[first : first + 2]
            parts = [{"type": "text", "text": text} for text in pair]
            call = {"id": f"c{first}", "type": "function", "function": {"name": "orders", "arguments": "{}"}}
            rounds += [
                {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": f"c{first}", "content": parts},
            ]
            send(guard, server, rounds)
        texts = [
            part["text"] for one in server.requests[-1].messages if one["role"] == "tool" for part in one["content"]
        ]
        markers = [markers_in(text) for text in texts]
        originals = [guard.unfold(found[0]) if found else text for found, text in zip(markers, texts, strict=True)]

    assert originals == ORDERS[:16]
    assert sum(map(bool, markers)) >= 3
    assert texts[-5:] == ORDERS[11:16]


def test_results_whose_originals_cannot_be_kept_stay_and_those_that_gave_way_before_stay_away(
    make_guard: MakeGuard, make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server(Reply("ok"))
    guard = make_guard(prices=FLAT, loops=False, prompt=tg.Folding("gated", recovery="shell", off=["refer"]))
    ledger: Any = guard.late.get().ledger

    def full(_: Any) -> None:
        raise tg.LedgerUnavailable("the disk is full.")

    def stubs(request: int) -> int:
        return str(server.requests[request].messages).count("[tokenguard folded ")

    with guard.run("agent"):
        for count in range(1, 13):
            send(guard, server, used(*ORDERS[:count]))
        gone = stubs(-1)
        monkeypatch.setattr(ledger, "store_texts", full)
        for count in range(13, 19):
            send(guard, server, used(*ORDERS[:count]))
        stayed = [stubs(request) for request in range(12, 18)]
        monkeypatch.undo()
        send(guard, server, used(*ORDERS[:19]))

    assert gone >= 3
    assert set(stayed) == {gone}
    assert stubs(-1) > gone


def test_shielded_results_never_give_way(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server = make_server(Reply("ok"))
    folding = tg.Folding("gated", recovery="shell", off=["refer"], shield=["sea*"])
    guard = make_guard(prices=FLAT, loops=False, prompt=folding)

    with guard.run("agent"):
        for _ in conversation(server, guard, ORDERS[:14]):
            pass

    assert [one["content"] for one in server.requests[-1].messages if one["role"] == "tool"] == ORDERS[:14]


def test_what_two_calls_ask_the_ledger_at_once_is_taken_once(make_guard: MakeGuard, tmp_path: Path) -> None:
    first, guard = (
        make_guard(str(tmp_path / "spend.db"), prompt=tg.Folding("gated", recovery="shell")) for _ in range(2)
    )
    with first.run("agent") as run, guard.join(run.token()):
        node, parts = current(guard).node, guard.late.get()  # type: ignore[union-attr]  # it is in a run
        assert node is not None
        asks = recalled(node, parts.folder.folding, parts)  # type: ignore[union-attr]  # it folds
        next(asks)
        node.run.folding.is_recalled = True

        with pytest.raises(StopIteration):
            asks.send({"whole_from": 1})

    assert node.run.folding.whole_from is None


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


def test_a_marker_resolves_as_long_as_its_run_says_it(
    make: MakeGuard, make_server: MakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, books = make_server(), str(tmp_path / "spend.db")
    guard = make(database=books, prompt=tg.Folding("safe", recovery="shell", trim_above=1_000, recovery_days=2))
    began = guard.late.get().clock.now()

    with guard.run("agent"):
        for hours in range(0, 97, 12):
            now = began + timedelta(hours=hours)
            monkeypatch.setattr("tokenguard.core.clock.SystemClock.now", lambda _, now=now: now)
            send(guard, server, used(LONG, "ok"))
            marker = sent(server, message=3).rsplit("`tokenguard show ", 1)[1].split("`")[0]
            assert guard.unfold(marker) == LONG, f"after {hours} hours"


def test_outside_any_run_nothing_is_left_out_because_nobody_could_read_it_back(
    make: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(), make(prompt=tg.Folding("gated", recovery="shell", trim_above=1_000))

    with pytest.warns(tg.UnattributedSpend):
        send(guard, server, used(LONG, LONG))

    assert sent(server, message=3) == LONG
    assert "the same as tool result 1 (search) above" in sent(server)
    assert guard.late.get().ledger.find_text("", root_id="") is None


def test_a_call_of_the_tool_that_cannot_be_read_gets_an_answer_all_the_same(make: MakeGuard) -> None:
    guard = make()

    for arguments in ("no json", {"other": 1}, "[1]"):
        assert "It cannot be read again" in guard.show(arguments)


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
