"""Adjustments in a database: facts are only added, threads and servers queue, and pruned months stay closed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from time import sleep
from typing import Any

import pytest
import sqlalchemy as sa

from tokenguard.core.adjusting import Adjustment, Adjusts
from tokenguard.core.books import GuardEvent
from tokenguard.core.money import Money
from tokenguard.errors import AdjustRefused, LedgerConflict
from tokenguard.ledger import adjusting, settling
from tokenguard.ledger.pruning import prune
from tokenguard.ledger.tx import Tx

LEDGER_FACTS = ("tg_transfer", "tg_spend_event", "tg_spend_line", "tg_rollup_delta", "tg_guard_event")
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
APRIL = datetime(2026, 4, 1, tzinfo=UTC)


def refund(hold: Any, desk: Any, cents: int = 1, **changes: Any) -> Adjustment:
    asked = {"id": "refund-1", "attempt_id": hold.id, "kind": Adjusts.REFUND, "usd_pico": cents * desk.cent}
    said = {"why": "an outage was credited", "by": "ada", "at": desk.noon + timedelta(days=3)}
    return Adjustment(**{**asked, **said, **changes})


def settled(ledger: Any, desk: Any, cents: int = 4, **changes: Any) -> Any:
    hold = desk.hold(desk.scope(usd="9.00", per="day"), desk.scope("scope:b", usd="9", per="rolling 24h"), **changes)
    ledger.reserve(hold, desk.ask(cents=9))
    ledger.settle(hold.id, desk.booking(cents=cents))
    return hold


def lost(ledger: Any, desk: Any, cents: int = 4) -> Any:
    hold = desk.hold(desk.scope(usd="9.00", per="day"), desk.scope("scope:b", usd="9.00"))
    ledger.reserve(hold, desk.ask(cents=cents))
    ledger.sweep(desk.noon + timedelta(hours=1))
    return hold


def rows(ledger: Any, table: str) -> set[str]:
    with ledger._database.engine.connect() as connection:
        return {repr(tuple(one)) for one in connection.execute(sa.text(f"SELECT * FROM {table}"))}


def test_an_adjustment_only_adds_rows(sql_ledger: Any, desk: Any) -> None:
    hold = settled(sql_ledger, desk)
    before = {table: rows(sql_ledger, table) for table in LEDGER_FACTS}

    sql_ledger.adjust(refund(hold, desk, cents=3))

    after = {table: rows(sql_ledger, table) for table in LEDGER_FACTS}
    assert all(before[table] <= after[table] for table in LEDGER_FACTS)
    assert {table: len(after[table]) - len(before[table]) for table in LEDGER_FACTS} == {
        "tg_transfer": 1,
        "tg_spend_event": 2,
        "tg_spend_line": 4,
        "tg_rollup_delta": 2,
        "tg_guard_event": 1,
    }


def test_the_row_that_takes_an_event_back_turns_every_sum(sql_ledger: Any, desk: Any) -> None:
    sql_ledger.enter(desk.entry("run-1"))
    hold = desk.hold()
    sql_ledger.reserve(hold, desk.ask())
    sql_ledger.settle(hold.id, desk.booking(cents=4, stated_pico=4 * desk.cent, computed_pico=4 * desk.cent))

    sql_ledger.adjust(refund(hold, desk, cents=3))

    first, back, now = sql_ledger.events_of("run-1")
    assert [one.revision for one in (first, back, now)] == [1, 2, 3]
    assert (back.booking.stated_pico, back.booking.computed_pico) == (-4 * desk.cent, -4 * desk.cent)
    assert [(one.meter, -one.quantity, one.rate_pico, -one.amount_pico) for one in back.booking.lines] == [
        (one.meter, one.quantity, one.rate_pico, one.amount_pico) for one in first.booking.lines
    ]
    assert (back.input_tokens, back.output_tokens, back.booking.usage) == (-60, -40, None)
    assert (now.booking.amounts.usd_pico, now.booking.lines, now.booking.usage) == (
        desk.cent,
        first.booking.lines,
        first.booking.usage,
    )
    assert now.booking.note == "$0.0300 refunded, booked by ada: an outage was credited"
    assert (now.booking.at, now.booked_at) == (desk.noon, desk.noon + timedelta(days=3))


def test_a_correction_keeps_our_own_price_beside_the_providers(sql_ledger: Any, desk: Any) -> None:
    sql_ledger.enter(desk.entry("run-1"))
    hold = desk.hold()
    sql_ledger.reserve(hold, desk.ask())
    sql_ledger.settle(hold.id, desk.booking(cents=4))

    sql_ledger.adjust(refund(hold, desk, cents=6, kind=Adjusts.CORRECTION))

    now = sql_ledger.events_of("run-1")[-1].booking
    assert (now.amounts.usd_pico, now.stated_pico, now.computed_pico) == (6 * desk.cent, 6 * desk.cent, 4 * desk.cent)
    assert now.overrun
    assert sql_ledger.verify().findings == ()


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("UPDATE tg_spend_event SET usd_pico = usd_pico + 1 WHERE revision = 3", "spend_event"),
        ("UPDATE tg_spend_event SET computed_pico = 1 WHERE revision = 2", "spend_event"),
        ("DELETE FROM tg_spend_event WHERE revision = 2", "spend_event"),
        ("DELETE FROM tg_spend_line WHERE revision = 2 AND position = 1", "spend_event"),
        ("DELETE FROM tg_transfer WHERE phase = 3", "balance"),
        ("DELETE FROM tg_rollup_delta WHERE revision = 3", "rollup"),
        ("UPDATE tg_window_slice SET settled = settled + 1", "window_slice"),
    ],
)
def test_an_adjustment_that_somebody_changed_is_found(sql_ledger: Any, desk: Any, statement: str, table: str) -> None:
    sql_ledger.adjust(refund(settled(sql_ledger, desk), desk, cents=3))
    honest = sql_ledger.verify()

    with sql_ledger._database.engine.begin() as connection:
        connection.execute(sa.text(statement))

    assert honest.ok
    assert table in {one.table for one in sql_ledger.verify().findings}


def test_an_id_that_names_another_act_is_a_conflict(sql_ledger: Any, desk: Any) -> None:
    hold = settled(sql_ledger, desk)
    sql_ledger.record(GuardEvent("refund-1", desk.noon, "resumed", None, None, "ada resumed it.", {}))

    with pytest.raises(LedgerConflict, match="known as nothing"):
        sql_ledger.adjust(refund(hold, desk))

    assert sql_ledger.spend([])[0].usd == Money("0.04")


def test_an_attempt_takes_no_more_adjustments_than_its_rows_can_count(
    sql_ledger: Any, desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adjusting, "PHASES_MAX", 4)
    hold = settled(sql_ledger, desk)
    for number in range(2):
        sql_ledger.adjust(refund(hold, desk, id=f"refund-{number}"))

    with pytest.raises(AdjustRefused, match="the books take no more") as caught:
        sql_ledger.adjust(refund(hold, desk, id="one-too-many"))

    assert (caught.value.reason, caught.value.count) == ("too_many", 4)


# ---- at once -------------------------------------------------------------------------------------------------------


def test_one_refund_from_many_threads_is_booked_once(ledger: Any, desk: Any) -> None:
    hold = settled(ledger, desk)

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: ledger.adjust(refund(hold, desk, cents=1)), range(16)))

    assert sum(not one.duplicate for one in done) == 1
    assert ledger.states(hold.accounts, desk.noon)[0].settled == 3 * desk.cent


def test_refunds_at_once_never_give_back_more_than_was_booked(ledger: Any, desk: Any) -> None:
    hold = settled(ledger, desk, cents=4)

    def one(number: int) -> bool:
        try:
            return not ledger.adjust(refund(hold, desk, cents=1, id=f"refund-{number}")).duplicate
        except AdjustRefused:
            return False

    with ThreadPoolExecutor(8) as pool:
        booked = sum(pool.map(one, range(16)))

    assert booked == 4
    assert [state.settled for state in ledger.states(hold.accounts, desk.noon)] == [0, 0]


def test_a_late_settlement_and_refunds_at_once_never_credit_twice(ledger: Any, desk: Any) -> None:
    holds = [lost(ledger, desk, cents=4) for _ in range(8)]

    def act(place: int) -> bool:
        hold, settles = holds[place % 8], place % 3 == 0
        try:
            if settles:
                return ledger.settle(hold.id, desk.booking(cents=3)).late
            return not ledger.adjust(refund(hold, desk, cents=4, id=f"refund-{place}")).duplicate
        except AdjustRefused:
            return False

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(act, range(48)))

    for hold in holds:
        assert ledger.settle(hold.id, desk.booking(cents=3)).late
    # Who was settled before the last refund fit was refunded nothing: 4 are more than the 3 that it truly cost.
    assert [state.settled for state in ledger.states(holds[0].accounts, desk.noon)] == [24 * desk.cent] * 2
    inner = getattr(ledger, "inner", ledger)
    assert not hasattr(inner, "verify") or inner.verify().findings == ()


def test_a_refund_waits_for_the_settlement_that_is_under_way(open_sql: Any, postgres: str, desk: Any) -> None:
    first, second = open_sql(postgres), open_sql(postgres)
    hold = desk.hold(desk.scope(usd="1.00"))
    first.reserve(hold, desk.ask(cents=4))

    with ThreadPoolExecutor(1) as pool:

        def settle(tx: Tx) -> Any:
            settling.settle(tx, hold.id, desk.booking(cents=4))
            refunding = pool.submit(second.adjust, refund(hold, desk, cents=1))
            while not _waiting(postgres):
                sleep(0.01)
            return refunding

        done = first._database.transact(settle).result()

    assert (done.before, done.after) == (Money("0.04"), Money("0.03"))


def _waiting(server: str) -> int:
    engine = sa.create_engine(server.replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.connect() as connection:
        count = int(connection.execute(sa.text(WAITING)).scalar_one())
    engine.dispose()
    return count


# ---- pruned, away --------------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "server"])
def own_ledger(request: pytest.FixtureRequest, open_sql: Any) -> Any:
    """A ledger whose tables nobody shares."""
    found = request.getfixturevalue(request.param)
    return open_sql(found) if request.param == "sqlite" else found


def test_an_adjusted_month_is_pruned_with_its_adjustments_and_closed(own_ledger: Any, desk: Any) -> None:
    hold = settled(own_ledger, desk)
    own_ledger.adjust(refund(hold, desk, cents=3))
    # Slices of a rolling window that is over are pruned too: it is looked at where it counts.
    stood, spent = own_ledger.states(hold.accounts, APRIL), own_ledger.spend(["day", "agent", "quality"])

    prune(own_ledger._database, APRIL)

    assert own_ledger.verify().findings == ()
    assert own_ledger.states(hold.accounts, APRIL) == stood
    assert own_ledger.spend(["day", "agent", "quality"]) == spent
    assert own_ledger.adjust(refund(hold, desk, cents=3)).duplicate
    with pytest.raises(AdjustRefused, match=r"from before 2026-04 were pruned\. Such a month is closed") as caught:
        own_ledger.adjust(refund(hold, desk, cents=1, id="refund-2"))
    assert (caught.value.reason, caught.value.pruned_before) == ("pruned", "2026-04")
