"""Rows that nobody reads any more: anchors and loop states of runs long over, silent processes, slices that left.

They count nothing that the books add up, so they go without a closing row; savings, which are no spend, become sums of
days. What a live run may still need stays: every
run that has not ended, everything above it, and the slices that a window holds at the month's first instant or later.
Balances stay for good, also those of calendar windows long over: closing rows and the replay hang on them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from tokenguard.core.rolling import PREFIX, counted_from
from tokenguard.ledger import schema
from tokenguard.ledger.prompt_schema import fold_state, original, saving
from tokenguard.ledger.prompts import add_up_savings, single_savings
from tokenguard.ledger.tx import Tx

__all__ = ["count_leftovers", "drop_leftovers", "live_nodes", "runs_left_empty"]

_SILENT: Final = timedelta(days=1)
"""How long before the month a process was last heard of whose row goes; its lease is two minutes."""

_node, _anchor, _owner, _slice = schema.node.c, schema.anchor.c, schema.owner.c, schema.window_slice.c
_state, _original, _fold_state = schema.loop_state.c, original.c, fold_state.c


def live_nodes(before: datetime) -> sa.Select[str]:
    """Ids of nodes that may still be at work, and of all above them.

    A root that has not ended may be: nothing renews it while it is idle. What runs below another is renewed by its
    process, so that of one long silent it is over.
    """
    heard_of = sa.exists().where(_owner.id == _node.owner, ~_silent(before))
    live = (
        sa.select(_node.id, _node.parent_id)
        .where(_node.ended_at.is_(None), sa.or_(_node.id == _node.root_id, heard_of))
        .cte(recursive=True)  # Without a name: one statement may ask twice.
    )
    above = schema.node.alias("above").c
    live = live.union(sa.select(above.id, above.parent_id).where(above.id == live.c.parent_id))
    return sa.select(live.c.id)


def runs_left_empty(before: datetime, *, pruned: bool) -> sa.Select[str]:
    """Roots of ended trees without a hold, a live node, or an event that stays.

    Args:
        before: The month's first instant.
        pruned: Events from before it are gone already; else those that are there do not count.
    """
    root, event = schema.node.alias("root").c, schema.spend_event.c
    stays = sa.exists().where(event.root_id == root.id)
    inner = schema.node.alias("inner").c
    return sa.select(root.id).where(
        root.id == root.root_id,
        root.started_at < before,
        root.ended_at.is_not(None),
        ~(stays if pruned else stays.where(event.held_at >= before)),
        ~sa.exists().where(schema.hold.c.root_id == root.id),
        root.id.not_in(sa.select(inner.root_id).where(inner.id.in_(live_nodes(before)))),
    )


def count_leftovers(connection: sa.Connection, before: datetime) -> dict[str, int]:
    """How many rows of each kind `drop_leftovers` would delete, after the month's facts went."""
    conditions: dict[str, tuple[sa.Table, sa.ColumnElement[bool]]] = {
        "anchors": (schema.anchor, _will_be_over(_anchor.node_id, before)),
        "loop_states": (schema.loop_state, _will_be_over(_state.run_id, before)),
        "owners": (schema.owner, _silent(before)),
        "originals": (original, _original.until < before),
        "fold_states": (fold_state, _fold_state.until < before),
        "savings": (saving, single_savings(before)),
    }
    counts = {
        name: connection.execute(sa.select(sa.func.count()).select_from(table).where(where)).scalar_one()
        for name, (table, where) in conditions.items()
    }
    periods = connection.execute(_PERIODS).scalars().all()
    slices = sa.select(sa.func.count()).select_from(schema.window_slice)
    counts["slices"] = sum(connection.execute(slices.where(_left(per, before))).scalar_one() for per in periods)
    return counts


def drop_leftovers(tx: Tx, before: datetime) -> None:
    """Delete them; after the runs that are left empty, or their anchors would stay until the next time."""
    tx.write(sa.delete(schema.anchor).where(_is_over(_anchor.node_id, before)))
    tx.write(sa.delete(schema.loop_state).where(_is_over(_state.run_id, before)))
    tx.write(sa.delete(schema.owner).where(_silent(before)))
    tx.write(sa.delete(original).where(_original.until < before))
    tx.write(sa.delete(fold_state).where(_fold_state.until < before))
    add_up_savings(tx, before)
    for (per,) in tx.select(_PERIODS):
        tx.write(sa.delete(schema.window_slice).where(_left(per, before)))


def _will_be_over(node_id: sa.Column[str], before: datetime) -> sa.ColumnElement[bool]:
    """The same as `_is_over`, where the runs that are left empty are still there."""
    empty = sa.exists().where(_node.id == node_id, _node.root_id.in_(runs_left_empty(before, pruned=False)))
    return sa.or_(empty, _is_over(node_id, before))


def _is_over(node_id: sa.Column[str], before: datetime) -> sa.ColumnElement[bool]:
    """A row whose node is gone, or was over before the month, and has nothing live below it."""
    last = sa.func.coalesce(_node.ended_at, _node.started_at, type_=_node.ended_at.type)
    later = sa.exists().where(_node.id == node_id, last >= before)
    return sa.and_(~later, node_id.not_in(live_nodes(before)))


def _silent(before: datetime) -> sa.ColumnElement[bool]:
    return _owner.lease_until < before - _SILENT


_PERIODS: Final[sa.Select[Any]] = (
    sa.select(schema.balance.c.per).where(schema.balance.c.per.startswith(PREFIX)).distinct()
)


def _left(per: str, before: datetime) -> sa.ColumnElement[bool]:
    """A slice that no window of this length holds from the month's first instant on: all its transfers are pruned."""
    mine = sa.select(schema.balance.c.id).where(schema.balance.c.per == per)
    return sa.and_(_slice.account_id.in_(mine), _slice.starts_at < counted_from(per, before))
