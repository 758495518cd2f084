"""What counts as going in circles, and what only looks like it: conversations shown to a memory as they grow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from loops.talk import TASK, reply, talk, turn, turns

from tokenguard.core.ladder import Loops, Rung
from tokenguard.loops.evidence import BLOCKED_PREFIX, FOLDED_PREFIX
from tokenguard.loops.finding import Finding
from tokenguard.loops.memory import LoopMemory

LOOPS = Loops()
Rounds = list[list[dict[str, Any]]]


def shown(rounds: Rounds, loops: Loops = LOOPS) -> list[Finding | None]:
    """What is found before each call of a conversation that grows by these rounds."""
    memory = LoopMemory(key=b"k")
    return [memory.asked(talk(*rounds[:end]), loops) for end in range(1, len(rounds) + 1)]


def counts(rounds: Rounds, loops: Loops = LOOPS) -> list[int]:
    return [one.repeats if one else 0 for one in shown(rounds, loops)]


def rules(rounds: Rounds, loops: Loops = LOOPS) -> set[str]:
    return {one.rule for one in shown(rounds, loops) if one}


def worst(rounds: Rounds) -> Rung | None:
    return LOOPS.rung(max(counts(rounds)))


def test_the_same_call_with_the_same_result_is_counted_from_the_second_time_on() -> None:
    found = shown([turn(number) for number in range(7)])

    assert [one.repeats if one else 0 for one in found] == [0, 2, 3, 4, 5, 6, 7]
    last = found[-1]
    assert last is not None
    assert (last.rule, last.subject, last.window, last.keys) == ("same_call_same_result", "read", 10, ("path",))
    assert (last.argument_bytes, last.result_bytes) == (len('{"path":"a.txt"}'), len("the same text"))
    assert (last.source, last.blocked) == ("messages", False)
    assert len({one.fingerprint for one in found if one}) == 1


def test_evidence_is_digests_and_sizes_and_never_text() -> None:
    found = shown([turn(number, "a secret result", {"path": "secret.txt"}) for number in range(4)])[-1]

    assert "secret" not in repr(found)


def test_a_thought_that_is_said_in_other_words_changes_nothing() -> None:
    assert counts([turn(number, thought=f"thought {number}") for number in range(4)]) == [0, 2, 3, 4]


def test_the_order_of_names_and_the_spaces_change_nothing() -> None:
    texts = ['{"a": 1, "b": [1.0]}', '{"b":[1],"a":1}', '{ "b" : [1e0] , "a" : 1 }']

    assert counts([turn(at, arguments=text) for at, text in enumerate(texts)]) == [0, 2, 3]


def test_other_tools_between_do_not_reset_it() -> None:
    rounds = [round_ for at in range(4) for round_ in (turn(at), turn(f"x{at}", f"line {at}", tool="list"))]

    assert counts(rounds)[6] == 4


def test_repetitions_before_the_last_ten_rounds_are_forgotten() -> None:
    rounds = [turn(at) for at in range(5)] + [turn(f"x{at}", f"line {at}", {"n": at}) for at in range(9)] + [turn(99)]

    assert counts(rounds)[-1] == 0


def test_a_fan_out_of_the_same_call_is_one_round() -> None:
    same = ("read", None, "the same text")

    assert counts([turns(f"a{at}", [same] * 5) for at in range(3)]) == [0, 2, 3]


def test_of_a_fan_out_the_call_that_repeats_is_found() -> None:
    rounds = [turns(f"a{at}", [("read", None, "same"), ("grep", {"n": at}, f"hit {at}")]) for at in range(3)]

    assert shown(rounds)[-1].subject == "read"  # type: ignore[union-attr]  # found


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param([turn(at, f"{at} of 9 done") for at in range(9)], id="a poller whose result changes"),
        pytest.param([turn(at, f"page {at}", {"page": at}) for at in range(9)], id="a paginated crawl"),
        pytest.param([turn(at, "row inserted", {"row": at}) for at in range(9)], id="a batch with an acknowledgement"),
        pytest.param(
            [turn(at, "deleted", {"id": f"f81d4fae-7dec-11d0-a765-00a0c91e6b{at:02}"}) for at in range(9)],
            id="a batch by ids",
        ),
        pytest.param(
            [
                one
                for at in range(9)
                for one in (
                    turn(f"e{at}", "edited", {"line": at}, "edit"),
                    turn(f"t{at}", f"AssertionError: {9 - at} failed", {}, "test"),
                )
            ],
            id="a test-fix loop",
        ),
        pytest.param(
            [
                one
                for at in range(9)
                for one in (turn(f"e{at}", f"edited {at}", {"new": at}, "edit"), turn(f"t{at}", "1 failed", {}, "test"))
            ][:6],
            id="edits between tests that fail in the same way",
        ),
        pytest.param([turn(at, "429 Too Many Requests") for at in range(9)], id="a retry storm of 429s"),
        pytest.param([turn(at, "Error: read timed out") for at in range(9)], id="timeouts"),
        pytest.param(
            [turn(at, "HTTP 503 Service Unavailable", {"n": at}) for at in range(9)], id="a server that is down"
        ),
    ],
)
def test_what_makes_progress_or_may_heal_is_not_touched_above_steering(rounds: Rounds) -> None:
    assert worst(rounds) in (None, Rung.STEER)


def test_results_that_differ_in_times_and_ids_are_the_same() -> None:
    rounds = [turn(at, f"2026-11-20T12:03:1{at}Z queue is empty, looked in 0.{at}s") for at in range(4)]

    assert counts(rounds) == [0, 2, 3, 4]


@pytest.mark.parametrize("name", ["nonce", "cache_bust", "_"])
def test_a_nonce_in_the_arguments_changes_nothing(name: str) -> None:
    assert counts([turn(at, arguments={"q": "a", name: at * 7919}) for at in range(4)]) == [0, 2, 3, 4]


def test_a_random_id_in_the_arguments_changes_nothing_where_the_result_is_telling() -> None:
    rounds = [turn(at, "the same page " * 30, {"q": "a", "trace": f"8f3a9c0b1d2e4f{at:02}"}) for at in range(4)]

    assert counts(rounds) == [0, 2, 3, 4]


def test_a_cycle_is_found_by_its_rounds() -> None:
    rounds = [turn(at, f"file {at % 5}", {"file": at % 5}) for at in range(30)]

    found = shown(rounds)

    assert [one.repeats for one in found[9::5] if one] == [2, 3, 4, 5, 6]
    assert found[-1] is not None
    assert (found[-1].rule, found[-1].subject) == ("cycle", "read → read → read → read → read")
    assert len({one.fingerprint for one in found if one and one.rule == "cycle"}) == 1


def test_two_calls_in_turns_are_stopped() -> None:
    rounds = [turn(at, tool="ab"[at % 2]) for at in range(12)]

    assert worst(rounds) is Rung.STOP
    assert rules(rounds) == {"same_call_same_result", "cycle"}


def test_a_cycle_whose_results_change_is_none() -> None:
    assert counts([turn(at, f"{at // 2}", tool="ab"[at % 2]) for at in range(12)]) == [0] * 12


def test_a_cycle_of_rate_limits_is_none() -> None:
    assert counts([turn(at, "429 Too Many Requests", tool="ab"[at % 2]) for at in range(12)]) == [0] * 12


def test_the_same_error_of_the_same_call_is_counted_each_time() -> None:
    rounds = [turn(at, f"FileNotFoundError: no file a{at}.txt in {at} folders") for at in range(4)]

    found = shown(rounds)[-1]

    assert found is not None
    assert (found.rule, found.repeats) == ("same_call_same_error", 4)


def test_the_first_other_try_that_fails_alike_is_no_repetition_yet() -> None:
    rounds = [turn(at, f"Error: no table 'a{at}'", {"table": f"a{at}"}) for at in range(5)]

    assert counts(rounds) == [0, 0, 2, 3, 4]


def test_a_success_between_errors_ends_their_row() -> None:
    rounds = [turn(at, f"Error: no table 'a{at}'", {"table": at}) for at in range(3)]
    rounds += [turn("ok", "a1, a2", {}, "list"), turn("e", "Error: no table 'z'", {"table": "z"})]

    assert counts(rounds)[-1] == 0


def test_a_timeout_between_errors_neither_counts_nor_ends_their_row() -> None:
    rounds = [turn(at, f"Error: no table 'a{at}'", {"table": at}) for at in range(2)]
    rounds += [turn("t", "Error: timed out", {"table": 9}), turn("e", "Error: no table 'z'", {"table": "z"})]

    assert counts(rounds)[-1] == 2


def test_errors_that_messages_declare_are_errors() -> None:
    def round_(at: int) -> list[dict[str, Any]]:
        use = {"type": "tool_use", "id": f"t{at}", "name": "read", "input": {"n": 1}}
        result = {"type": "tool_result", "tool_use_id": f"t{at}", "is_error": True, "content": f"no such thing {at}"}
        return [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]

    assert rules([round_(at) for at in range(3)]) == {"same_call_same_error"}


def test_answers_in_a_row_with_nothing_between_are_a_monologue() -> None:
    said = [{"role": "assistant", "content": f"Next I will think about {at}."} for at in range(4)]
    memory = LoopMemory()

    found = [memory.asked([TASK, *said[:end]], LOOPS) for end in range(1, 5)]

    assert [one.repeats if one else 0 for one in found] == [0, 2, 3, 4]
    assert found[-1] is not None
    assert (found[-1].rule, found[-1].subject, found[-1].source) == ("monologue", "assistant", "speech")


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "assistant", "content": "a", "name": "anna"}, {"role": "assistant", "content": "b", "name": "bob"}]
        * 3,
        [{"role": "assistant", "content": "a"}, {"role": "user", "content": "go on"}] * 5,
        [*turn(1), {"role": "assistant", "content": "done"}],
    ],
    ids=["two who talk", "a person between", "an answer after a tool"],
)
def test_a_conversation_is_no_monologue(messages: list[dict[str, Any]]) -> None:
    assert LoopMemory().asked([TASK, *messages], LOOPS) is None


def test_the_pieces_of_an_answer_that_was_too_long_are_no_monologue() -> None:
    memory = LoopMemory()
    memory.answered("a", reply("c", reason="length"), model="m", began_s=0, ended_s=1, cost_pico=5, loops=LOOPS)

    assert memory.asked([TASK, *[{"role": "assistant", "content": "part"}] * 4], LOOPS) is None


def test_a_monologues_cost_is_that_of_the_last_answers() -> None:
    memory = LoopMemory()
    for at in range(3):
        memory.answered(f"a{at}", {"choices": []}, model="m", began_s=at, ended_s=at, cost_pico=10 + at, loops=LOOPS)

    found = memory.asked([TASK, *[{"role": "assistant", "content": "well"}] * 3], LOOPS)

    assert found is not None
    assert (found.wasted_pico, found.mean_pico) == (23, 11)


def test_a_call_that_came_again_after_its_result_was_folded_is_our_doing() -> None:
    rounds = [turn(0, f"{FOLDED_PREFIX}8f3a: 900 lines]"), turn(1, "the whole text"), turn(2, "the whole text")]

    found = shown(rounds)

    assert [one and one.rule for one in found] == [None, "refetch", "refetch"]
    assert counts(rounds, Loops(off=["refetch"]))[-1] == 0


def test_what_we_blocked_is_one_more_of_the_same() -> None:
    rounds = [*[turn(at) for at in range(3)], turn("b", f"{BLOCKED_PREFIX}this call was made 4 times.")]

    found = shown(rounds)[-1]

    assert found is not None
    assert (found.repeats, found.blocked) == (4, True)


def test_a_page_that_begins_like_a_note_of_ours_is_no_block() -> None:
    found = shown([turn(at, "[tokenguard] is a library that prices agents.") for at in range(2)])[-1]

    assert found is not None
    assert (found.repeats, found.blocked) == (2, False)
    assert found.result_bytes > 0


def test_blocks_of_a_call_that_was_never_seen_are_equal_among_themselves() -> None:
    assert counts([turn(at, f"{BLOCKED_PREFIX}no {at}.") for at in range(3)]) == [0, 2, 3]


@pytest.mark.parametrize(
    ("rule", "rounds"),
    [
        ("same_call_same_result", [turn(at) for at in range(4)]),
        ("same_call_same_error", [turn(at, f"Error: no {at}") for at in range(4)]),
        ("cycle", [turn(at, tool="ab"[at % 2]) for at in range(12)]),
        ("monologue", [[{"role": "assistant", "content": "well"}]] * 4),
    ],
)
def test_a_rule_that_is_off_finds_nothing(rule: str, rounds: Rounds) -> None:
    assert rule in rules(rounds)
    assert rule not in rules(rounds, Loops(off=[rule]))


def test_a_conversation_that_goes_on_with_a_person_is_not_judged() -> None:
    rounds = [turn(at) for at in range(4)]
    memory = LoopMemory()

    assert memory.asked([*talk(*rounds), {"role": "user", "content": "try once more"}], LOOPS) is None
    assert memory.asked([*talk(*rounds), {"role": "user", "content": "try once more"}], LOOPS) is None


def test_the_same_go_on_after_each_round_is_a_frameworks() -> None:
    go_on = {"role": "user", "content": "go on"}

    assert counts([[*turn(at), go_on] for at in range(4)]) == [0, 2, 3, 4]


def test_a_note_of_the_system_at_the_end_hides_nothing() -> None:
    memory = LoopMemory()

    found = memory.asked(
        [*talk(*[turn(at) for at in range(3)]), {"role": "system", "content": "you repeat yourself"}], LOOPS
    )

    assert found is not None


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [TASK],
        [{"role": "tool", "tool_call_id": "c1", "content": "orphan"}],
        [*talk(*[turn(at) for at in range(6)]), {"role": "assistant", "content": "Done."}],
        talk(*[turn(at)[:1] for at in range(6)]),
    ],
    ids=["nothing", "a task", "a result without a call", "an answer", "calls without results"],
)
def test_where_no_round_is_at_the_end_nothing_is_found(messages: list[dict[str, Any]]) -> None:
    assert LoopMemory().asked(messages, LOOPS) is None


def responses(at: int) -> list[dict[str, Any]]:
    return [
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "call_id": f"f{at}", "name": "read", "arguments": '{"path": "a"}'},
        {"type": "function_call", "call_id": f"g{at}", "name": "list", "arguments": "{}"},
        {"type": "function_call_output", "call_id": f"f{at}", "output": "same"},
        {"type": "function_call_output", "call_id": f"g{at}", "output": f"other {at}"},
    ]


def blocks(at: int) -> list[dict[str, Any]]:
    use = {"type": "tool_use", "id": f"t{at}", "name": "read", "input": {"path": "a"}}
    result = {"type": "tool_result", "tool_use_id": f"t{at}", "content": [{"type": "text", "text": "same"}]}
    return [
        {"role": "assistant", "content": [{"type": "text", "text": f"hm {at}"}, use]},
        {"role": "user", "content": [result]},
    ]


class Made:
    """A library's object: what it was made with are its attributes."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


def objects(at: int) -> list[Any]:
    call = Made(id=f"o{at}", function=Made(name="read", arguments='{"path": "a"}'))
    return [
        Made(role="assistant", content=None, tool_calls=[call]),
        Made(role="tool", tool_call_id=f"o{at}", content="same"),
    ]


@pytest.mark.parametrize("shape", [responses, blocks, objects])
def test_other_shapes_of_conversation_are_read_as_well(shape: Callable[[int], list[Any]]) -> None:
    assert counts([shape(at) for at in range(4)]) == [0, 2, 3, 4]


def test_items_at_the_very_beginning_are_read() -> None:
    memory = LoopMemory()

    memory.asked(responses(0)[1:], LOOPS)

    assert memory.asked([*responses(0)[1:], *responses(1)[1:]], LOOPS) is not None
