"""Books that somebody changed behind our back: a call that would build on them is refused and writes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from tokenguard.core.verdict import Grant
from tokenguard.errors import LedgerInvariant


def tamper(ledger: Any, statement: str) -> None:
    with ledger._database.engine.begin() as connection:
        connection.execute(sa.text(statement))


@pytest.fixture
def held(sql_ledger: Any, desk: Any) -> Any:
    """A hold of one cent on one balance."""
    hold = desk.hold(desk.scope(usd="1.00"))
    sql_ledger.reserve(hold, desk.ask())
    return hold


def test_a_hold_whose_balance_is_gone_is_neither_granted_again_nor_settled(
    sql_ledger: Any, held: Any, desk: Any
) -> None:
    tamper(sql_ledger, "DELETE FROM tg_balance")

    with pytest.raises(LedgerInvariant, match="balances that do not exist"):
        sql_ledger.reserve(held, desk.ask())
    with pytest.raises(LedgerInvariant, match="balances that do not exist"):
        sql_ledger.settle(held.id, desk.booking())

    assert sql_ledger.spend([]) == ()


def test_a_settlement_never_makes_what_is_held_negative(sql_ledger: Any, held: Any, desk: Any) -> None:
    tamper(sql_ledger, "UPDATE tg_balance SET held = 0")

    with pytest.raises(LedgerInvariant, match="contradict themselves"):
        sql_ledger.settle(held.id, desk.booking())

    assert sql_ledger.states(held.accounts)[0].settled == 0
    assert sql_ledger.spend([]) == ()


def test_a_settlement_goes_through_once_the_books_are_mended(sql_ledger: Any, held: Any, desk: Any) -> None:
    tamper(sql_ledger, "UPDATE tg_balance SET held = 0")
    with pytest.raises(LedgerInvariant):
        sql_ledger.settle(held.id, desk.booking())
    tamper(sql_ledger, f"UPDATE tg_balance SET held = {desk.cent}")

    settled = sql_ledger.settle(held.id, desk.booking())

    assert settled.states[0].settled == desk.cent
    assert sql_ledger.verify().ok


def test_a_database_that_drops_new_balances_grants_nothing(open_sql: Any, sqlite: str, desk: Any) -> None:
    ledger = open_sql(sqlite)
    tamper(ledger, "CREATE TRIGGER lossy BEFORE INSERT ON tg_balance BEGIN SELECT RAISE(IGNORE); END")
    hold = desk.hold(desk.scope(usd="1.00"))

    with pytest.raises(LedgerInvariant, match="just opened"):
        ledger.reserve(hold, desk.ask())
    tamper(ledger, "DROP TRIGGER lossy")

    assert isinstance(ledger.reserve(hold, desk.ask()), Grant)
