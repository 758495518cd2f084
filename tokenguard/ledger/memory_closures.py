"""Closures in memory: which runs are closed, by what, and what ends it. Not thread-safe."""

from __future__ import annotations

from collections.abc import Sequence

from tokenguard.core.books import Closure
from tokenguard.ledger.outcomes import strongest_first

__all__ = ["MemoryClosures"]


class MemoryClosures:
    """The closures in force. A run may be closed by several caps and a person; each ends on its own."""

    def __init__(self) -> None:
        self._standing: dict[str, list[Closure]] = {}

    def __len__(self) -> int:
        return len(self._standing)

    def add(self, closure: Closure) -> bool:
        """Close a run; False: it is closed by that already."""
        standing = self._standing.setdefault(closure.run_id, [])
        if any(one.account_id == closure.account_id for one in standing):
            return False
        standing.append(closure)
        return True

    def end(self, run_id: str) -> bool:
        """End all closures of a run; False: there was none."""
        return bool(self._standing.pop(run_id, []))

    def end_by(self, account_ids: set[str]) -> None:
        """End what these accounts closed: their caps were raised."""
        for run_id, standing in list(self._standing.items()):
            left = [one for one in standing if one.account_id not in account_ids]
            if left:
                self._standing[run_id] = left
            else:
                del self._standing[run_id]

    def on(self, run_ids: Sequence[str]) -> Closure | None:
        """The first closure on a path, root first; of one run, one that only a person can end comes first."""
        return next(iter(self.all_on(run_ids)), None) if self._standing else None

    def all_on(self, run_ids: Sequence[str]) -> tuple[Closure, ...]:
        """All closures on a path, in the same order."""
        return tuple([one for run_id in run_ids for one in strongest_first(self._standing.get(run_id, ()))])
