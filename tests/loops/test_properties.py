"""What holds for every conversation, tool and state."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loops.talk import TASK, talk, turn, turns

from tokenguard.core.ladder import Loops
from tokenguard.loops.evidence import BLOCKED_PREFIX
from tokenguard.loops.memory import LoopMemory

LOOPS = Loops()
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8)
ANY = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
RESULTS = st.sampled_from(["same", "other", "429 Too Many Requests", "Error: no 'a'", f"{BLOCKED_PREFIX}no.", None, 3])
CALLS = st.tuples(st.sampled_from(["read", "list"]), st.sampled_from([{"a": 1}, {"a": 2}, {"nonce": 3}]), RESULTS)
ROUNDS = st.lists(st.lists(CALLS, min_size=1, max_size=2), max_size=24)
FIELDS = ["role", "content", "tool_calls", "tool_call_id", "id", "function", "name", "arguments", "text"]
NAMES = st.sampled_from([*FIELDS, "type", "call_id", "output", "input", "tool_use_id"])
TYPES = ["function_call", "function_call_output", "tool_use", "tool_result"]
WORDS = st.sampled_from([*TYPES, "tool", "assistant", "user", "c1"])
MESSAGES = st.lists(
    st.recursive(
        WORDS | LEAVES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
        max_leaves=12,
    ),
    max_size=6,
)


def conversation(rounds: list[Any], *, same_ids: bool = False) -> list[list[dict[str, Any]]]:
    return [turns("c" if same_ids else f"c{at}", calls) for at, calls in enumerate(rounds)]


@given(ROUNDS, st.integers(0, 24))
def test_writing_down_and_reading_back_changes_nothing_that_is_found(rounds: list[Any], cut: int) -> None:
    built = conversation(rounds)
    whole, halves = LoopMemory(key=b"k"), LoopMemory(key=b"k")

    for end in range(1, len(built) + 1):
        if end == cut:
            halves = LoopMemory.load(json.loads(json.dumps(halves.dump())), key=b"k")
        assert halves.asked(talk(*built[:end]), LOOPS) == whole.asked(talk(*built[:end]), LOOPS)


@given(ROUNDS)
def test_what_is_found_does_not_depend_on_how_often_it_was_asked(rounds: list[Any]) -> None:
    built = conversation(rounds)
    step_by_step, at_once = LoopMemory(), LoopMemory()
    found = None

    for end in range(1, len(built) + 1):
        found = step_by_step.asked(talk(*built[:end]), LOOPS)

    assert at_once.asked(talk(*built), LOOPS) == found
    assert at_once.asked(talk(*built), LOOPS) == found


@given(ROUNDS, st.integers(2, 6))
def test_a_trimmed_conversation_finds_what_the_whole_one_finds(rounds: list[Any], kept: int) -> None:
    built = conversation(rounds)
    whole, trimmed = LoopMemory(), LoopMemory()

    for end in range(1, len(built) + 1):
        assert trimmed.asked(talk(*built[max(0, end - kept) : end]), LOOPS) == whole.asked(talk(*built[:end]), LOOPS)


@given(ROUNDS)
def test_the_same_ids_again_find_what_different_ids_find(rounds: list[Any]) -> None:
    different, same = LoopMemory(), LoopMemory()

    for end in range(1, len(rounds) + 1):
        expected = different.asked(talk(*conversation(rounds[:end])), LOOPS)
        assert same.asked(talk(*conversation(rounds[:end], same_ids=True)), LOOPS) == expected


@given(st.dictionaries(st.text(max_size=5), ANY, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_names_changes_nothing(arguments: dict[str, Any], dice: Any) -> None:
    names = list(arguments)
    dice.shuffle(names)
    shuffled = {name: arguments[name] for name in names}

    found = LoopMemory().asked(talk(turn(0, arguments=arguments), turn(1, arguments=shuffled)), LOOPS)

    assert found is not None
    assert found.repeats == 2


@given(MESSAGES)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_no_conversation_raises(messages: list[Any]) -> None:
    memory = LoopMemory()

    memory.asked(messages, LOOPS)
    memory.asked([*talk(turn(0)), *messages], LOOPS)
    memory.answered(
        "a", {"choices": messages, "output": messages}, model="m", began_s=0, ended_s=1, cost_pico=1, loops=LOOPS
    )

    assert len(json.dumps(memory.dump())) < 16_000


@given(ANY, ANY)
def test_no_tool_raises(arguments: Any, result: Any) -> None:
    memory = LoopMemory()

    memory.returned("t", arguments, result, began_s=0, ended_s=1, loops=LOOPS)
    again = memory.calling("t", arguments, LOOPS)

    assert again is None or again.repeats == 2


@given(st.dictionaries(st.sampled_from(list(LoopMemory().dump())), ANY))
def test_no_state_raises(part: dict[str, Any]) -> None:
    memory = LoopMemory.load({**LoopMemory().dump(), **part})

    assert memory.asked(talk(turn(0)), LOOPS) is None


class Angry:
    """An object whose attributes raise."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__") and name != "__dict__":
            return object.__getattribute__(self, name)
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError("no words")


