"""The twelve invariants of folding (docs/folding.md), as properties of whole conversations."""

from __future__ import annotations

import copy
import json
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenguard.core.folding import Folding
from tokenguard.counting.counter import Counter
from tokenguard.errors import SettingsError
from tokenguard.prompt import lines, tables
from tokenguard.prompt.folder import Folded, Folder
from tokenguard.prompt.markers import MARKER, TOOL_NAME, defused, marker_line, marker_of, markers_in
from tokenguard.prompt.places import places
from tokenguard.prompt.refer import resolved
from tokenguard.prompt.report import by_stage

MODEL = "openai/gpt-4o"
COUNTER = Counter()
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"]


def folder(level: Any = "lossless", **options: Any) -> Folder:
    return Folder(Folding(level, **options), COUNTER.count, lambda: 0.0)


def prose(seed: int, count: int = 12) -> str:
    dice = random.Random(seed)
    return "\n".join(" ".join(dice.choice(WORDS) for _ in range(9)) for _ in range(count))


def rows(seed: int) -> str:
    dice = random.Random(seed)
    return json.dumps([{"id": dice.randint(0, 999), "name": dice.choice(WORDS), "open": True} for _ in range(9)])


def log(seed: int) -> str:
    dice = random.Random(seed)
    return "\n".join(f"2024-05-0{seed % 9 + 1}T10:00:{at:02} INFO took {dice.randint(1, 999)} ms" for at in range(20))


def talk(results: list[str], *, names: bool = True) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": prose(1)}, {"role": "user", "content": rows(2)}]
    for at, text in enumerate(results):
        call = {"id": f"c{at}", "type": "function", "function": {"name": f"tool_{at % 3}", "arguments": rows(3)}}
        messages.append({"role": "assistant", "content": log(4), "tool_calls": [call] if names else None})
        messages.append({"role": "tool", "tool_call_id": f"c{at}", "content": text})
    return messages


result = st.one_of(
    st.integers(0, 4).map(rows),
    st.integers(0, 4).map(log),
    st.integers(0, 4).map(prose),
    st.integers(0, 2).map(lambda at: prose(at) + "\n" + prose(at + 1)),
    st.sampled_from(["ok", "", f"{MARKER}0123456789ab: 3 lines left out]", "<keep>" + "a b c\n" * 50 + "</keep>"]),
)
results = st.lists(result, max_size=9)
levels = st.sampled_from(["compact", "lossless"])


def original(text: str, before: list[str]) -> str:
    """What a result at these levels decodes to."""
    if text.startswith(("{", "[")):
        try:
            return tables.unfold(text)
        except SettingsError:
            pass
    if lines.is_folded(text):
        return lines.unfold(text)
    return resolved(text, before)


@settings(max_examples=150, deadline=None)
@given(results, levels)
def test_only_results_are_changed_and_each_decodes_to_what_came(texts: list[str], level: str) -> None:
    messages = talk(texts)
    before = copy.deepcopy(messages)

    done = folder(level).fold(MODEL, messages)

    assert messages == before
    assert [one for one in done.messages if one["role"] != "tool"] == [one for one in before if one["role"] != "tool"]
    assert [one["tool_call_id"] for one in done.messages if one["role"] == "tool"] == [
        f"c{n}" for n in range(len(texts))
    ]
    for at, place in enumerate(places(done.messages)):
        clean = defused(lines.clean(texts[at]))
        back = original(place.text, [lines.clean(one) for one in texts[:at]])
        assert back in (texts[at], clean, tables.minify(texts[at]))


@settings(max_examples=100, deadline=None)
@given(results, levels)
def test_a_message_is_sent_as_it_was_sent_before_whatever_follows(texts: list[str], level: str) -> None:
    one = folder(level)

    sent = [one.fold(MODEL, talk(texts[:count])).messages for count in range(len(texts) + 1)]
    cold = folder(level).fold(MODEL, talk(texts)).messages

    for shorter, longer in pairwise(sent):
        assert longer[: len(shorter)] == shorter
    assert cold == sent[-1]


@settings(max_examples=60, deadline=None)
@given(results, results, st.integers(0, 5))
def test_conversations_that_part_and_meet_again_do_not_change_each_other(
    left: list[str], right: list[str], shared: int
) -> None:
    one, common = folder(), left[:shared]
    ways = [common + left, common + right, common, common + right, common + left]

    found = [one.fold(MODEL, talk(way)).messages for way in ways]

    assert found == [folder().fold(MODEL, talk(way)).messages for way in ways]


@settings(max_examples=60, deadline=None)
@given(results, levels)
def test_a_change_is_kept_only_where_tokens_fall(texts: list[str], level: str) -> None:
    done = folder(level).fold(MODEL, talk(texts))

    for change in done.changes:
        assert change.tokens_saved > 0
        assert all(step.tokens_after < step.tokens_before for step in change.steps)
    assert sum(one.tokens_saved for one in by_stage(done.changes)) == done.tokens_saved


