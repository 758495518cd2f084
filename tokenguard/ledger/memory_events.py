"""Guard events in memory: the last 10,000, and what they say of repetitions. Not thread-safe."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from tokenguard.core.books import GuardEvent
from tokenguard.core.ids import Ids
from tokenguard.core.looping import LOOPED, LoopSpend, loop_spends

__all__ = ["MemoryEvents"]

_KEEP: Final = 10_000


class MemoryEvents:
    """What was decided, and what people did."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._kept: deque[GuardEvent] = deque(maxlen=_KEEP)

    def add(self, event: GuardEvent) -> None:
        """Append one."""
        self._kept.append(event)

    def act(
        self, kind: str, scope_key: str, sentence: str, at: datetime, *, run_id: str | None = None, **facts: str
    ) -> None:
        """Append what a person did."""
        self.add(GuardEvent(self._ids.new(), at, kind, run_id, scope_key, sentence, facts))

    def loops(
        self, run_ids: Sequence[str] | None, since: datetime | None, until: datetime | None
    ) -> tuple[LoopSpend, ...]:
        """See `core.ports.Ledger.loops`."""
        chosen = None if run_ids is None else {*run_ids}
        return loop_spends(
            one
            for one in self._kept
            if one.kind == LOOPED
            and (chosen is None or one.run_id in chosen)
            and (since is None or one.at >= since)
            and (until is None or one.at < until)
        )
