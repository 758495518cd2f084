"""A ledger from before fleets, with a run in it that still lives."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import command

from tokenguard.core.budget import Limits
from tokenguard.core.tree import Crowded
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
