"""One run's memory: what it costs, what it counts once, refuses, forgives, writes down and reads back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from loops.talk import TASK, reply, talk, turn, turns

from tokenguard.core.ladder import Loops, Rung
from tokenguard.loops.evidence import FOLDED_PREFIX
from tokenguard.loops.memory import LoopMemory

LOOPS = Loops()


@pytest.fixture
def memory() -> LoopMemory:
    return LoopMemory(key=b"secret")


def repeats(found: Any) -> int:
    return found.repeats if found else 0


def returned(
    memory: LoopMemory, result: Any = "same", arguments: Any = None, *, at: float, loops: Loops = LOOPS, caller: int = 0
) -> int:
    return repeats(
        memory.returned(
            "read", arguments or {"path": "a"}, result, began_s=at, ended_s=at + 0.5, loops=loops, caller=caller
        )
    )


def answered(
    memory: LoopMemory,
    key: str,
    *,
    at: float,
    cost_pico: int = 0,
    call_id: str = "",
    loops: Loops = LOOPS,
    caller: int = 0,
) -> int:
    answer = reply(call_id) if call_id else {"choices": [{"message": {"content": "hm"}}]}
    return repeats(
        memory.answered(
            key, answer, model="gpt", began_s=at, ended_s=at + 0.5, cost_pico=cost_pico, loops=loops, caller=caller
        )
    )


def test_the_same_conversation_sent_again_counts_nothing_twice(memory: LoopMemory) -> None:
    messages = talk(*[turn(at) for at in range(3)])

    assert [repeats(memory.asked(messages, LOOPS)) for _ in range(4)] == [3, 3, 3, 3]


def test_a_conversation_that_is_trimmed_to_its_last_messages_is_counted_whole(memory: LoopMemory) -> None:
    found = [repeats(memory.asked([TASK, *turn(at), *turn(at + 1)], LOOPS)) for at in range(4)]

    assert found == [2, 3, 4, 5]


def test_a_server_that_repeats_its_ids_is_counted_by_place(memory: LoopMemory) -> None:
    rounds = [turn("same") for _ in range(5)]

    found = [repeats(memory.asked(talk(*rounds[:end]), LOOPS)) for end in range(1, 6)]

    assert found == [0, 2, 3, 4, 5]
    assert repeats(memory.asked(talk(*rounds), LOOPS)) == 5


def test_a_server_without_ids_is_counted_by_place(memory: LoopMemory) -> None:
    rounds = [turns("", [("read", None, "same")], ids=[""]) for _ in range(4)]

    assert [repeats(memory.asked(talk(*rounds[:end]), LOOPS)) for end in range(1, 5)] == [0, 2, 3, 4]


def test_repeated_ids_in_a_trimmed_conversation_are_told_apart_by_the_answers(memory: LoopMemory) -> None:
    found = []
    for at in range(4):
        answered(memory, f"a{at}", at=at, call_id="call_0")
        found.append(repeats(memory.asked([TASK, *turns("", [("read", None, "same")], ids=["call_0"])], LOOPS)))

    assert found == [0, 2, 3, 4]


def test_two_conversations_of_one_run_are_each_judged_by_their_own_end(memory: LoopMemory) -> None:
    stuck = talk(*[turn(f"a{at}") for at in range(3)])
    memory.asked(stuck, LOOPS)
    memory.asked(talk(turn("b", "something else", {"n": 1})), LOOPS)

    assert repeats(memory.asked(stuck, LOOPS)) == 3


def test_what_is_written_down_stays_as_it_was(memory: LoopMemory) -> None:
    memory.asked(talk(turn(0)), LOOPS)
    state = memory.dump()
    before = json.dumps(state)

    memory.asked(talk(turn(0), turn(1)), LOOPS)

    assert json.dumps(state) == before


def test_ids_that_moved_because_something_was_inserted_are_still_known(memory: LoopMemory) -> None:
    rounds = [turn(at) for at in range(3)]
    memory.asked(talk(*rounds), LOOPS)

    assert repeats(memory.asked([{"role": "system", "content": "new"}, *talk(*rounds)], LOOPS)) == 3


def test_long_and_strange_ids_are_digested(memory: LoopMemory) -> None:
    rounds = [turn("x" * 100 + str(at)) for at in range(2)] + [turn("ö\x00")]

    assert repeats(memory.asked(talk(*rounds), LOOPS)) == 3
    assert "xxxx" not in json.dumps(memory.dump())


def test_rounds_cost_what_the_calls_cost_that_asked_for_them(memory: LoopMemory) -> None:
    found = None
    for at in range(3):
        answered(memory, f"a{at}", at=at, cost_pico=100 + at, call_id=f"call_{at}_0")
        found = memory.asked(talk(*[turn(one) for one in range(at + 1)]), LOOPS)

    assert found is not None
    assert (found.wasted_pico, found.mean_pico) == (101 + 102, 101)


def test_a_cycles_cost_is_that_of_its_rounds_after_the_first_cycle(memory: LoopMemory) -> None:
    rounds = [turn(at, f"{at % 5}", {"n": at % 5}) for at in range(15)]
    found = None
    for at in range(15):
        answered(memory, f"a{at}", at=at, cost_pico=10, call_id=f"call_{at}_0")
        found = memory.asked(talk(*rounds[: at + 1]), LOOPS)

    assert found is not None
    assert (found.rule, found.repeats, found.wasted_pico, found.mean_pico) == ("cycle", 3, 100, 10)


def test_the_same_prompt_and_completion_is_counted_among_the_last_ten(memory: LoopMemory) -> None:
    found = [answered(memory, "same", at=2 * at) for at in range(4)]

    assert found == [0, 2, 3, 4]
    assert [answered(memory, f"other {at}", at=20 + at) for at in range(10)] == [0] * 10
    assert answered(memory, "same", at=40) == 0


def test_an_answers_finding_names_the_model_and_the_cost(memory: LoopMemory) -> None:
    answered(memory, "same", at=0, cost_pico=7)

    found = memory.answered("same", {}, model="gpt", began_s=2, ended_s=3, cost_pico=9, loops=LOOPS)

    assert found is not None
    assert (found.rule, found.subject, found.source) == ("same_prompt_same_completion", "gpt", "answers")
    assert (found.wasted_pico, found.mean_pico) == (9, 8)


def test_answers_that_were_in_flight_together_are_one(memory: LoopMemory) -> None:
    assert [answered(memory, "same", at=0.1 * at) for at in range(5)] == [0] * 5


def test_answers_count_nothing_where_the_rule_is_off() -> None:
    memory, off = LoopMemory(), Loops(off=["same_prompt_same_completion"])

    assert [answered(memory, "same", at=at, loops=off) for at in range(4)] == [0] * 4


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"choices": [None]},
        {"choices": [{"message": {"tool_calls": 3}}]},
        {"output": [{"type": "function_call", "call_id": "call_0_0", "name": "read", "arguments": "{}"}]},
        {"content": [{"type": "tool_use", "id": "call_0_0", "name": "read", "input": {}}]},
    ],
)
def test_answers_of_every_shape_are_read(memory: LoopMemory, answer: dict[str, Any]) -> None:
    memory.answered("a", answer, model="m", began_s=0, ended_s=1, cost_pico=50, loops=LOOPS)
    memory.asked(talk(turn(0), turn(1)), LOOPS)

    assert next(iter(memory._talks.track.rounds.values())).cost_pico == (
        50 if "tool_use" in str(answer) or "output" in answer else 0
    )


def test_before_a_tool_runs_this_time_is_counted(memory: LoopMemory) -> None:
    arguments = {"path": "a"}
    found = []
    for at in range(4):
        found.append(repeats(memory.calling("read", arguments, LOOPS)))
        returned(memory, at=at)

    assert found == [0, 2, 3, 4]
    assert [
        repeats(memory.calling("read", {"path": "b"}, LOOPS)),
        repeats(memory.calling("list", arguments, LOOPS)),
    ] == [0, 0]


def test_a_tool_whose_result_changed_the_last_time_is_run(memory: LoopMemory) -> None:
    for at, result in enumerate(["same", "same", "same", "new"]):
        returned(memory, result, at=at)

    assert memory.calling("read", {"path": "a"}, LOOPS) is None


def test_a_tool_that_is_stuck_after_a_change_is_found_again(memory: LoopMemory) -> None:
    for at, result in enumerate(["new", "same", "same", "same"]):
        returned(memory, result, at=at)

    assert repeats(memory.calling("read", {"path": "a"}, LOOPS)) == 4


def test_a_tool_that_timed_out_may_be_tried_again(memory: LoopMemory) -> None:
    for at in range(6):
        returned(memory, TimeoutError("read timed out"), at=at)

    assert memory.calling("read", {"path": "a"}, LOOPS) is None


def test_a_tool_that_raises_the_same_again_is_found(memory: LoopMemory) -> None:
    found = [returned(memory, FileNotFoundError("a"), at=at) for at in range(3)]

    assert found == [0, 2, 3]


def test_the_next_call_of_a_cycle_is_found_before_it_runs(memory: LoopMemory) -> None:
    for at in range(12):
        memory.returned("read", {"n": at % 3}, f"text {at % 3}", began_s=at, ended_s=at + 0.5, loops=LOOPS)

    found = memory.calling("read", {"n": 0}, LOOPS)

    assert found is not None
    assert found.repeats >= 4
    assert memory.calling("read", {"n": 7}, LOOPS) is None


def test_a_tool_whose_result_was_folded_is_fetched_again_for_our_reason(memory: LoopMemory) -> None:
    returned(memory, f"{FOLDED_PREFIX}abc]", at=0)

    found = memory.calling("read", {"path": "a"}, LOOPS)

    assert found is not None
    assert found.rule == "refetch"


def test_tools_in_flight_together_are_one_round(memory: LoopMemory) -> None:
    same = [memory.returned("read", {"path": "a"}, "same", began_s=0, ended_s=1 + at, loops=LOOPS) for at in range(5)]
    others = [
        memory.returned("read", {"path": f"{at}"}, "same", began_s=0.5, ended_s=9, loops=LOOPS) for at in range(20)
    ]

    assert [repeats(one) for one in same + others] == [0] * 25
    assert len(memory._tracks["tools"].rounds) == 1
    assert returned(memory, at=10) == 2


def test_a_call_that_overlaps_an_equal_one_of_an_earlier_round_is_not_counted(memory: LoopMemory) -> None:
    memory.returned("read", {"path": "a"}, "same", began_s=0, ended_s=10, loops=LOOPS)
    memory.returned("list", {}, "x", began_s=11, ended_s=12, loops=LOOPS)
    memory._ends_s = dict.fromkeys(memory._ends_s, 20)

    assert memory.returned("read", {"path": "a"}, "same", began_s=15, ended_s=16, loops=LOOPS) is None
    assert len(memory._tracks["tools"].rounds) == 2


def test_an_agent_that_swallows_refusals_reaches_the_stop(memory: LoopMemory) -> None:
    messages = talk(*[turn(at) for at in range(4)])
    rungs = []
    for _ in range(3):
        found = memory.asked(messages, LOOPS)
        assert found is not None
        rungs.append(LOOPS.rung(found.repeats))
        assert memory.refused(found).repeats == found.repeats + 1

    assert rungs == [Rung.BLOCK, Rung.BLOCK, Rung.STOP]


def test_a_refused_tool_is_one_more_repetition(memory: LoopMemory) -> None:
    for at in range(3):
        returned(memory, at=at)
    found = memory.calling("read", {"path": "a"}, LOOPS)
    assert found is not None
    memory.refused(found)

    assert repeats(memory.calling("read", {"path": "a"}, LOOPS)) == 5


def test_another_round_is_progress_and_forgets_the_refusals(memory: LoopMemory) -> None:
    rounds = [turn(at) for at in range(4)]
    found = memory.asked(talk(*rounds), LOOPS)
    assert found is not None
    memory.refused(found)

    memory.asked(talk(*rounds, turn("x", "something else", {"n": 1})), LOOPS)

    assert repeats(memory.asked(talk(*rounds, turn("x", "something else", {"n": 1}), turn("y")), LOOPS)) == 5


def test_another_answer_and_a_word_between_forget_the_refusals(memory: LoopMemory) -> None:
    answered(memory, "same", at=0)
    found = memory.answered("same", {}, model="m", began_s=2, ended_s=3, cost_pico=0, loops=LOOPS)
    assert found is not None
    memory.refused(found)
    assert answered(memory, "same", at=4) == 4

    answered(memory, "other", at=6)

    assert answered(memory, "same", at=8) == 0
    assert answered(memory, "same", at=10) == 2
    said = [TASK, *[{"role": "assistant", "content": "well"}] * 3]
    spoken = memory.asked(said, LOOPS)
    assert spoken is not None
    memory.refused(spoken)
    assert repeats(memory.asked(said, LOOPS)) == 4
    memory.asked([*said, TASK], LOOPS)
    assert repeats(memory.asked(said, LOOPS)) == 3


def test_what_a_person_forgave_is_never_found_again(memory: LoopMemory) -> None:
    rounds = [turn(at) for at in range(6)]
    found = memory.asked(talk(*rounds), LOOPS)
    assert found is not None

    memory.forgive(found.fingerprint)

    assert memory.asked(talk(*rounds), LOOPS) is None
    assert memory.asked(talk(*rounds, turn(7)), LOOPS) is None


def test_forgiving_forgives_what_else_the_run_shows_at_that_time(memory: LoopMemory) -> None:
    rounds = [turn(at, tool="ab"[at % 2]) for at in range(12)]
    found = memory.asked(talk(*rounds), LOOPS)
    assert found is not None
    assert found.rule == "cycle"

    memory.forgive(found.fingerprint)

    assert memory.asked(talk(*rounds), LOOPS) is None


def test_the_same_call_has_the_same_fingerprint_before_a_tool_and_in_the_messages(memory: LoopMemory) -> None:
    returned(memory, at=0)
    before = memory.calling("read", {"path": "a"}, LOOPS)
    after = memory.asked(talk(*[turn(at, arguments='{"path": "a"}') for at in range(2)]), LOOPS)

    assert before is not None
    assert after is not None
    assert before.fingerprint == after.fingerprint


def test_a_polled_tool_is_never_found_in_the_messages() -> None:
    memory = LoopMemory(keys={"read": False})

    assert memory.asked(talk(*[turn(at) for at in range(9)]), LOOPS) is None


@pytest.mark.parametrize("key", [("path",), lambda path, **_: path])
def test_arguments_that_do_not_count_make_no_difference(key: Any) -> None:
    memory = LoopMemory(keys={"read": key})
    rounds = [turn(at, arguments=json.dumps({"path": "a", "salt": f"word {at}"})) for at in range(4)]

    assert repeats(memory.asked(talk(*rounds), LOOPS)) == 4


@pytest.mark.parametrize("key", [("path",), lambda path: path.missing])
def test_a_key_that_does_not_fit_leaves_the_arguments_as_they_are(key: Any) -> None:
    memory = LoopMemory(keys={"read": key})
    rounds = [turn(at, arguments="[1, 2]") for at in range(4)]

    assert repeats(memory.asked(talk(*rounds), LOOPS)) == 4


def test_digests_differ_from_ledger_to_ledger() -> None:
    messages = talk(turn(0), turn(1))

    found = [LoopMemory(key=key).asked(messages, LOOPS) for key in (b"a", b"b")]

    assert found[0] is not None
    assert found[1] is not None
    assert found[0].fingerprint != found[1].fingerprint


def test_writing_down_clears_the_change_and_reading_back_goes_on(memory: LoopMemory) -> None:
    rounds = [turn(at) for at in range(4)]
    memory.asked(talk(*rounds[:3]), LOOPS)
    answered(memory, "same", at=0)
    returned(memory, at=0)
    assert memory.changed

    state = json.loads(json.dumps(memory.dump()))
    assert not memory.changed
    again = LoopMemory.load(state, key=b"secret")

    assert repeats(again.asked(talk(*rounds[:3]), LOOPS)) == 3
    assert repeats(again.asked(talk(*rounds), LOOPS)) == 4
    assert answered(again, "same", at=0) == 2
    assert returned(again, at=0) == 2


def test_nothing_new_is_no_change(memory: LoopMemory) -> None:
    messages = talk(turn(0))
    memory.asked(messages, LOOPS)
    memory.dump()

    memory.asked(messages, LOOPS)

    assert not memory.changed


@pytest.mark.parametrize(
    "part",
    [
        {"by": "another"},
        {"by": None},
        {"rounds": 3},
        {"rounds": {"messages": [["n", 1]], "speech": [], "tools": [], "answers": []}},
        {
            "rounds": {
                "messages": [["n", [1] * 7, [[1, 2, 3, 4, 5, [], 7, 8]]]],
                "speech": [],
                "tools": [],
                "answers": [],
            }
        },
        {"rounds": {"messages": [["n", ["n"] * 7, []]], "speech": [], "tools": [], "answers": []}},
        {"refused": {"messages": {"a": "b"}}},
        {"answers": [[1]]},
        {"stretch": "many"},
        {"voiced": None},
    ],
    ids=["owner", "no owner", "no rounds", "short round", "calls", "names", "refusals", "answers", "count", "words"],
)
def test_a_damaged_or_foreign_state_gives_an_empty_memory(memory: LoopMemory, part: dict[str, Any]) -> None:
    memory.asked(talk(turn(0), turn(1)), LOOPS)

    again = LoopMemory.load({**memory.dump(), **part}, key=b"secret")

    assert again.asked(talk(turn(2)), LOOPS) is None
    assert LoopMemory.load({}, key=b"secret").asked(talk(turn(2)), LOOPS) is None


def test_the_state_is_small_whatever_came() -> None:
    memory = LoopMemory(key=b"k")
    long = {f"argument_{'x' * 200}_{at}": "y" * 500 for at in range(20)}
    for at in range(120):
        calls = [("tool" * 40 + str(n), {**long, "n": n + at}, "z" * 3000) for n in range(30)]
        memory.asked(talk(turns(f"{at}", calls)), LOOPS)
        memory.answered(f"a{at}", reply(f"o{at}"), model="m", began_s=at, ended_s=at, cost_pico=10**15, loops=LOOPS)
        memory.returned("t" * 500, {**long, "n": at}, "z", began_s=at, ended_s=at + 0.1, loops=LOOPS)
        memory.asked([*talk(turns(f"{at}", calls)), {"role": "user", "content": f"word {at}"}], LOOPS)

    assert len(json.dumps(memory.dump())) < 16_000
    assert max(len(track.rounds) for track in memory._tracks.values()) <= 200
    assert len(memory._answers._replies) < 100
