"""Old months go, and nothing that anybody is owed goes with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import pytest
import sqlalchemy as sa

from tokenguard.core.books import Kind, Status
from tokenguard.core.budget import Limits
from tokenguard.core.tree import Crowded
from tokenguard.core.verdict import Short
from tokenguard.errors import LedgerConflict, PruneRefused, SettingsError
from tokenguard.ledger import pruning
from tokenguard.ledger.address import Address
from tokenguard.ledger.engine import Database
from tokenguard.ledger.prepare import upgrade
from tokenguard.ledger.pruning import month_named, old_rows, prune, pruned_before

LONG_AGO_S = -1e8
"""A lease that ended years ago: the ledger measures leases by its own clock."""
JAN, FEB, MAR = (datetime(2026, month, 10, 12, tzinfo=UTC) for month in (1, 2, 3))
MARCH = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(params=["file", "server", "default"])
def old_ledger(request: pytest.FixtureRequest, desk: Any, open_sql: Any) -> Any:
    """Three months of calls in a file, in partitions, and in a DEFAULT partition; runs that ended and one that did not.

    Budgets: one per day, one for ever, one per run; a correction, a void, a charge and a call booked after its month.
    """
    if request.param == "file":
        ledger = open_sql(request.getfixturevalue("sqlite"))
    else:
        url = request.getfixturevalue("new_postgres")
        database = Database(Address.of(url), "normal", 10.0)
        upgrade(database)
        database.dispose(forked=False)
        ledger = open_sql(url)
        if request.param == "default":
            ledger._upkeep._months_seen.update((2026, month) for month in range(1, 5))
    for month, at in enumerate((JAN, FEB, MAR)):
        run = f"run-{month}"
        path = (
            desk.scope("scope:acme", usd="5.00", per="day"),
            desk.scope("scope:total", usd="1.00", per="total"),
            desk.scope(f"run:{run}", usd="3.00", calls=90, steps=7),
        )
        ledger.enter(desk.entry(run, at=at, accounts=desk.hold(path[2]).accounts))
        for number in range(3):
            hold = desk.hold(*path, at=at + timedelta(days=number), run=run, agent=f"agent-{number}", lease_s=10**7)
            ledger.reserve(hold, desk.ask(cents=5))
            ledger.settle(hold.id, desk.booking(cents=number + 1, at=hold.at))
        void = desk.hold(*path, at=at, run=run, lease_s=10**7)
        ledger.reserve(void, desk.ask())
        ledger.settle(void.id, desk.void(at=at))
        ledger.charge(desk.hold(*path, at=at, run=run), desk.booking(cents=4, at=at, status=Status.CHARGED))
        lost = desk.hold(*path, at=at, run=run, lease_s=1)
        ledger.reserve(lost, desk.ask(cents=9))
        ledger.renew("owner", [lost.id], LONG_AGO_S)
        ledger.sweep(at + timedelta(seconds=2))
        ledger.settle(lost.id, desk.booking(cents=8, at=at + timedelta(hours=1)))
        ledger.leave(run, outcome="ok", at=at + timedelta(days=9))
    late = desk.hold(path[0], at=MARCH - timedelta(minutes=1), run="run-1", lease_s=10**7)
    ledger.reserve(late, desk.ask(cents=2))
    ledger.settle(late.id, desk.booking(cents=2, at=MARCH + timedelta(minutes=1)))
    return ledger


def balances(ledger: Any) -> list[Any]:
    with ledger._database.engine.connect() as connection:
        return list(connection.execute(sa.text("SELECT id, held, settled, live, cap FROM tg_balance ORDER BY id")))


def count(ledger: Any, table: str) -> int:
    with ledger._database.engine.connect() as connection:
        return connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one()


def test_books_replay_from_their_closing_rows(old_ledger: Any) -> None:
    stood, spent = balances(old_ledger), old_ledger.spend(["day", "agent", "quality"])

    pruned = prune(old_ledger._database, MARCH)

    assert (pruned.transfers, pruned.events) == (2 * (1 + 2 * 3 + 2 + 1 + 3) + 2, 2 * 8 + 1)
    assert old_ledger.verify().findings == ()
    assert balances(old_ledger) == stood
    assert old_ledger.spend(["day", "agent", "quality"]) == spent
    assert (count(old_ledger, "tg_transfer"), count(old_ledger, "tg_spend_event")) == (13, 8)


def test_pruning_month_by_month_is_pruning_at_once(old_ledger: Any) -> None:
    spent = old_ledger.spend(["day", "agent"])

    for before in (datetime(2026, 2, 1, tzinfo=UTC), MARCH, MARCH):
        prune(old_ledger._database, before)

        assert old_ledger.verify().findings == ()
        assert old_ledger.spend(["day", "agent"]) == spent

    assert not old_ledger._database.read(lambda connection: old_rows(connection, MARCH))
    assert old_ledger._database.read(pruned_before) == "2026-03"


def test_an_earlier_month_does_not_take_the_memory_of_a_later_one_back(old_ledger: Any) -> None:
    prune(old_ledger._database, MARCH)
    prune(old_ledger._database, datetime(2026, 2, 1, tzinfo=UTC))

    assert old_ledger._database.read(pruned_before) == "2026-03"


def test_a_cap_for_ever_counts_what_was_pruned(old_ledger: Any, desk: Any) -> None:
    prune(old_ledger._database, MARCH)
    total = desk.scope("scope:total", usd="1.00", per="total")

    fits = old_ledger.reserve(desk.hold(total, at=MAR), desk.ask(cents=46))
    above = old_ledger.reserve(desk.hold(total, at=MAR), desk.ask(cents=1))

    assert not isinstance(fits, Short)
    assert isinstance(above, Short)


def test_dimensions_that_only_events_had_are_named_as_pruned(old_ledger: Any) -> None:
    whole = old_ledger.spend([])[0]

    prune(old_ledger._database, MARCH)

    by_run = old_ledger.spend(["run"])
    assert {row.by[0] for row in by_run} == {"run-2", "(pruned)"}
    assert sum(row.usd.pico for row in by_run) == whole.usd.pico
    assert sum(row.calls for row in by_run) == whole.calls


def test_a_pruned_day_counts_at_its_midnight(old_ledger: Any, desk: Any) -> None:
    noon = datetime(2026, 1, 11, 12, tzinfo=UTC)
    prune(old_ledger._database, MARCH)

    before = old_ledger.spend([], until=noon)[0].usd.pico
    after = old_ledger.spend([], since=noon)[0].usd.pico

    assert before + after == old_ledger.spend([])[0].usd.pico
    assert before == (4 + 8 + 1 + 2) * desk.cent


def test_runs_of_which_nothing_is_left_are_forgotten(old_ledger: Any) -> None:
    prune(old_ledger._database, MARCH)

    assert [one.id for one in old_ledger.runs()] == ["run-2"]
    assert old_ledger.tree("run-0") == ()


def test_an_open_hold_keeps_its_month(old_ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope("scope:acme", usd="5.00", per="day"), at=JAN, lease_s=10**7)
    old_ledger.reserve(hold, desk.ask())
    rows = count(old_ledger, "tg_transfer")

    with pytest.raises(PruneRefused, match="1 holds from before 2026-03 are open") as refused:
        prune(old_ledger._database, MARCH)

    assert refused.value.holds == 1
    assert count(old_ledger, "tg_transfer") == rows
    old_ledger.settle(hold.id, desk.booking(at=JAN))
    assert prune(old_ledger._database, MARCH)
    assert old_ledger.verify().ok


def test_the_truth_about_a_pruned_attempt_comes_too_late(old_ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope("scope:acme", usd="5.00", per="day"), at=JAN, lease_s=1)
    old_ledger.reserve(hold, desk.ask())
    old_ledger.renew("owner", [hold.id], LONG_AGO_S)
    old_ledger.sweep(JAN + timedelta(seconds=2))
    prune(old_ledger._database, MARCH)

    with pytest.raises(LedgerConflict):
        old_ledger.settle(hold.id, desk.booking(at=MAR))

    assert old_ledger.verify().ok


def test_a_changed_closing_row_is_found(old_ledger: Any) -> None:
    prune(old_ledger._database, MARCH)
    with old_ledger._database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE tg_closing SET settled = settled + 1, live = 1, held = 2"))

    assert {one.table for one in old_ledger.verify().findings} == {"balance", "closing"}


def test_a_dry_run_counts_what_would_go(old_ledger: Any) -> None:
    rows = count(old_ledger, "tg_transfer")

    found = old_ledger._database.read(lambda connection: old_rows(connection, MARCH))

    gone = prune(old_ledger._database, MARCH)
    assert (found.transfers, found.events, found.lines, found.partitions) == (
        gone.transfers,
        gone.events,
        gone.lines,
        gone.partitions,
    )
    assert count(old_ledger, "tg_transfer") == rows - found.transfers


def test_progress_is_told(old_ledger: Any) -> None:
    told: list[int] = []

    pruned = prune(old_ledger._database, MARCH, on_progress=told.append)

    assert told == sorted(told)
    assert told[-1] == pruned.transfers


def test_pruning_that_is_interrupted_leaves_books_that_replay_and_goes_on(
    old_ledger: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "_BATCH", 2)
    spent = old_ledger.spend(["day", "agent"])

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune(old_ledger._database, MARCH, on_progress=interrupt)
    halfway = old_ledger.verify().findings, old_ledger.spend(["day", "agent"])
    prune(old_ledger._database, MARCH)

    assert halfway == ((), spent)
    assert (old_ledger.verify().findings, old_ledger.spend(["day", "agent"])) == ((), spent)
    assert count(old_ledger, "tg_transfer") == 13


def test_pruning_beside_writers_and_another_pruning_loses_nothing(
    old_ledger: Any, desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "_BATCH", 2)
    calls = old_ledger.spend([])[0].calls

    def write() -> None:
        for _ in range(20):
            # Also into a month that is being pruned: a machine whose clock is late.
            for at in (MAR, FEB):
                old_ledger.charge(desk.hold(desk.scope("scope:acme", usd="5.00", per="day"), at=at), desk.booking())

    threads = [Thread(target=write) for _ in range(2)]
    threads += [Thread(target=prune, args=(old_ledger._database, MARCH)) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert old_ledger.verify().findings == ()
    assert old_ledger.spend([])[0].calls == calls + 80


@pytest.mark.parametrize("text", ["2026", "2026-13", "2026-3", "0000-01", "last month", ""])
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="is no month"):
        month_named(text)


def test_a_month_that_is_not_over_is_refused_with_the_latest_that_is() -> None:
    with pytest.raises(SettingsError, match=r"not over.*latest that can be pruned is --before 20"):
        month_named("9998-01")


def test_a_month_is_read() -> None:
    assert month_named(" 2026-03 ") == MARCH


def test_slices_of_rolling_windows_from_before_are_no_contradiction(old_ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope("scope:acme", usd="5.00", per="rolling 24h"), at=JAN, lease_s=10**7)
    old_ledger.reserve(hold, desk.ask())
    old_ledger.settle(hold.id, desk.booking(at=JAN))

    prune(old_ledger._database, MARCH)

    assert old_ledger.verify().findings == ()


def begin(ledger: Any, desk: Any, *path: str, owner: str = "owner", ended: datetime | None = None) -> Any:
    """Enter the last of a path of runs in January, with limits of its own; end it where that is said."""
    *_, above, node_id = (None, None, *path)
    entry = desk.entry(
        node_id, above, path[0], at=JAN, path=path, runs=path, limits=Limits(children=1), kind=Kind.AGENT, owner=owner
    )
    verdict = ledger.enter(entry)
    if ended is not None:
        ledger.leave(node_id, outcome="ok", at=ended)
    return verdict


def anchors(ledger: Any) -> list[str]:
    with ledger._database.engine.connect() as connection:
        return list(connection.execute(sa.text("SELECT node_id FROM tg_anchor ORDER BY node_id")).scalars())


def test_limits_of_runs_that_are_over_go_and_those_of_live_runs_stay(old_ledger: Any, desk: Any) -> None:
    begin(old_ledger, desk, "over", ended=JAN)
    begin(old_ledger, desk, "over-late", ended=MAR)
    begin(old_ledger, desk, "stands")
    begin(old_ledger, desk, "stands", "stands-ended", ended=JAN)
    begin(old_ledger, desk, "stands", "stands-ended-late", ended=MAR)
    begin(old_ledger, desk, "stands", "stands-died", owner="boot/other/1/1")
    old_ledger.renew("boot/other/1/1", [], LONG_AGO_S)
    begin(old_ledger, desk, "stands", "stands-lives-below")
    begin(old_ledger, desk, "stands", "stands-lives-below", "stands-lives")
    old_ledger.leave("stands-lives-below", outcome="ok", at=JAN)

    found = old_ledger._database.read(lambda connection: old_rows(connection, MARCH))
    pruned = prune(old_ledger._database, MARCH)
    again = begin(old_ledger, desk, "stands", "stands-lives-below", "stands-lives-too")

    assert anchors(old_ledger) == ["stands", "stands-ended-late", "stands-lives", "stands-lives-below"]
    assert (found.anchors, pruned.anchors) == (4, 4)
    assert again == Crowded("stands", "children", 2, 1)
    assert old_ledger.verify().findings == ()
    assert not prune(old_ledger._database, MARCH)


def test_a_run_that_lives_below_one_that_ended_is_not_forgotten(old_ledger: Any, desk: Any) -> None:
    begin(old_ledger, desk, "above")
    begin(old_ledger, desk, "above", "below")
    old_ledger.leave("above", outcome="ok", at=JAN)

    prune(old_ledger._database, MARCH)

    assert [one.id for one in old_ledger.tree("above")] == ["above", "below"]
    assert anchors(old_ledger) == ["above", "below"]


def test_processes_not_heard_of_since_go_and_those_that_may_live_stay(old_ledger: Any) -> None:
    rows = count(old_ledger, "tg_owner")
    for number in range(3):
        old_ledger.renew(f"boot/gone/{number}/1", [], LONG_AGO_S)
    old_ledger.renew("boot/here/1/1", [], 120.0)

    pruned = prune(old_ledger._database, MARCH)

    assert pruned.owners == 3 + rows
    assert count(old_ledger, "tg_owner") == 1
    assert not prune(old_ledger._database, MARCH)


def test_slices_go_when_no_window_can_hold_them(old_ledger: Any, desk: Any) -> None:
    day, month = (desk.scope(f"scope:{per}", usd="5.00", per=per) for per in ("rolling 24h", "rolling 30d"))
    for at in (JAN, FEB, MARCH - timedelta(hours=1), MAR):
        hold = desk.hold(day, month, at=at, lease_s=10**7)
        old_ledger.reserve(hold, desk.ask(cents=100))
        old_ledger.settle(hold.id, desk.booking(cents=100, at=at))

    found = old_ledger._database.read(lambda connection: old_rows(connection, MARCH))
    pruned = prune(old_ledger._database, MARCH)
    # The month's window still holds what was spent in February; the day's has moved on.
    after = [
        old_ledger.states(desk.hold(one, at=MARCH).accounts, at=MARCH + timedelta(hours=1))[0].settled // desk.cent
        for one in (day, month)
    ]

    assert (found.slices, pruned.slices) == (3, 3)
    assert count(old_ledger, "tg_window_slice") == 5
    assert after == [200, 300]
    assert old_ledger.verify().findings == ()
    assert not prune(old_ledger._database, MARCH)


def test_the_loop_states_of_runs_that_are_over_go_with_them(old_ledger: Any, desk: Any) -> None:
    for node_id, ended in (("over", JAN), ("over-late", MAR), ("stands", None)):
        begin(old_ledger, desk, node_id, ended=ended)
        old_ledger.remember(node_id, {"seen": 3}, JAN)
    old_ledger.remember("never-entered", {"seen": 3}, JAN)

    found = old_ledger._database.read(lambda connection: old_rows(connection, MARCH))
    pruned = prune(old_ledger._database, MARCH)

    left = {one: old_ledger.recall(one) for one in ("over", "over-late", "stands", "never-entered")}
    assert left == {"over": None, "over-late": None, "stands": {"seen": 3}, "never-entered": None}
    assert (found.loop_states, pruned.loop_states) == (3, 3)
    assert not prune(old_ledger._database, MARCH)
