"""Answers that say the same in other words are warned of; what is sent never changes for it, whatever fails."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from agents import TOOLS, noted, wants
from meanings import OTHERS, WAITING, tiny_model
from support import PENNY, MakeGuard, MakeServer, ask, at

import tokenguard as tg
from tokenguard.errors import MissingExtra, SettingsError
from tokenguard.testing.model_server import ModelServer, Reply


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("meanings"))


@pytest.fixture
def looped() -> list[tg.events.Looped]:
    return []


@pytest.fixture
def faults() -> list[tg.events.Fault]:
    return []


@pytest.fixture
def make(
    make_guard: MakeGuard, looped: list[tg.events.Looped], faults: list[tg.events.Fault], database: str
) -> MakeGuard:
    """A guard whose warnings and faults are kept."""

    def made(loops: tg.Loops, **arguments: Any) -> tg.Guard:
        guard = make_guard(database, loops=loops, **arguments)
        guard.on(tg.events.Looped, looped.append)
        guard.on(tg.events.Fault, faults.append)
        return guard

    return made


def saying(make_server: MakeServer, texts: tuple[str, ...]) -> ModelServer:
    """A model that says these texts in turn, for a cent each."""
    said = itertools.cycle(texts)
    return make_server(lambda _: Reply(next(said), completion_tokens=400))


def converse(guard: tg.Guard, server: ModelServer, rounds: int, **options: Any) -> tg.Receipt:
    """Ask different things, one after the other."""
    with guard.run("agent") as run:
        for number in range(rounds):
            guard.completion(PENNY, ask(number), **at(server), **options)
    return run.receipt()


def test_three_paraphrases_are_warned_of_and_nothing_is_sent_differently(
    make: MakeGuard, make_server: MakeServer, model: Path, looped: list[tg.events.Looped]
) -> None:
    server = saying(make_server, WAITING)

    receipt = converse(make(tg.Loops(similar_by=model)), server, 3)

    (warning,) = looped
    assert (warning.rung, warning.rule, warning.repeats, warning.applied) == ("warn", "similar_answers", 3, True)
    assert (warning.wasted, warning.averted) == (tg.Money("0"), tg.Money("0"))
    assert 90 <= warning.evidence["similar_percent"] <= 100
    assert "gave similar answers 3 times in the last 10" in warning.sentence
    assert "build" not in str(warning.evidence)
    assert noted(server) == []
    assert [one.json["messages"] for one in server.requests] == [ask(number) for number in range(3)]
    assert receipt.stopped is None
    assert receipt.wasted == tg.Money("0")
    assert "similar_answers on 'openai/penny' × 3, warned" in str(receipt)


def test_any_number_of_them_is_no_reason_to_stop(
    make: MakeGuard, make_server: MakeServer, model: Path, looped: list[tg.events.Looped]
) -> None:
    server = saying(make_server, WAITING)

    receipt = converse(make(tg.Loops(similar_by=model)), server, 14)

    assert server.count == 14
    assert [one.repeats for one in looped] == [3, 4, 5, 6, 7, 8, 9, 10]
    assert {one.rung for one in looped} == {"warn"}
    assert receipt.stopped is None


def test_the_answers_of_streams_are_looked_at_too(
    make: MakeGuard, make_server: MakeServer, model: Path, looped: list[tg.events.Looped]
) -> None:
    guard, server = make(tg.Loops(similar_by=model)), saying(make_server, WAITING)

    with guard.run("agent"):
        for number in range(3):
            list(guard.completion(PENNY, ask(number), stream=True, **at(server)))

    assert [(one.rung, one.repeats) for one in looped] == [("warn", 3)]


async def test_so_are_those_of_asyncio(
    make: MakeGuard, make_server: MakeServer, model: Path, looped: list[tg.events.Looped]
) -> None:
    guard, server = make(tg.Loops(similar_by=model)), saying(make_server, WAITING)

    async with guard.run("agent"):
        for number in range(3):
            await guard.acompletion(PENNY, ask(number), **at(server))

    assert [(one.rung, one.repeats) for one in looped] == [("warn", 3)]


def test_different_answers_are_not_warned_of(
    make: MakeGuard, make_server: MakeServer, model: Path, looped: list[tg.events.Looped]
) -> None:
    converse(make(tg.Loops(similar_by=model)), saying(make_server, (*OTHERS, WAITING[0])), 5)

    assert looped == []


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_only_calls_a_tool_says_nothing(
    stream: bool,  # noqa: FBT001  # pytest gives it by name
    make: MakeGuard,
    make_server: MakeServer,
    model: Path,
    looped: list[tg.events.Looped],
) -> None:
    server = make_server(lambda one: wants("read", note=f"{WAITING[0]} {json.dumps(one.messages[-1])}"))
    guard = make(tg.Loops(similar_by=model))

    with guard.run("agent"):
        for number in range(4):
            reply = guard.completion(PENNY, ask(number), tools=TOOLS, stream=stream, **at(server))
            list(reply if stream else ())

    assert looped == []


def test_equal_answers_to_equal_prompts_are_told_by_their_own_rule_alone(
    make: MakeGuard, make_server: MakeServer, model: Path, looped: list[tg.events.Looped]
) -> None:
    guard, server = make(tg.Loops(similar_by=model)), saying(make_server, WAITING[:1])

    with guard.run("agent"):
        for _ in range(4):
            guard.completion(PENNY, ask(), **at(server))

    assert {one.rule for one in looped} == {"same_prompt_same_completion"}


@pytest.mark.parametrize("loops", [{"off": ["similar_answers"]}, {"similar_by": None}, {"similar_at": 1.0}])
def test_it_can_be_switched_off_and_made_stricter(
    make: MakeGuard,
    make_server: MakeServer,
    model: Path,
    looped: list[tg.events.Looped],
    loops: dict[str, Any],
) -> None:
    converse(make(tg.Loops(**{"similar_by": model, **loops})), saying(make_server, WAITING), 3)

    assert looped == []


def test_observing_it_warns_all_the_same(
    make: MakeGuard, make_server: MakeServer, model: Path, looped: list[tg.events.Looped]
) -> None:
    converse(make(tg.Loops(similar_by=model), mode="observe"), saying(make_server, WAITING), 3)

    assert [(one.rung, one.applied) for one in looped] == [("warn", True)]


def test_a_missing_folder_is_one_fault_and_the_calls_go_on(
    make: MakeGuard,
    make_server: MakeServer,
    looped: list[tg.events.Looped],
    faults: list[tg.events.Fault],
    tmp_path: Path,
) -> None:
    server = saying(make_server, WAITING)

    converse(make(tg.Loops(similar_by=tmp_path / "nowhere")), server, 4)

    assert server.count == 4
    assert [(one.where, type(one.error)) for one in faults] == [("loops", SettingsError)]
    assert looped == []


def test_a_missing_extra_is_one_fault_that_names_it_and_the_calls_go_on(
    make: MakeGuard,
    make_server: MakeServer,
    model: Path,
    faults: list[tg.events.Fault],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "model2vec", None)
    server = saying(make_server, WAITING)

    converse(make(tg.Loops(similar_by=model)), server, 4)

    assert server.count == 4
    (fault,) = faults
    assert isinstance(fault.error, MissingExtra)
    assert 'pip install "tokenguard-llm[semantic]"' in str(fault.error)


def test_a_model_that_breaks_at_a_text_is_one_fault_and_the_calls_go_on(
    make: MakeGuard,
    make_server: MakeServer,
    model: Path,
    faults: list[tg.events.Fault],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("model2vec.StaticModel.encode", lambda *_, **__: 1 // 0)
    server = saying(make_server, WAITING)

    converse(make(tg.Loops(similar_by=model)), server, 4)

    assert server.count == 4
    assert [type(one.error) for one in faults] == [ZeroDivisionError]


def test_what_answers_mean_stays_in_the_process(make: MakeGuard, make_server: MakeServer, model: Path) -> None:
    guard, server = make(tg.Loops(similar_by=model)), saying(make_server, WAITING)

    with guard.run("agent") as run:
        for number in range(2):
            guard.completion(PENNY, ask(number), **at(server))
        memory = guard._late.get().nodes[run.id].memory
        assert memory is not None
        state = memory.dump()

    assert len(memory.similar._latest) == 2
    assert "similar" not in state
    assert "." not in json.dumps(state)
