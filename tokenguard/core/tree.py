"""May one more run or agent begin, or one more call be sent? A pure decision over what the ledger counted above it.

A node with limits is an anchor: what begins anywhere below it, and what is settled there, in any process, is counted on
it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tokenguard.core.budget import Limits
from tokenguard.core.money import Money

__all__ = [
    "Anchor",
    "Crowded",
    "TooFast",
    "anchor_of",
    "begun",
    "flowed",
    "judge_flow",
    "judge_tree",
    "limits_of",
    "paces",
]

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
    usd_per_minute_pico: int | None = None
    tokens_per_minute: int | None = None
    flow: tuple[tuple[int, int, int], ...] = ()
    """(second since 1970, pico-dollars, tokens settled in it) of the last minute, where that is limited; same clock."""


@dataclass(frozen=True, slots=True)
class Crowded:
    """The limit that keeps a run or agent from beginning."""

    node_id: str
    """Whose limit it is."""
    kind: str
    """`depth`, `children`, `descendants` or `spawns_per_minute`."""
    count: int
    limit: int


@dataclass(frozen=True, slots=True)
class TooFast:
    """The limit by which what is settled below a node flows too fast for another call."""

    node_id: str
    """Whose limit it is."""
    kind: str
    """`usd_per_minute` or `tokens_per_minute`."""
    count: int
    """In pico-dollars or tokens, like `limit`."""
    limit: int


def paces(limits: Limits | None) -> bool:
    """Whether limits say how fast money or tokens may flow."""
    return limits is not None and (limits.usd_per_minute is not None or limits.tokens_per_minute is not None)


def anchor_of(node_id: str, limits: Limits | None) -> Anchor | None:
    """The anchor that a node with these limits is; None where nothing is limited."""
    if limits is None:
        return None
    usd = None if limits.usd_per_minute is None else limits.usd_per_minute.pico
    shape = (limits.depth, limits.children, limits.descendants, limits.spawns_per_minute)
    if {*shape, usd, limits.tokens_per_minute} == {None}:
        return None
    return Anchor(node_id, *shape, usd_per_minute_pico=usd, tokens_per_minute=limits.tokens_per_minute)


def limits_of(anchor: Anchor) -> Limits:
    """The limits that an anchor was made of."""
    return Limits(
        depth=anchor.depth,
        children=anchor.children,
        descendants=anchor.descendants,
        spawns_per_minute=anchor.spawns_per_minute,
        usd_per_minute=None if anchor.usd_per_minute_pico is None else Money.from_pico(anchor.usd_per_minute_pico),
        tokens_per_minute=anchor.tokens_per_minute,
    )


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


def judge_flow(path: Sequence[str], anchors: Sequence[Anchor], second: int) -> TooFast | None:
    """The first limit that what was settled in the last minute has reached: the outermost first, money before tokens.

    Args:
        path: Ids from the root to the call, those of the anchors among them.
        anchors: In any order.
        second: The ledger's clock, in whole seconds since 1970.
    """
    place = {node_id: number for number, node_id in enumerate(path)}
    for one in sorted(anchors, key=lambda one: place[one.node_id]):
        recent = [(usd, tokens) for at, usd, tokens in one.flow if _counts(at, second)]
        usd, tokens = (sum(amounts) for amounts in zip(*recent, strict=True)) if recent else (0, 0)
        limits = (
            ("usd_per_minute", usd, one.usd_per_minute_pico),
            ("tokens_per_minute", tokens, one.tokens_per_minute),
        )
        for kind, count, limit in limits:
            if limit is not None and count >= limit > 0:
                return TooFast(one.node_id, kind, count, limit)
    return None


def flowed(anchor: Anchor, flows: Iterable[tuple[int, int, int]], second: int) -> Anchor:
    """The anchor with what was settled below it.

    Args:
        anchor: As it was.
        flows: (second since 1970, pico-dollars, tokens), in any order.
        second: Now; what is older than a minute goes.
    """
    minute: dict[int, tuple[int, int]] = {}
    for at, usd, tokens in (*anchor.flow, *flows):
        if _counts(at, second):
            before = minute.get(at, (0, 0))
            minute[at] = (before[0] + usd, before[1] + tokens)
    return replace(anchor, flow=tuple((at, *amounts) for at, amounts in sorted(minute.items())))


def _recent(anchor: Anchor, second: int) -> int:
    return sum(count for _, count in _last_minute(anchor, second))


def _last_minute(anchor: Anchor, second: int) -> list[tuple[int, int]]:
    return [(at, count) for at, count in anchor.spawns if _counts(at, second)]


def _counts(at: int, second: int) -> bool:
    """The oldest second of the minute counts in full; one far ahead was written before a clock was set back."""
    return abs(second - at) <= _MINUTE_S
