"""Originals and savings: the same in memory, in a file and on a server."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from tokenguard.core.clock import SystemClock
from tokenguard.core.money import Money
from tokenguard.core.recovery import CHARACTERS_MAX, StoredText
from tokenguard.core.savings import Saving
from tokenguard.errors import BadAmount, LedgerConflict
from tokenguard.ledger.memory import MemoryLedger
from tokenguard.testing import CountingIds


def original(desk: Any, text: str = "what a tool gave", **changes: Any) -> StoredText:
    """A text that may be read for a week."""
    until = desk.noon + timedelta(days=changes.pop("days", 7))
    return StoredText(
        marker=changes.pop("marker", "0123456789ab"), root_id="run-1", text=text, at=desk.noon, until=until, **changes
    )


def stored_at(desk: Any, at: datetime) -> StoredText:
    """Another text, kept at that time for a week."""
    return replace(original(desk, "new", marker="ba9876543210"), at=at, until=at + timedelta(days=7))


def saving(desk: Any, saving_id: str = "saving-1", **changes: Any) -> Saving:
    """What one stage saved in two calls."""
    return replace(
        Saving(
            id=saving_id,
            at=desk.noon,
            run_id="run-1",
            root_id="run-1",
            scope="acme",
            agent="writer",
            model="openai/penny",
            stage="json",
            applied=True,
            calls=2,
            results=1,
            tokens_before=100,
            tokens_after=60,
            tokens=80,
            elapsed_us=500,
            estimated_pico=1_000,
            settled_pico=700,
        ),
        **changes,
    )


@pytest.mark.parametrize("text", ["plain", "", "é😀\x00\r\n", "\ud800 half a pair", "x" * 200_000])
def test_an_original_comes_back_as_it_was(ledger: Any, desk: Any, text: str) -> None:
    ledger.store_texts([original(desk, text)])

    assert ledger.find_text("0123456789ab", root_id="run-1") == text
    assert ledger.find_text("0123456789ab", root_id=None) == text


def test_only_its_own_run_tree_and_a_person_may_read_it(ledger: Any, desk: Any) -> None:
    ledger.store_texts([original(desk)])

    assert ledger.find_text("0123456789ab", root_id="run-2") is None
    assert ledger.find_text("ffffffffffff", root_id=None) is None


def test_the_same_text_again_is_kept_once_and_for_the_longer_time(ledger: Any, desk: Any, clock: Any) -> None:
    ledger.store_texts([original(desk, days=7)])
    ledger.store_texts([original(desk, days=30), original(desk, "another", marker="ba9876543210")])
    ledger.store_texts([original(desk, days=1)])
    ledger.store_texts([])

    clock.advance(timedelta(days=20).total_seconds())

    assert ledger.find_text("0123456789ab", root_id="run-1") == "what a tool gave"
    assert ledger.find_text("ba9876543210", root_id="run-1") is None


def test_what_is_over_goes_when_something_is_kept(ledger: Any, desk: Any, clock: Any) -> None:
    ledger.store_texts([original(desk)])
    later = desk.noon + timedelta(days=8)
    clock.advance(timedelta(days=8).total_seconds())

    ledger.store_texts([stored_at(desk, later)])

    # A row that is gone leaves its marker free for another text.
    ledger.store_texts([replace(original(desk, "another text"), at=later, until=later + timedelta(days=7))])
    assert ledger.find_text("0123456789ab", root_id="run-1") == "another text"


def test_a_caller_whose_clock_is_ahead_takes_no_originals_away(ledger: Any, desk: Any, clock: Any) -> None:
    # A server tells its own time, which is long after the noon of these tests.
    on_server = "postgres" in str(getattr(getattr(ledger, "_database", None), "address", ""))
    noon = SystemClock().now() if on_server else desk.noon
    clock.advance((noon - desk.noon).total_seconds())
    ledger.store_texts([replace(original(desk), at=noon, until=noon + timedelta(days=7))])

    ledger.store_texts([stored_at(desk, noon + timedelta(days=400))])

    assert ledger.find_text("0123456789ab", root_id="run-1") == "what a tool gave"


def test_another_text_under_a_marker_is_refused_and_nothing_of_it_is_kept(ledger: Any, desk: Any) -> None:
    ledger.store_texts([original(desk)])

    with pytest.raises(LedgerConflict, match="stands for another text of this run"):
        ledger.store_texts([original(desk, "fine", marker="000000000000"), original(desk, "an impostor")])

    assert ledger.find_text("0123456789ab", root_id="run-1") == "what a tool gave"
    assert ledger.find_text("000000000000", root_id="run-1") is None


def test_how_far_a_run_is_folded_is_what_was_kept_last_until_its_time_is_over(
    ledger: Any, desk: Any, clock: Any
) -> None:
    later = desk.noon + timedelta(days=3)
    ledger.keep_folding("run-1", {"whole_from": None, "retired": {}}, at=desk.noon, until=later)
    ledger.keep_folding("run-1", {"whole_from": 7, "retired": {"é": {}}}, at=desk.noon, until=later)

    assert ledger.folding_of("run-1") == {"whole_from": 7, "retired": {"é": {}}}
    assert ledger.folding_of("run-2") is None
    clock.advance(timedelta(days=3).total_seconds())
    assert ledger.folding_of("run-1") is None


def test_a_text_that_is_too_long_is_refused_with_its_size(desk: Any) -> None:
    with pytest.raises(BadAmount, match="16,000,001 characters"):
        original(desk, "x" * (CHARACTERS_MAX + 1))


def test_savings_add_up_by_every_dimension(ledger: Any, desk: Any) -> None:
    ledger.note_savings(
        [
            saving(desk, "a"),
            saving(desk, "b", stage="text", settled_pico=-300, estimated_pico=10**13, tokens=5),
            saving(desk, "c", run_id="run-2", agent="", model="openai/wide"),
            saving(desk, "d", applied=False, settled_pico=0),
        ]
    )
    ledger.note_savings([])

    stages = ledger.savings()
    assert [(one.name, one.applied, one.settled.pico, one.calls) for one in stages] == [
        ("json", True, 1_400, 4),
        ("text", True, -300, 2),
        ("json", False, 0, 2),
    ]
    assert stages[1].estimated == Money.from_pico(10**13)
    for by in ("model", "agent", "scope", "run"):
        found = [one for one in ledger.savings(by) if one.applied]
        assert sum(one.settled.pico for one in found) == 1_100
        assert sum(one.tokens for one in found) == 165
    assert {one.name for one in ledger.savings("run")} == {"run-1", "run-2"}


def test_the_same_row_again_changes_nothing(ledger: Any, desk: Any) -> None:
    for _ in range(2):
        ledger.note_savings([saving(desk)])

    (found,) = ledger.savings()

    assert (found.calls, found.settled.pico) == (2, 700)


def test_savings_are_told_of_some_runs_and_of_a_time(ledger: Any, desk: Any) -> None:
    for number in range(3):
        at = desk.noon + timedelta(minutes=number)
        ledger.note_savings([saving(desk, f"s{number}", run_id=f"run-{number}", at=at, settled_pico=10**number)])
    first, second = desk.noon + timedelta(minutes=1), desk.noon + timedelta(minutes=2)

    assert [one.name for one in ledger.savings("run", run_ids=["run-0", "run-2"])] == ["run-2", "run-0"]
    assert [one.name for one in ledger.savings("run", since=first, until=second)] == ["run-1"]
    assert ledger.savings("run", run_ids=[]) == ()


def test_books_in_memory_keep_the_last_ten_thousand_rows(desk: Any, clock: Any) -> None:
    ledger = MemoryLedger(clock, CountingIds())

    ledger.note_savings([saving(desk, f"row-{number}", calls=1) for number in range(10_003)])

    assert ledger.savings()[0].calls == 10_000
