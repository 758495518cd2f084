"""Reading the books: run trees, budgets with their balances, the events of a run. Spend is in spending.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tokenguard.core.account import Account, account_id
from tokenguard.core.books import Kind, NodeSpend
from tokenguard.core.budget import Limits
from tokenguard.core.tree import limits_of
from tokenguard.core.usage import Quality
from tokenguard.core.verdict import AccountState
from tokenguard.ledger import schema
from tokenguard.ledger.accounts import BudgetState, StoredBudget, Windows
from tokenguard.ledger.closing import standing
from tokenguard.ledger.columns import Pico
from tokenguard.ledger.event_rows import BookedEvent, event_of
from tokenguard.ledger.limits import anchor_in
from tokenguard.ledger.rows import budget_of, state_of
from tokenguard.ledger.slices import read_in_window
from tokenguard.ledger.statements import BALANCE_COLUMNS, BUDGET_COLUMNS, in_batches
from tokenguard.ledger.trees import Node, NodeTotal, depth_first, whole_tree

__all__ = ["SECRET", "budgets", "events_of", "lineage", "runs", "secret", "states", "tree"]

SECRET = "run_token_key"  # noqa: S105  # the name of a row, not what is in it
"""The name of the signing key in `tg_meta`."""


def states(connection: sa.Connection, accounts: Sequence[Account], at: datetime) -> tuple[AccountState, ...]:
    """See `core.ports.Ledger.states`."""
    ids = [one.id for one in accounts]
    row = schema.balance.c
    found = {
        one.account.id: one for one in map(state_of, in_batches(connection, sa.select(*BALANCE_COLUMNS), row.id, ids))
    }
    missing = [one for one in accounts if one.id not in found]
    if missing:
        scopes = sorted({one.scope_key for one in missing})
        clause = sa.select(*BUDGET_COLUMNS)
        stored = [budget_of(one) for one in in_batches(connection, clause, schema.budget.c.scope_key, scopes)]
        found.update({one.id: AccountState(one, _cap_of(one, stored), 0, 0, 0) for one in missing})
    return read_in_window(connection, [found[one.id] for one in accounts], at)


def _cap_of(account: Account, stored: Iterable[StoredBudget]) -> int:
    """The cap that a balance never used would open with."""
    caps = (
        one.cap for one in stored if account_id(one.scope_key, one.unit, one.per, one.tz, account.bucket) == account.id
    )
    return next(caps, account.cap)


def budgets(connection: sa.Connection, at: datetime, windows: Windows) -> tuple[BudgetState, ...]:
    """Every stored budget with the balance of its window at `at`."""
    stored = sorted((budget_of(row) for row in connection.execute(sa.select(*BUDGET_COLUMNS))), key=lambda one: one.key)
    accounts = [one.account_in(windows.at(one.per, one.tz, at)) for one in stored]
    found = states(connection, accounts, at)
    return tuple(BudgetState(budget, state) for budget, state in zip(stored, found, strict=True))


# ---- trees ---------------------------------------------------------------------------------------------------------


def tree(connection: sa.Connection, run_id: str) -> tuple[NodeSpend, ...]:
    """See `core.ports.Ledger.tree`."""
    row = schema.node.c
    root = connection.execute(sa.select(row.root_id).where(row.id == run_id)).scalar()
    return _trees(connection, [root], top=run_id) if root is not None else ()


def lineage(connection: sa.Connection, run_id: str) -> tuple[NodeSpend, ...]:
    """See `core.ports.Ledger.lineage`."""
    row = schema.node.c
    root = connection.execute(sa.select(row.root_id).where(row.id == run_id)).scalar()
    by_id = {one.id: one for one in _trees(connection, [root])} if root is not None else {}
    found: list[NodeSpend] = []
    here = by_id.get(run_id)
    while here is not None:
        found.append(here)
        here = by_id.get(here.parent_id) if here.parent_id is not None else None
    limits = _limits(connection, [one.id for one in found])
    return tuple([replace(one, limits=limits.get(one.id)) for one in reversed(found)])


def _limits(connection: sa.Connection, node_ids: Sequence[str]) -> dict[str, Limits]:
    rows = in_batches(connection, sa.select(*schema.anchor.c), schema.anchor.c.node_id, node_ids)
    anchors = [anchor_in(row) for row in rows]
    return {one.node_id: limits_of(one) for one in anchors}


def secret(connection: sa.Connection) -> bytes | None:
    """The key that signs run tokens; None where nobody made one yet."""
    row = schema.meta.c
    found: str | None = connection.execute(sa.select(row.value).where(row.name == SECRET)).scalar()
    return None if found is None else bytes.fromhex(found)


def runs(connection: sa.Connection, limit: int, *, open_only: bool) -> tuple[NodeSpend, ...]:
    """The newest root runs first, each with the amounts of its whole tree."""
    row = schema.node.c
    clause = sa.select(row.id).where(row.id == row.root_id).order_by(row.started_at.desc(), row.id.desc()).limit(limit)
    if open_only:
        clause = clause.where(row.ended_at.is_(None))
    roots: list[str] = list(connection.execute(clause).scalars())
    found: dict[str, list[NodeSpend]] = {}
    for one in _trees(connection, roots):
        found.setdefault(one.root_id, []).append(one)
    return tuple(whole_tree(found[root]) for root in roots)


def _trees(connection: sa.Connection, roots: Sequence[str], top: str | None = None) -> tuple[NodeSpend, ...]:
    """Whole trees, or the part of one below `top`, with what each node spent and holds."""
    nodes = [_node(row) for row in in_batches(connection, sa.select(*schema.node.c), schema.node.c.root_id, roots)]
    by_root: dict[str, list[Node]] = {}
    for one in nodes:
        by_root.setdefault(one.root_id, []).append(one)
    ordered = [one for root in roots for one in depth_first(top or root, by_root.get(root, []))]
    totals = _totals(connection, roots)
    held = _held(connection, roots)
    closed = {one.run_id: one for one in reversed(standing(connection, [one.id for one in ordered]))}
    return tuple(
        one.spend(totals.get(one.id) or NodeTotal(), held.get(one.id, 0), closed.get(one.id)) for one in ordered
    )


def _node(row: Any) -> Node:
    return Node(
        row.id,
        Kind(row.kind),
        row.name,
        row.parent_id,
        row.root_id,
        row.scope,
        row.started_at,
        row.labels,
        row.ended_at,
        row.outcome,
    )


def _totals(connection: sa.Connection, roots: Sequence[str]) -> dict[str, NodeTotal]:
    """What each node spent itself."""
    row = schema.spend_event.c
    who = sa.func.coalesce(row.node_id, row.run_id)
    tokens = _sum(row.input_tokens + row.output_tokens)
    clause = sa.select(who, row.quality, _sum(row.usd_pico), _sum(row.calls), tokens).group_by(who, row.quality)
    totals: dict[str, NodeTotal] = {}
    for node_id, quality, usd, calls, used in in_batches(connection, clause, row.root_id, roots):
        totals.setdefault(node_id, NodeTotal()).add(Quality(quality), usd, calls, used)
    return totals


def _held(connection: sa.Connection, roots: Sequence[str]) -> dict[str, int]:
    row = schema.hold.c
    clause = sa.select(row.node_id, _sum(row.usd_pico)).group_by(row.node_id)
    return {node_id: held for node_id, held in in_batches(connection, clause, row.root_id, roots) if node_id}


# ---- events --------------------------------------------------------------------------------------------------------


def events_of(connection: sa.Connection, run_id: str) -> tuple[BookedEvent, ...]:
    """Every booked attempt at or below a node, corrections included, oldest first."""
    ids = [one.id for one in tree(connection, run_id)]
    row = schema.spend_event.c
    who = sa.func.coalesce(row.node_id, row.run_id)
    events = [one._mapping for one in in_batches(connection, sa.select(*row), who, ids)]  # noqa: SLF001  # SQLAlchemy's public name
    lines: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    clause = sa.select(*schema.spend_line.c)
    for one in in_batches(connection, clause, schema.spend_line.c.event_id, sorted({event["id"] for event in events})):
        lines.setdefault((one.event_id, one.revision), []).append(one._mapping)  # noqa: SLF001  # as above
    found = [event_of(event, lines.get((event["id"], event["revision"]), [])) for event in events]
    return tuple(sorted(found, key=lambda one: (one.booked_at, one.id, one.revision)))


def _sum(column: Any) -> sa.ColumnElement[int]:
    return sa.type_coerce(sa.func.coalesce(sa.func.sum(column), 0), Pico())
