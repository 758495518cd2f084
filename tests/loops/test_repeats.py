"""What counts as going in circles: equal calls with equal results, by rounds, within the last ten."""

from __future__ import annotations

from typing import Any

from tokenguard.loops.repeats import STOP_AT, WINDOW, Repeats, call_evidence, digest, repeated_call


def turn(number: int, result: str | None = "same", arguments: str = "{}", tool: str = "read") -> list[dict[str, Any]]:
    """One round: the model asks, the tool answers (None: it does not)."""
    call = {"id": f"c{number}", "type": "function", "function": {"name": tool, "arguments": arguments}}
    asked = {"role": "assistant", "content": None, "tool_calls": [call]}
    return [asked] + ([] if result is None else [{"role": "tool", "tool_call_id": f"c{number}", "content": result}])


def conversation(*turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": "fix it"}, *(message for one in turns for message in one)]


def test_a_loop_is_named_by_its_tool_and_its_fingerprint_and_not_by_its_text() -> None:
    finding = repeated_call(conversation(*(turn(number) for number in range(STOP_AT))))

    assert finding is not None
    assert (finding.rule, finding.subject, finding.repeats, finding.window) == (
        "same_call_same_result",
        "read",
        STOP_AT,
        WINDOW,
    )
    assert finding.fingerprint == call_evidence("{}", "same")


def test_one_repetition_less_is_no_loop() -> None:
    assert repeated_call(conversation(*(turn(number) for number in range(STOP_AT - 1)))) is None


def test_repetitions_before_the_last_ten_rounds_are_forgotten() -> None:
    old = [turn(number) for number in range(STOP_AT - 1)]
    others = [turn(10 + number, f"line {number}") for number in range(WINDOW - 1)]

    assert repeated_call(conversation(*old, *others, turn(99))) is None


def test_a_conversation_that_does_not_end_with_a_tool_is_not_judged() -> None:
    loop = conversation(*(turn(number) for number in range(STOP_AT)))

    assert repeated_call([]) is None
    assert repeated_call([*loop, {"role": "user", "content": "stop that"}]) is None


def test_a_call_without_a_result_is_no_round() -> None:
    unanswered = conversation(*(turn(number, None) for number in range(WINDOW)), turn(99))

    assert repeated_call(unanswered) is None


def test_a_result_without_a_call_is_no_round() -> None:
    assert repeated_call([{"role": "tool", "tool_call_id": "c1", "content": "orphan"}]) is None


def test_calls_of_a_librarys_own_objects_are_read_as_well() -> None:
    class Function:
        name, arguments = "read", '{"path": "a.txt"}'

    class Call:
        id, function = "c1", Function()

    rounds = [
        message
        for _ in range(STOP_AT)
        for message in (
            {"role": "assistant", "tool_calls": [Call()]},
            {"role": "tool", "tool_call_id": "c1", "content": "same"},
        )
    ]

    assert repeated_call(rounds) is not None


def test_evidence_is_equal_for_equal_json_and_for_equal_text() -> None:
    assert call_evidence('{"a": 1, "b": [2]}', "r") == call_evidence({"b": [2], "a": 1}, "r")
    assert call_evidence("not json", "r") == call_evidence("not json", "r")
    assert call_evidence("{}", "r") != call_evidence("{}", "s")


def test_a_digest_takes_whatever_a_tool_gives() -> None:
    results = ["\ud800", {"b": 1, "a": 2}, [1, None], object, b"bytes", 3.5]

    digests = [digest(result) for result in results]

    assert len(set(digests)) == len(results)
    assert all(len(one) == 16 for one in digests)
    assert digest({"a": 2, "b": 1}) == digests[1]


def test_calls_that_were_in_flight_together_are_one_round() -> None:
    repeats = Repeats()

    findings = [repeats.completed("p:c", model="m", began_s=0.0, ended_s=1.0 + number) for number in range(50)]

    assert findings == [None] * 50
    assert len(repeats.completions) == 1


def test_the_same_prompt_with_the_same_answer_is_found_at_the_sixth_round() -> None:
    repeats = Repeats()

    findings = [
        repeats.completed("p:c", model="m", began_s=2.0 * number, ended_s=2.0 * number + 1) for number in range(STOP_AT)
    ]

    assert findings[:-1] == [None] * (STOP_AT - 1)
    assert findings[-1] is not None
    assert (findings[-1].subject, findings[-1].fingerprint) == ("m", "p:c")


def test_a_run_of_many_different_answers_stays_small() -> None:
    repeats = Repeats()

    for number in range(1_000):
        repeats.completed(f"p:{number}", model="m", began_s=2.0 * number, ended_s=2.0 * number + 1)

    assert len(repeats.completions) == WINDOW
    assert len(repeats.last_round_s) <= 4 * WINDOW
