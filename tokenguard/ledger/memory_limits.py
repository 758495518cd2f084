"""Limits of run trees in memory: what limits.py keeps in rows. Not thread-safe."""

from __future__ import annotations

from datetime import datetime

from tokenguard.core.books import Entry
from tokenguard.core.tree import Anchor, Crowded, anchor_of, begun, judge_tree

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

    def forget(self, node_id: str) -> None:
        """The ledger forgot a node, and with it its whole tree."""
        self._anchors.pop(node_id, None)

    def _anchors_above(self, entry: Entry) -> list[Anchor]:
        return [self._anchors[one] for one in entry.runs[:-1] if one in self._anchors]
