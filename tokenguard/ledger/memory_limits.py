"""Limits of run trees in memory: what limits.py and pacing.py keep in rows. Not thread-safe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from tokenguard.core.account import Amounts
from tokenguard.core.books import Entry
from tokenguard.core.budget import Limits
from tokenguard.core.tree import (
    Anchor,
    Crowded,
    TooFast,
    anchor_of,
    begun,
    flowed,
    judge_flow,
    judge_tree,
    limits_of,
)

__all__ = ["MemoryLimits"]


class MemoryLimits:
    """Anchors, and how many runs live directly below each run."""

    def __init__(self) -> None:
        self._anchors: dict[str, Anchor] = {}
        self._live: dict[str, int] = {}
        self._above: dict[str, str] = {}
        """The run above each run that has not ended."""

    def judge(self, entry: Entry, now: datetime) -> Crowded | None:
        """The limit that this entry would pass."""
        anchors = self._anchors_above(entry)
        if not anchors:
            return None
        return judge_tree(entry.runs, anchors, self._live.get(entry.runs[-2], 0), int(now.timestamp()))

    def count_in(self, entry: Entry, now: datetime) -> None:
        """Count a node that begins, and begin to count by its own limits."""
        for anchor in self._anchors_above(entry):
            self._anchors[anchor.node_id] = begun(anchor, int(now.timestamp()))
        if len(entry.runs) > 1:
            above = self._above[entry.id] = entry.runs[-2]
            self._live[above] = self._live.get(above, 0) + 1
        own = anchor_of(entry.id, entry.limits)
        if own is not None:
            self._anchors[entry.id] = own

    def count_out(self, node_id: str) -> None:
        """A node ended; idempotent."""
        above = self._above.pop(node_id, None)
        if above is not None:
            self._live[above] -= 1
            if not self._live[above]:
                del self._live[above]

    def outpaced(self, paced: Sequence[str], now: datetime) -> TooFast | None:
        """The limit that the last minute below one of these nodes has reached."""
        return judge_flow(paced, self._those_of(paced), int(now.timestamp()))

    def flow_in(self, paced: Sequence[str], amounts: Amounts, now: datetime) -> None:
        """Add what was settled below these nodes."""
        second = int(now.timestamp())
        for anchor in self._those_of(paced):
            added = [(second, amounts.usd_pico, amounts.tokens)]
            self._anchors[anchor.node_id] = flowed(anchor, added, second)

    def begin_anew(self, node_id: str) -> None:
        """Forget what flowed below a node: somebody resumed it."""
        anchor = self._anchors.get(node_id)
        if anchor is not None:
            self._anchors[node_id] = replace(anchor, flow=())

    def of(self, node_id: str) -> Limits | None:
        """A node's own limits."""
        anchor = self._anchors.get(node_id)
        return None if anchor is None else limits_of(anchor)

    def forget(self, node_id: str) -> None:
        """The ledger forgot a node, and with it its whole tree."""
        self._anchors.pop(node_id, None)

    def _anchors_above(self, entry: Entry) -> list[Anchor]:
        return self._those_of(entry.runs[:-1])

    def _those_of(self, node_ids: Sequence[str]) -> list[Anchor]:
        return [self._anchors[one] for one in node_ids if one in self._anchors]
