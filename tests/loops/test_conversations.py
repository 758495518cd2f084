"""Whose evidence is whose: conversations, people, callers, and what each of them cost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from loops.talk import TASK, reply, talk, turn, turns

from tokenguard.core.ladder import Loops
from tokenguard.loops.memory import LoopMemory

LOOPS = Loops()
DONE = {"role": "assistant", "content": "Done."}


@pytest.fixture
def memory() -> LoopMemory:
    return LoopMemory(key=b"secret")


def said(words: str) -> dict[str, Any]:
    return {"role": "user", "content": words}


def asked(memory: LoopMemory, messages: list[dict[str, Any]], loops: Loops = LOOPS) -> int:
    found = memory.asked(messages, loops)
    return found.repeats if found else 0


def answered(
    memory: LoopMemory, at: float, call_id: str = "", *, key: str = "", cost_pico: int = 0, caller: int = 0
) -> int:
    answer = reply(call_id) if call_id else {"choices": [{"message": {"content": "hm"}}]}
    found = memory.answered(
        key or f"a{at}",
        answer,
        LOOPS,
        model="gpt",
        began_s=at,
        ended_s=at + 0.5,
        cost_pico=cost_pico,
        caller=caller,
    )
    return found.repeats if found else 0


def used(memory: LoopMemory, at: float, *, caller: int = 0, result: str = "running") -> int:
    """A guarded tool is called and returns; what was found before it ran."""
    found = memory.calling("status", {}, LOOPS, caller=caller)
    memory.returned("status", {}, result, LOOPS, began_s=at, ended_s=at + 0.5, caller=caller)
    return found.repeats if found else 0


def test_documents_that_each_look_at_the_same_schema_find_nothing(memory: LoopMemory) -> None:
    found = [asked(memory, [said(f"document {at}"), *turn(at, "the schema", {}, "get_schema")]) for at in range(8)]

    assert found == [0] * 8


def test_branches_of_one_prefix_do_not_count_for_each_other(memory: LoopMemory) -> None:
    prefix = [turn(at, f"page {at}", {"n": at}) for at in range(3)]

    assert [asked(memory, talk(*prefix, turn(f"b{at}"))) for at in range(7)] == [0] * 7
    assert asked(memory, talk(*prefix, turn("b3"), turn("c"))) == 2


def test_threads_with_the_same_task_do_not_count_for_each_other(memory: LoopMemory) -> None:
    found = []
    for at in range(8):
        asked(memory, [TASK])
        answered(memory, at, f"call_{at}_0", caller=at)
    for at in range(8):
        found.append(asked(memory, talk(turn(at))))

    assert found == [0] * 8


def test_samples_of_one_task_one_after_the_other_find_nothing(memory: LoopMemory) -> None:
    found = []
    for at in range(8):
        found.append(asked(memory, [TASK]))
        answered(memory, at, f"call_{at}_0")
        found.append(asked(memory, talk(turn(at))))
        answered(memory, at + 0.6)

    assert found == [0] * 16


@pytest.mark.parametrize("ids", ["own", "equal", "constant"])
def test_interleaved_stuck_conversations_are_each_found(memory: LoopMemory, ids: str) -> None:
    def rounds(of: str, end: int) -> list[dict[str, Any]]:
        names = {"own": f"{of}", "equal": "x", "constant": ""}
        built = [
            turns(f"{names[ids]}{at if ids != 'constant' else ''}", [("read", {"of": of}, of)]) for at in range(end)
        ]
        return [said(of), *(message for one in built for message in one)]

    found = [[asked(memory, rounds(of, end)) for of in "abcd"] for end in range(1, 6)]

    assert found == [[0] * 4, [2] * 4, [3] * 4, [4] * 4, [5] * 4]


def test_two_hand_written_histories_with_equal_ids_are_not_added_together(memory: LoopMemory) -> None:
    first = [said("a"), *turn(0, "same"), *turn(1, "same")]
    second = [said("b"), *turn(0, "other", {"n": 1}), *turn(1, "same"), *turn(2, "same")]

    assert [asked(memory, first), asked(memory, second), asked(memory, first)] == [2, 2, 2]
    assert asked(memory, [*first, *turn(2, "same")]) == 3


def test_a_window_of_one_round_is_counted_by_its_callers_answers(memory: LoopMemory) -> None:
    found = [asked(memory, [TASK])]
    for at in range(4):
        answered(memory, at, f"call_{at}_0")
        found.append(asked(memory, [TASK, *turn(at)]))

    assert found == [0, 0, 2, 3, 4]


def test_constant_ids_in_a_window_of_two_rounds_are_counted_by_the_answers(memory: LoopMemory) -> None:
    found = [asked(memory, [TASK])]
    rounds = [turns("", [("read", None, "same")], ids=["x"]) for _ in range(5)]
    for end in range(1, 6):
        answered(memory, end, "x")
        found.append(asked(memory, talk(*rounds[max(0, end - 2) : end])))

    assert found == [0, 0, 2, 3, 4, 5]


def test_results_that_were_shortened_since_are_still_the_same_rounds(memory: LoopMemory) -> None:
    found = []
    for end in range(1, 5):
        rounds = [turn(at, "[cleared]" if at < end - 1 else "same") for at in range(end)]
        found.append(asked(memory, talk(*rounds)))

    assert found == [0, 2, 3, 4]


def test_a_person_who_asks_anew_ends_the_streak(memory: LoopMemory) -> None:
    messages: list[dict[str, Any]] = []
    found = []
    for at in range(6):
        messages = [*messages, said(f"status, please ({at})?")]
        found.append(asked(memory, messages))
        found.append(used(memory, at))
        messages = [*messages, *turn(at, "running", {}, "status")]
        found.append(asked(memory, messages))
        messages = [*messages, DONE]

    assert found == [0] * 18


def test_the_same_words_after_each_answer_are_a_frameworks(memory: LoopMemory) -> None:
    messages = [TASK]
    found = []
    for at in range(6):
        messages = [*messages, *turn(at)]
        found.append(asked(memory, messages))
        messages = [*messages, DONE, said("go on")]

    assert found == [0, 0, 2, 3, 4, 5]


def test_a_loop_after_new_words_is_found(memory: LoopMemory) -> None:
    messages = [*talk(turn(0), turn(1)), DONE, said("and now?")]
    asked(memory, messages)

    found = [asked(memory, [*messages, *[one for at in range(2, end) for one in turn(at)]]) for end in range(3, 7)]

    assert found == [0, 2, 3, 4]


def test_a_tool_counts_for_the_caller_that_runs_it(memory: LoopMemory) -> None:
    assert [used(memory, at, caller=at) for at in range(8)] == [0] * 8
    assert [used(memory, 10 + at, caller=3) for at in range(3)] == [2, 3, 4]


def test_a_tool_that_is_called_once_a_subtask_is_run(memory: LoopMemory) -> None:
    found = []
    for at in range(8):
        task = [said(f"subtask {at}")]
        found.append(asked(memory, task))
        answered(memory, at, f"call_{at}_0")
        found.append(used(memory, at))
        found.append(asked(memory, [*task, *turn(at, "running", {}, "status")]))

    assert found == [0] * 24


def test_a_tool_that_is_stuck_in_one_conversation_is_found(memory: LoopMemory) -> None:
    found = []
    for at in range(5):
        asked(memory, talk(*[turn(one, f"page {one}", {"n": one}) for one in range(at)]))
        found.append(used(memory, at))

    assert found == [0, 2, 3, 4, 5]


def test_tools_of_a_process_that_died_belong_to_any_caller(memory: LoopMemory) -> None:
    assert [used(memory, at, caller=1) for at in range(2)] == [0, 2]

    again = LoopMemory.load(memory.dump(), key=b"secret")

    assert used(again, 0, caller=2) == 3


def test_refusals_of_one_caller_do_not_count_for_another(memory: LoopMemory) -> None:
    for caller in (1, 2):
        for at in range(3):
            used(memory, 10 * caller + at, caller=caller)
    found = memory.calling("status", {}, LOOPS, caller=1)
    assert found is not None

    memory.refused(found)

    counts = [memory.calling("status", {}, LOOPS, caller=caller) for caller in (1, 2)]
    assert [one.repeats for one in counts if one] == [5, 4]
    again = LoopMemory.load(memory.dump(), key=b"secret").calling("status", {}, LOOPS, caller=9)
    assert again is not None
    assert again.repeats > 4


def test_progress_of_one_conversation_leaves_the_refusals_of_another(memory: LoopMemory) -> None:
    stuck = [said("a"), *[one for at in range(4) for one in turn(f"a{at}")]]
    found = memory.asked(stuck, LOOPS)
    assert found is not None
    memory.refused(found)

    asked(memory, [said("b"), *turn("b", "new", {"n": 1})])

    assert asked(memory, stuck) == 5


def test_equal_answers_scattered_in_a_batch_are_chance(memory: LoopMemory) -> None:
    keys = ["spam", "a", "b", "spam", "c", "d", "spam", "e", "spam"]

    assert [answered(memory, at, key=key) for at, key in enumerate(keys)] == [0] * 9


def test_equal_answers_in_turns_are_found(memory: LoopMemory) -> None:
    assert [answered(memory, at, key="ab"[at % 2]) for at in range(8)] == [0, 0, 0, 2, 3, 3, 4, 4]


def test_answers_count_for_their_caller(memory: LoopMemory) -> None:
    assert [answered(memory, at, key="same", caller=at) for at in range(6)] == [0] * 6


def test_the_window_and_what_is_off_are_those_of_the_call(memory: LoopMemory) -> None:
    rounds = [turn(at) for at in range(3)] + [turn(f"x{at}", f"line {at}", {"n": at}) for at in range(20)] + [turn(99)]
    wide = Loops(window=50)
    messages = talk(*rounds)

    assert asked(memory, messages) == 0
    assert asked(memory, messages, wide) == 4
    assert asked(memory, messages) == 0
    assert asked(memory, talk(*rounds[:3]), Loops(off=["same_call_same_result"])) == 0
    assert asked(memory, talk(*rounds[:3])) == 3


def test_each_cent_is_attributed_once_whichever_rule_sees_it(memory: LoopMemory) -> None:
    told = []
    for at in range(30):
        answered(memory, at, f"call_{at}_0", cost_pico=100)
        found = memory.asked(talk(*[turn(one, tool="ab"[one % 2]) for one in range(at + 1)]), LOOPS)
        told.append(memory.attribute(found) if found else 0)

    assert sum(told) == 28 * 100, "all but the first of each"
    assert memory.asked(talk(*[turn(one, tool="ab"[one % 2]) for one in range(30)]), LOOPS) is not None
    assert max(told) <= 200


def test_an_answer_and_the_round_it_asked_for_are_one(memory: LoopMemory) -> None:
    total = 0
    for at in range(4):
        found = [
            memory.answered(
                "same", reply(f"call_{at}_0"), LOOPS, model="m", began_s=at, ended_s=at + 0.5, cost_pico=10
            ),
            memory.asked(talk(*[turn(one) for one in range(at + 1)]), LOOPS),
        ]
        total += sum(memory.attribute(one) for one in found if one)

    assert total == 30


def test_what_was_attributed_stays_so_after_a_restart(memory: LoopMemory) -> None:
    for at in range(4):
        answered(memory, at, f"call_{at}_0", cost_pico=10)
        asked(memory, talk(*[turn(one) for one in range(at + 1)]))
    messages = talk(*[turn(one) for one in range(4)])
    fresh = LoopMemory.load(json.loads(json.dumps(memory.dump())), key=b"secret")
    before = fresh.asked(messages, LOOPS)
    assert before is not None
    assert fresh.attribute(before) == 30

    again = LoopMemory.load(json.loads(json.dumps(fresh.dump())), key=b"secret")

    found = again.asked(messages, LOOPS)
    assert found is not None
    assert (again.attribute(found), found.wasted_pico) == (0, 30)


def item(at: int, result: str = "same") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": f"f{at}", "output": result}


def output(at: int) -> dict[str, Any]:
    return {"output": [{"type": "function_call", "call_id": f"f{at}", "name": "read", "arguments": '{"path": "a"}'}]}


def heard(memory: LoopMemory, at: int, caller: int = 0) -> None:
    memory.answered(f"a{at}", output(at), LOOPS, model="m", began_s=at, ended_s=at + 0.5, cost_pico=10, caller=caller)


@pytest.mark.parametrize("restart_at", [None, 2])
def test_results_alone_are_completed_from_the_answers(memory: LoopMemory, restart_at: int | None) -> None:
    found: list[Any] = [memory.asked([said("fix it")], LOOPS)]
    for at in range(4):
        heard(memory, at)
        if at == restart_at:
            memory = LoopMemory.load(json.loads(json.dumps(memory.dump())), key=b"secret")
        found.append(memory.asked([item(at)], LOOPS))

    assert [one.repeats if one else 0 for one in found[:4]] == [0, 0, 2, 3]
    assert found[3].subject == "read"
    assert found[3].wasted_pico == 20
    assert memory.asked([item(99)], LOOPS) is None


def test_results_alone_of_different_callers_are_not_added_together(memory: LoopMemory) -> None:
    for at in range(6):
        memory.asked([said(f"document {at}")], LOOPS)
        heard(memory, at, caller=at)

    assert [asked(memory, [item(at)]) for at in range(6)] == [0] * 6


@pytest.mark.parametrize("restart_at", [None, 2])
def test_an_answer_that_names_the_one_before_is_joined_to_it(memory: LoopMemory, restart_at: int | None) -> None:
    found = []
    for at in range(4):
        for of in "ab":
            memory.asked([said(f"{of} {at}")], LOOPS)
            named = {"id": f"resp_{of}{at}", "previous_response_id": f"resp_{of}{at - 1}" if at else None}
            call = {"type": "function_call", "call_id": f"{of}{at}", "name": "read", "arguments": "{}"}
            answer = {**named, "output": [call]}
            memory.answered(f"{of}{at}", answer, LOOPS, model="m", began_s=at, ended_s=at + 0.5, cost_pico=10)
        if at == restart_at:
            memory = LoopMemory.load(json.loads(json.dumps(memory.dump())), key=b"secret")
        found += [
            asked(memory, [{"type": "function_call_output", "call_id": f"{of}{at}", "output": "same"}]) for of in "ab"
        ]

    assert found == [0, 0, 2, 2, 3, 3, 4, 4]


def test_conversations_in_turns_with_equal_ids_are_told_apart_by_what_came_before(memory: LoopMemory) -> None:
    first = [turn(0, "a", {"n": 1}), turn(1), turn(2), turn(3)]
    second = [turn(at) for at in range(4)]
    found = []
    for at in range(4):
        for rounds in (first, second):
            answered(memory, 2 * at, f"call_{at}_0")
            found.append(asked(memory, talk(*rounds[: at + 1])))

    assert found == [0, 0, 0, 2, 2, 3, 3, 4]


def test_many_conversations_are_kept_and_written_small(memory: LoopMemory) -> None:
    for at in range(60):
        for of in range(4):
            asked(memory, [said(f"{of}"), *[m for n in range(at + 1) for m in turn(f"{of}_{n}", f"{n}", {"n": n})]])

    assert len(memory._tracks["messages"].rounds) <= 200
    assert len(json.dumps(memory.dump())) < 16_000


def test_forgiving_one_conversation_leaves_another_as_it_is(memory: LoopMemory) -> None:
    first = [said("a"), *[one for at in range(6) for one in turn(f"a{at}")]]
    second = [said("b"), *[one for at in range(3) for one in turn(f"b{at}", "else", {"n": 1})]]
    found = memory.asked(first, LOOPS)
    asked(memory, second)
    assert found is not None

    memory.forgive(found.fingerprint)

    assert (asked(memory, first), asked(memory, second)) == (0, 3)


def test_the_lock_is_renewed_in_a_forked_child(memory: LoopMemory) -> None:
    before = memory.lock

    memory.renew_lock()

    assert memory.lock is not before
