"""May one more run or agent begin? A pure decision over what the ledger has counted on the nodes above it.

A node with limits is an anchor: what begins anywhere below it, in any process, is counted on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from tokenguard.core.budget import Limits

__all__ = ["Anchor", "Crowded", "anchor_of", "begun", "judge_tree"]

_MINUTE_S: Final = 60


@dataclass(frozen=True, slots=True)
class Anchor:
    """A run or agent with limits, and what has begun below it."""

    node_id: str
    depth: int | None
    children: int | None
    descendants: int | None
    spawns_per_minute: int | None
    begun: int = 0
    """Runs and agents ever begun below it."""
    spawns: tuple[tuple[int, int], ...] = ()
    """(second since 1970, how many began in it) of the last minute, where spawns are limited; on the ledger's clock."""


@dataclass(frozen=True, slots=True)
class Crowded:
    """The limit that keeps a run or agent from beginning."""

    node_id: str
    """Whose limit it is."""
    kind: str
    """`depth`, `children`, `descendants` or `spawns_per_minute`."""
    count: int
    limit: int


def anchor_of(node_id: str, limits: Limits | None) -> Anchor | None:
    """The anchor that a node with these limits is; None where nothing about the tree is limited."""
    if limits is None:
        return None
    found = Anchor(node_id, limits.depth, limits.children, limits.descendants, limits.spawns_per_minute)
    shape = (found.depth, found.children, found.descendants, found.spawns_per_minute)
    return None if shape == (None, None, None, None) else found


def judge_tree(path: Sequence[str], anchors: Sequence[Anchor], live_children: int, second: int) -> Crowded | None:
    """The first limit that one more node would pass: depth before fan-out, the outermost anchor first.

    Args:
        path: Ids of the runs and agents from the root to the new one, which is the last.
        anchors: Those of them that have limits, in any order.
        live_children: Runs and agents that live directly below the new one's parent now.
        second: The ledger's clock, in whole seconds since 1970.
    """
    place = {node_id: number for number, node_id in enumerate(path)}
    ordered = sorted(anchors, key=lambda one: place[one.node_id])
    depths = [(one, "depth", len(path) - place[one.node_id], one.depth) for one in ordered]
    counts = [
        count
        for one in ordered
        for count in (
            (one, "children", live_children + 1, one.children),
            (one, "descendants", one.begun + 1, one.descendants),
            (one, "spawns_per_minute", _recent(one, second) + 1, one.spawns_per_minute),
        )
    ]
    over = (
        Crowded(one.node_id, kind, n, limit)
        for one, kind, n, limit in depths + counts
        if limit is not None and n > limit
    )
    return next(over, None)


def begun(anchor: Anchor, second: int) -> Anchor:
    """The anchor with one more node below it."""
    spawns = dict(_last_minute(anchor, second))
    if anchor.spawns_per_minute is not None:
        spawns[second] = spawns.get(second, 0) + 1
    return replace(anchor, begun=anchor.begun + 1, spawns=tuple(sorted(spawns.items())))


def _recent(anchor: Anchor, second: int) -> int:
    return sum(count for _, count in _last_minute(anchor, second))


def _last_minute(anchor: Anchor, second: int) -> list[tuple[int, int]]:
    """What counts, the oldest second in full; one far ahead was written before a clock was set back."""
    return [(at, count) for at, count in anchor.spawns if abs(second - at) <= _MINUTE_S]