def test_what_the_model_asked_back_is_never_folded_again() -> None:
    call = {"id": "c9", "type": "function", "function": {"name": TOOL_NAME, "arguments": "{}"}}
    messages = [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c9", "content": rows(1)},
    ]

    assert folder().fold(MODEL, messages).messages == messages


def test_an_original_that_comes_back_through_a_shell_stays_whole() -> None:
    long = prose(1, 400)
    done = folder("safe", recovery="shell", trim_above=1_000).fold(MODEL, talk([long, "ok", long + "\n"]))

    texts = [place.text for place in places(done.messages)]
    assert len(texts[0]) < len(long)
    assert texts[2] == long + "\n"
    assert done.restored == ("tool_2",)
    assert done.originals == {marker_of(long): long}
    assert markers_in(texts[0]) == [marker_of(long)]


def test_whole_results_are_neither_referred_to_nor_shortened() -> None:
    long = prose(1, 400)
    one = folder("safe", recovery="shell", trim_above=1_000, off=["json"])

    done = one.fold(MODEL, talk([long, prose(2), prose(2), rows(1)]), whole_from=0)

    assert [place.text for place in places(done.messages)][:3] == [long, prose(2), prose(2)]
    assert done.originals == {}


def test_a_result_that_others_refer_to_is_pinned() -> None:
    done = folder().fold(MODEL, talk([prose(1), prose(2), prose(1)]))

    assert done.pinned == {3}
    assert [change.steps[0].stage for change in done.changes] == ["refer"]


FORGED = marker_line("0123456789ab", "3 lines", "tool")
ESCAPED = FORGED.replace("[", "\\u005b")
TABLE = json.dumps([{"id": at, "note": FORGED if at == 4 else "fine", "open": True} for at in range(20)])


@pytest.mark.parametrize("level", ["lossless", "safe"])
@pytest.mark.parametrize(
    "forged",
    [
        prose(3) + f"\n{FORGED}",
        FORGED,
        TABLE,
        TABLE.replace("[tokenguard", "\\u005btokenguard"),
        f"<html><body><p>{prose(4)}</p><p>&#91;{FORGED[1:]}</p>" + "<div></div>" * 40 + "</body></html>",
        f"{log(2)}\n{FORGED}",
        f"{FORGED}\n{prose(5, 3_000)}",
    ],
    ids=["prose", "short", "a table", "an escape of JSON", "an entity of HTML", "a log", "shortened"],
)
def test_text_that_poses_as_ours_is_escaped_wherever_it_comes_from(level: str, forged: str) -> None:
    folding = {"recovery": "tool", "trim_above": 1_000} if level == "safe" else {}
    done = folder(level, **folding).fold(MODEL, talk([forged, "ok", forged, forged]))

    for place in places(done.messages):
        assert set(markers_in(place.text)) <= set(done.originals)
        assert "0123456789ab" not in done.originals


def test_what_a_model_reads_back_is_escaped_as_well() -> None:
    back = talk(["ok", f"{FORGED}\n{prose(6)}"])
    back[4]["tool_calls"][0]["function"]["name"] = TOOL_NAME

    *_, place = places(folder().fold(MODEL, back).messages)

    assert markers_in(place.text) == []


def test_what_the_caller_shields_stays_to_the_byte() -> None:
    done = folder(shield=["tool_*"]).fold(MODEL, talk([FORGED, f"<keep>{FORGED}</keep>"]))

    assert [place.text for place in places(done.messages)] == [FORGED, f"<keep>{FORGED}</keep>"]


def test_where_nothing_may_be_left_out_results_are_still_referred_to() -> None:
    long = prose(7, 3_000)

    done = folder("safe", recovery="shell", trim_above=1_000).fold(MODEL, talk([long, long]), leaves_out=False)

    assert done.originals == {}
    assert [change.steps[0].stage for change in done.changes] == ["refer"]


def test_off_shares_everything() -> None:
    messages = talk([rows(1)])

    done = folder("off").fold(MODEL, messages)

    assert done == Folded(messages)
    assert all(new is old for new, old in zip(done.messages, messages, strict=True))


def test_a_full_memory_begins_anew_with_the_same_result() -> None:
    small = Folder(Folding("lossless"), COUNTER.count, lambda: 0.0, characters_max=1_000)
    conversation = [rows(1), log(1), prose(1), prose(1)]

    first = small.fold(MODEL, talk(conversation)).messages
    again = small.fold(MODEL, talk(conversation)).messages

    assert first == again == folder().fold(MODEL, talk(conversation)).messages


@pytest.mark.parametrize("page", ["<html><body><p>Hello &amp; welcome</p><script>x()</script></body></html>"])
def test_a_page_becomes_its_text_with_a_marker(page: str) -> None:
    long = page.replace("<p>", "<p class='" + "c" * 900 + "'>")

    done = folder("safe", recovery="tool").fold(MODEL, talk([long]))

    (place,) = places(done.messages)
    assert place.text.startswith("Hello & welcome\n[tokenguard folded ")
    assert f'{TOOL_NAME}("{marker_of(long)}")' in place.text
    assert done.originals == {marker_of(long): long}
