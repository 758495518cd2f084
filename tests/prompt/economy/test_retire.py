from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt.economy.rates import rates

from tokenguard.prompt.economy import Block, CachePrices, Outlook, Retired, retire

FREE = rates(100, 100, marked="none")


def words(text: str) -> int:
    return len(text.split())


def marker(key: str) -> str:
    return f"[tg:{key}]"


def result(number: int, size: int = 1_000) -> Block:
    text = f"row id_{number} " + "word " * (size - 2)
    return Block(words(text), f"call_{number}", text)


def talk(results: int, size: int = 1_000) -> list[Block]:
    """A system prompt, then for each result the agent's words before it."""
    said = [Block(2_000, text="the rules")]
    for number in range(results):
        said += [Block(50, text="let me see"), result(number, size)]
    return said


def ask(blocks: list[Block], prices: CachePrices = FREE, *, sent: int | None = None, **options: Any) -> Retired:
    fields: dict[str, Any] = {"outlook": Outlook(10, certain=True), "count": words, "marker": marker, **options}
    return retire(blocks, sent=len(blocks) - 2 if sent is None else sent, prices=prices, **fields)


def test_old_results_give_way_to_stubs_with_their_names_and_the_newest_five_stay() -> None:
    found = ask(talk(8))

    assert dict(found.stubs) == {f"call_{number}": f"[tg:call_{number}] id_{number}" for number in range(3)}
    assert found.cut
    assert found.cut.removed == 3 * 998


def test_more_may_be_kept_and_never_fewer_than_five() -> None:
    assert list(ask(talk(8), keep=7).stubs) == ["call_0"]
    assert len(ask(talk(8), keep=0).stubs) == 3
    assert ask(talk(5)).stubs == {}
    assert ask([]).stubs == {}


def test_only_what_was_sent_before_is_retired() -> None:
    assert list(ask(talk(8), sent=3).stubs) == ["call_0"]


def test_small_results_and_those_that_a_stub_would_not_shorten_stay() -> None:
    names = " ".join(f"id_{number}" for number in range(40))
    long_marker = {"marker": lambda key: "very " * 120 + key}

    assert ask(talk(8, size=99)).stubs == {}
    assert ask([Block(100, "names", names), *talk(6)], **long_marker).stubs.keys() == {"call_0"}


def test_a_decision_stays_whatever_the_gate_says_later() -> None:
    first = ask(talk(8))

    later = ask(talk(9), rates(known=False), state=json.loads(json.dumps(first.state)))

    assert later.stubs == first.stubs
    assert later.cut is None


def test_the_next_decision_adds_to_the_one_before() -> None:
    first = ask(talk(8))

    second = ask(talk(10), state=first.state)

    assert list(second.stubs)[:3] == list(first.stubs)
    assert len(second.stubs) == 5
    assert all(second.stubs[key] == text for key, text in first.stubs.items())


def test_a_warm_cache_is_not_broken_for_little() -> None:
    assert ask(talk(8), rates(), outlook=Outlook(1)).stubs == {}
    assert len(ask(talk(8), rates(), outlook=Outlook(1, alive_permille=0)).stubs) == 3


def test_a_patient_decision_counts_the_requests_that_carried_what_could_go() -> None:
    state: dict[str, Any] = {}
    decided = []
    for results in range(6, 24):
        found = ask(talk(results, size=3_000), rates(), state=state, outlook=Outlook(40))
        state = json.loads(json.dumps(found.state))
        decided.append(len(found.stubs))

    assert decided[0] == 0
    assert decided[-1] > 3
    assert not set(state["waited"]) & set(state["stubs"])


def test_lost_names_cost_steps() -> None:
    names = " ".join(f"id_{number}" for number in range(1_000))
    blocks = [Block(1_000, "names", names), *talk(6)]

    assert "names" in ask(blocks, outlook=Outlook(10, step_pico=1)).stubs
    assert "names" not in ask(blocks, outlook=Outlook(10, step_pico=10**11)).stubs


def test_names_that_other_messages_show_leave_room_for_those_that_none_shows() -> None:
    names = " ".join(f"id_{number}" for number in range(300))
    blocks = [Block(300, "names", names), Block(70, text=" ".join(f"id_{number}" for number in range(60))), *talk(6)]

    stub = ask(blocks).stubs["names"].split()

    assert stub[1] == "id_60"
    assert len(stub) == 61


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"stubs": 5, "tokens": []},
        {"stubs": {"call_0": 5, "call_1": "x"}, "tokens": {"call_0": 1, "call_1": "many"}, "waited": {"call_2": None}},
        {"stubs": {"call_0": "x"}, "tokens": {"call_0": -1}},
    ],
)
def test_a_state_of_another_shape_counts_as_none(state: dict[str, Any]) -> None:
    assert ask(talk(8), state=state) == ask(talk(8))


@given(
    st.lists(st.integers(20, 5_000), min_size=1, max_size=14),
    st.sampled_from([(125, 10), (100, 50), (100, 100)]),
    st.booleans(),
)
def test_a_sent_byte_changes_only_where_a_cut_is_declared_and_the_newest_results_stay(
    sizes: list[int],
    multipliers: tuple[int, int],
    certain: bool,  # noqa: FBT001
) -> None:
    prices = rates(*multipliers)
    blocks = [Block(1_500, text="the rules")]
    state: dict[str, Any] | None = None
    before: list[str] = []
    for number, size in enumerate(sizes):
        blocks += [Block(40, text="let me see"), result(number, size)]
        outlook = Outlook(max(1, number // 2), certain=certain)
        found = ask(blocks, prices, sent=len(before), state=state, outlook=outlook)
        state = json.loads(json.dumps(found.state))
        sent = [found.stubs.get(block.key or "", block.text) for block in blocks]
        if found.cut is None:
            assert sent[: len(before)] == before
        else:
            assert sent[: len(before)] != before
        assert [block.text for block in blocks if block.key][-5:] == [
            text for block, text in zip(blocks, sent, strict=True) if block.key
        ][-5:]
        before = sent
