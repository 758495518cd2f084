"""A scripted guard gives the same answers, the same order and, in books of its own, the same ids each time."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

import tokenguard as tg
from tokenguard.core.ids import Ids
from tokenguard.ledger.memory import MemoryLedger
from tokenguard.testing import CountingIds, FakeClock, scripted_guard

HELLO = [{"role": "user", "content": "hello"}]
NAMES = [f"child {number}" for number in range(20)]


@pytest.fixture(params=["memory", "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory" if request.param == "memory" else str(tmp_path / "spend.db")


def test_siblings_that_begin_at_one_instant_are_listed_in_their_order(database: str) -> None:
    with scripted_guard([], database=database) as guard, guard.run("parent") as run:
        for name in NAMES:
            with guard.run(name):
                pass

        receipt = run.receipt()

    assert [child.node.name for child in receipt.children] == NAMES
    assert len({child.node.started_at for child in receipt.children}) == 1


def test_a_receipt_from_books_of_ones_own_is_the_same_each_time() -> None:
    documents = [_receipt().json() for _ in range(2)]

    assert documents[0] == documents[1]
    assert documents[0]["id"].startswith("00000000-")


def _receipt() -> tg.Receipt:
    with scripted_guard(["hi"]) as guard, guard.run("parent") as run:
        guard.completion("openai/gpt-4o-mini", HELLO)
        return run.receipt()


def test_guards_that_share_a_file_share_no_ids(tmp_path: Path) -> None:
    path = str(tmp_path / "spend.db")

    with scripted_guard(["hi"], database=path) as one, scripted_guard(["ho"], database=path) as other:
        with one.run("first") as first:
            one.completion("openai/gpt-4o-mini", HELLO)
        with other.run("second") as second:
            other.completion("openai/gpt-4o-mini", HELLO)
        calls = (first.receipt().calls, second.receipt().calls)

    assert first.id != second.id
    assert calls == (1, 1)


def test_guards_that_share_a_ledger_share_no_ids() -> None:
    ledger = MemoryLedger(FakeClock(), CountingIds())

    with scripted_guard([], ledger=ledger) as one, scripted_guard([], ledger=ledger) as other:
        with one.run("first") as first, other.run("second") as second:
            ids = (first.id, second.id)

    assert ids[0] != ids[1]


def test_ids_of_ones_own_are_used() -> None:
    class Given(CountingIds):
        def new(self) -> str:
            return super().new().replace("7000", "7abc")

    with scripted_guard([], ids=Given()) as guard, guard.run("parent") as run:
        assert "-7abc-" in run.id


@pytest.mark.parametrize("ids", [CountingIds(), CountingIds(shared=True)], ids=["alone", "shared"])
def test_counted_ids_sort_by_their_making_and_look_like_any_other(ids: Ids) -> None:
    made = [ids.new() for _ in range(70_000)]

    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {(len(one), uuid.UUID(one).version, uuid.UUID(one).variant) for one in made[::7_000]} == {
        (36, 7, uuid.RFC_4122)
    }
