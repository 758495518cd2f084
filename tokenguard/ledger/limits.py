"""Limits of the run tree, counted where every process sees them: on the anchors, in the transaction that enters a node.

One lock per anchor, taken root first (ids sort by time), so that processes which join one run take turns here and
nowhere else. Steps never come by, nor do calls, unless something above them limits what flows (pacing.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from tokenguard.core.books import Entry
from tokenguard.core.budget import Unit
from tokenguard.core.leases import LEASE_S
from tokenguard.core.tree import Anchor, Crowded, anchor_of, begun, judge_tree
from tokenguard.ledger import schema
from tokenguard.ledger.postings import check_size
from tokenguard.ledger.tx import Tx

__all__ = ["anchor_in", "anchors_above", "count_in", "crowd_of"]


def crowd_of(tx: Tx, entry: Entry, anchors: Sequence[Anchor], now: datetime) -> Crowded | None:
    """The limit that this entry would pass, where the anchors above it are locked."""
    live = 0
    if any(one.children is not None for one in anchors):
        ((live,),) = tx.rows(tx.statements.live_children(), {"parent": entry.runs[-2], "now": now})
    return judge_tree(entry.runs, anchors, live, _second(now))


def count_in(tx: Tx, entry: Entry, anchors: Sequence[Anchor], now: datetime) -> None:
    """Count a node that begins below the locked anchors, and begin to count by its own limits."""
    if anchors:
        tx.many(tx.statements.count_below(), [_counts(begun(one, _second(now))) for one in anchors])
        # Or what it began would not count as live until its first sign of life.
        tx.run(tx.statements.lives(), {"id": entry.owner, "lease_until": now + timedelta(seconds=LEASE_S)})
    own = anchor_of(entry.id, entry.limits)
    if own is not None:
        check_size(tx, Unit.USD, own.usd_per_minute_pico or 0)
        check_size(tx, Unit.TOKENS, own.tokens_per_minute or 0)
        tx.run(tx.statements.insert(schema.anchor), _row(own))


def anchors_above(tx: Tx, entry: Entry) -> list[Anchor]:
    """Lock and read the anchors above an entry."""
    above = entry.runs[:-1]
    if not above:
        return []
    params = {f"id_{place}": node_id for place, node_id in enumerate(above)}
    return [anchor_in(row) for row in tx.rows(tx.statements.lock_anchors(len(above)), params)]


def _row(anchor: Anchor) -> Mapping[str, Any]:
    return {
        "node_id": anchor.node_id,
        "depth": anchor.depth,
        "children": anchor.children,
        "descendants": anchor.descendants,
        "spawns_per_minute": anchor.spawns_per_minute,
        "begun": 0,
        "spawns": [],
        "usd_per_minute_pico": anchor.usd_per_minute_pico,
        "tokens_per_minute": anchor.tokens_per_minute,
        "flow": None,
    }


def _counts(anchor: Anchor) -> Mapping[str, Any]:
    return {"node": anchor.node_id, "begun": anchor.begun, "spawns": [list(one) for one in anchor.spawns]}


def anchor_in(row: Sequence[Any]) -> Anchor:
    """An anchor's columns, in their order; what flowed below it is pacing.py's to read."""
    (
        node_id,
        depth,
        children,
        descendants,
        per_minute,
        begun_below,
        spawns,
        usd_per_minute_pico,
        tokens_per_minute,
        _,
    ) = row
    return Anchor(
        node_id,
        depth,
        children,
        descendants,
        per_minute,
        begun_below,
        tuple((at, count) for at, count in spawns),
        usd_per_minute_pico=usd_per_minute_pico,
        tokens_per_minute=tokens_per_minute,
    )


def _second(now: datetime) -> int:
    return int(now.timestamp())
