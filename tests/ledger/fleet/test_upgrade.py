"""A ledger from before fleets, with a run in it that still lives."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import command

from tokenguard.core.budget import Limits
from tokenguard.core.tree import Crowded, TooFast
from tokenguard.core.verdict import Grant
from tokenguard.ledger import migrate
from tokenguard.ledger.address import Address
from tokenguard.ledger.engine import Database


def test_runs_from_before_fleets_go_on_and_limits_are_shared_from_the_next_root_on(
    open_sql: Any, sqlite: str, desk: Any
) -> None:
    old = Database(Address.of(sqlite), "normal", 10.0)
    with old.engine.begin() as connection:
        config = migrate._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(
            sa.text(
                "INSERT INTO tg_node (id, kind, name, root_id, scope, owner, labels, started_at) "
                "VALUES ('old', 'run', 'old', 'old', '', 'owner', '{}', 0)"
            )
        )
    old.dispose(forked=False)

    ledger = open_sql(sqlite)
    below = [ledger.enter(desk.entry(f"old-{n}", "old", path=("old",), runs=("old", f"old-{n}"))) for n in range(3)]
    ledger.enter(desk.entry("new", runs=("new",), path=("new",), limits=Limits(descendants=0)))
    shared = ledger.enter(desk.entry("one", "new", runs=("new", "one"), path=("new",)))

    assert below == [None] * 3
    assert [one.id for one in ledger.tree("old")] == ["old", "old-0", "old-1", "old-2"]
    assert isinstance(shared, Crowded)


def test_a_limited_run_from_before_goes_on_and_the_next_one_is_paced_by_the_ledger(
    open_sql: Any, sqlite: str, desk: Any
) -> None:
    old = Database(Address.of(sqlite), "normal", 10.0)
    with old.engine.begin() as connection:
        migrate.migrate(connection, to="0006")
        connection.execute(
            sa.text(
                "INSERT INTO tg_node (id, kind, name, root_id, scope, owner, labels, started_at) "
                "VALUES ('old', 'run', 'old', 'old', '', 'owner', '{}', 0)"
            )
        )
        connection.execute(
            sa.text("INSERT INTO tg_anchor (node_id, descendants, begun, spawns) VALUES ('old', 1, 0, '[]')")
        )
    old.dispose(forked=False)

    ledger = open_sql(sqlite)
    ledger.enter(desk.entry("new", runs=("new",), path=("new",), limits=Limits(usd_per_minute="0.01")))
    holds = [desk.hold(runs=(run,), paced=(run,)) for run in ("old", "new") for _ in range(2)]
    verdicts = []
    for hold in holds:
        verdicts.append(type(ledger.reserve(hold, desk.ask())))
        if verdicts[-1] is Grant:
            ledger.settle(hold.id, desk.booking())
    below = [ledger.enter(desk.entry(f"{n}", "old", path=("old",), runs=("old", f"{n}"))) for n in range(2)]

    assert verdicts == [Grant, Grant, Grant, TooFast]
    assert below == [None, Crowded("old", "descendants", 2, 1)]
    assert ledger.verify().ok
