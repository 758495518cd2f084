"""Pruning what the books keep of prompts: originals go when their time is over, savings become sums of days."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tokenguard.core.recovery import StoredText
from tokenguard.core.savings import Saving
from tokenguard.ledger.pruning import old_rows, prune
from tokenguard.testing import CountingIds

FEB, MARCH = datetime(2020, 2, 10, 9, tzinfo=UTC), datetime(2020, 3, 1, tzinfo=UTC)
IDS = CountingIds()


@pytest.fixture(params=["sqlite", "new_postgres"])
def books(request: pytest.FixtureRequest, open_sql: Any) -> Any:
    from tokenguard.ledger.address import Address  # noqa: PLC0415
    from tokenguard.ledger.engine import Database  # noqa: PLC0415
    from tokenguard.ledger.prepare import upgrade  # noqa: PLC0415

    url = request.getfixturevalue(request.param)
    database = Database(Address.of(url), "normal", 10.0)
    upgrade(database)
    database.dispose(forked=False)
    return open_sql(url)


def saving(at: datetime, run_id: str, **changes: Any) -> Saving:
    given: dict[str, Any] = {
        "id": IDS.new(),
        "at": at,
        "run_id": run_id,
        "root_id": run_id,
        "scope": "acme",
        "agent": "writer",
        "model": "openai/penny",
        "stage": "json",
        "applied": True,
        "calls": 2,
        "results": 1,
        "tokens_before": 100,
        "tokens_after": 60,
        "tokens": 80,
        "elapsed_us": 5,
        "estimated_pico": 10**15,
        "settled_pico": 700,
    }
    return Saving(**{**given, **changes})


def test_old_savings_become_sums_of_days_and_reports_say_the_same(books: Any) -> None:
    late = FEB + timedelta(hours=14)
    rows = [
        saving(FEB, "run-1"),
        saving(late, "run-2", settled_pico=-900),
        saving(FEB, "run-2", applied=False),
        saving(FEB + timedelta(days=1), "run-1", stage="text"),
        saving(MARCH, "run-3"),
    ]
    books.note_savings(rows)
    asked: list[dict[str, Any]] = [
        {},
        {"until": MARCH},
        {"since": FEB.replace(hour=0), "until": FEB.replace(day=11, hour=0)},
    ]
    before = [books.savings("stage", **one) for one in asked]

    found = books._database.read(lambda connection: old_rows(connection, MARCH))
    gone = prune(books._database, MARCH)
    again = prune(books._database, MARCH)

    assert [books.savings("stage", **one) for one in asked] == before
    assert (found.savings, gone.savings, again.savings) == (4, 4, 0)
    assert {one.name for one in books.savings("run")} == {"(pruned)", "run-3"}
    assert books.savings("run", run_ids=["run-3"])[0].calls == 2


def test_savings_that_come_late_are_added_to_their_day(books: Any) -> None:
    books.note_savings([saving(FEB, "run-1")])
    prune(books._database, MARCH)
    books.note_savings([saving(FEB, "run-1")])
    prune(books._database, MARCH)

    (found,) = books.savings()

    assert (found.calls, found.tokens) == (4, 160)


def test_what_nobody_may_read_any_more_goes(books: Any, clock: Any, desk: Any) -> None:
    clock.advance((FEB - desk.noon).total_seconds())
    for marker, until in (("a" * 12, MARCH - timedelta(days=1)), ("b" * 12, MARCH + timedelta(days=1))):
        books.store_texts([StoredText(marker, "run-1", marker, FEB, until)])
        books.keep_folding(f"run-{marker[0]}", {"whole_from": 1}, at=FEB, until=until)

    gone = prune(books._database, MARCH)

    assert (gone.originals, gone.fold_states) == (1, 1)
    assert books.find_text("a" * 12, root_id=None) is None
    assert books.find_text("b" * 12, root_id=None) == "b" * 12
    assert books.folding_of("run-b") == {"whole_from": 1}
    assert bool(gone)


def test_two_prunings_beside_a_writer_count_every_saving_once(books: Any) -> None:
    books.note_savings([saving(FEB + timedelta(minutes=minute), f"run-{minute}") for minute in range(200)])

    def write() -> None:
        for number in range(50):
            books.note_savings([saving(FEB, f"late-{number}")])

    with ThreadPoolExecutor(3) as workers:
        acts = [workers.submit(prune, books._database, MARCH) for _ in range(2)] + [workers.submit(write)]
        for act in acts:
            act.result()
    prune(books._database, MARCH)

    (found,) = books.savings()
    assert (found.calls, found.tokens) == (2 * 250, 80 * 250)