class AngryError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([Angry(), Angry()], id="objects that raise"),
        pytest.param([TASK, None, 3, "text", b"bytes", [], ()], id="no messages at all"),
        pytest.param(talk(turn(0, arguments='{"a": "' + "x" * 10_000_000 + '"}')), id="10 MB of arguments"),
        pytest.param(talk(turn(0, "x" * 10_000_000)), id="10 MB of result"),
        pytest.param(talk(turn(0, "1:0" * 100_000)), id="nearly times"),
        pytest.param(talk(turn(0, "12ab-" * 100_000)), id="nearly ids"),
        pytest.param(talk(turn(0, " \t\r" * 100_000 + "x")), id="blanks"),
        pytest.param(talk(turn(0, "\x1b[" * 100_000)), id="nearly colours"),
        pytest.param(talk(turn(0, "Error: " + "'" * 100_000)), id="quotes"),
        pytest.param(talk(turn(0, arguments="[" * 100_000)), id="deep text"),
        pytest.param(talk(turn(0, arguments={"a": float("nan"), "\ud800": "\udfff"})), id="NaN and surrogates"),
        pytest.param(talk(turns("a", [("t" * 9, {"n": n}, "r") for n in range(5_000)])), id="a huge fan-out"),
        pytest.param([{"role": "tool", "tool_call_id": f"c{n}"} for n in range(100_000)], id="results without end"),
        pytest.param([{"role": "user", "content": "hi"}] * 100_000, id="talk without end"),
        pytest.param([{"role": "assistant", "content": "hm"}] * 100_000, id="a monologue without end"),
        pytest.param([{"type": "function_call", "call_id": "c"}] * 5_000, id="items without end"),
    ],
)
def test_hostile_conversations_are_bounded_in_time_and_size(messages: list[Any]) -> None:
    memory = LoopMemory()
    began = time.perf_counter()

    memory.asked(messages, LOOPS)
    memory.asked(messages, LOOPS)

    assert time.perf_counter() - began < 2
    assert len(json.dumps(memory.dump())) < 16_000


@pytest.mark.parametrize(
    "value",
    [Angry(), AngryError(), {"a": Angry()}, [Angry()], {Angry: 1}],
    ids=["object", "exception", "field", "part", "name"],
)
def test_hostile_tools_never_raise(value: Any) -> None:
    memory = LoopMemory()

    memory.returned("t", value, value, began_s=0, ended_s=1, loops=LOOPS)

    assert memory.calling("t", value, LOOPS) is not None


STEPS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), st.sampled_from(["same", "other"])), max_size=40)


@given(STEPS, st.sampled_from(["go", "go {of}"]), st.sampled_from(["{at}", "{of}_{at}"]), st.integers(0, 40))
def test_conversations_in_turns_find_what_each_finds_alone(
    steps: list[Any], task: str, ids: str, restart_at: int
) -> None:
    together, alone = LoopMemory(key=b"k"), [LoopMemory(key=b"k") for _ in range(4)]
    talks: list[list[dict[str, Any]]] = [[{"role": "user", "content": task.format(of=of)}] for of in range(4)]

    for at, (of, argument, result) in enumerate(steps):
        if at == restart_at:
            together = LoopMemory.load(json.loads(json.dumps(together.dump())), key=b"k")
        talks[of] += turns(ids.format(of=of, at=len(talks[of])), [("read", {"n": argument}, result)])
        found, expected = (memory.asked(talks[of], LOOPS) for memory in (together, alone[of]))
        assert (found.repeats if found else 0) == (expected.repeats if expected else 0)
