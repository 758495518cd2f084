"""Prompts in memory: originals that were asked to be kept, and the last 10,000 rows of what folding saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from tokenguard.core.recovery import StoredText
from tokenguard.core.savings import Saving, SavingBy, SavingSpend, saving_spends
from tokenguard.errors import LedgerConflict

if TYPE_CHECKING:
    from tokenguard.core.clock import Clock

__all__ = ["MemoryPrompts"]

_ROWS_MAX: Final = 10_000


class MemoryPrompts:
    """The part of a ledger in memory that concerns prompts."""

    _clock: Clock
    _lock: Lock
    if TYPE_CHECKING:

        def _now(self) -> datetime: ...

    def _forget_prompts(self) -> None:
        self._originals: dict[tuple[str, str], StoredText] = {}
        self._savings: dict[str, Saving] = {}
        self._fold_states: dict[str, tuple[Mapping[str, Any], datetime]] = {}

    def store_texts(self, texts: Sequence[StoredText]) -> None:
        """See `core.prompt_books.PromptBooks.store_texts`."""
        with self._lock:
            for one in texts:
                known = self._originals.get((one.root_id, one.marker))
                if known is not None and known.text != one.text:
                    raise LedgerConflict(
                        f"marker {one.marker} stands for another text of this run already; this one is sent as it "
                        "came.",
                        hold_id=one.marker,
                    )
            over = min([self._now(), *(one.at for one in texts)])
            self._originals = {key: one for key, one in self._originals.items() if one.until > over}
            self._fold_states = {key: one for key, one in self._fold_states.items() if one[1] > over}
            for one in texts:
                known = self._originals.get((one.root_id, one.marker))
                if known is None or known.until < one.until:
                    self._originals[one.root_id, one.marker] = one

    def find_text(self, marker: str, *, root_id: str | None) -> str | None:
        """See `core.prompt_books.PromptBooks.find_text`."""
        now = self._clock.now()
        with self._lock:
            found = [
                one
                for (owner, name), one in self._originals.items()
                if name == marker and root_id in (None, owner) and one.until > now
            ]
        return max(found, key=lambda one: one.until).text if found else None

    def keep_folding(self, run_id: str, state: Mapping[str, Any], *, at: datetime, until: datetime) -> None:
        """See `core.prompt_books.PromptBooks.keep_folding`."""
        del at
        with self._lock:
            self._fold_states[run_id] = dict(state), until

    def folding_of(self, run_id: str) -> Mapping[str, Any] | None:
        """See `core.prompt_books.PromptBooks.folding_of`."""
        with self._lock:
            state, until = self._fold_states.get(run_id, (None, None))
        return state if until is not None and until > self._clock.now() else None

    def note_savings(self, savings: Sequence[Saving]) -> None:
        """See `core.prompt_books.PromptBooks.note_savings`; the last 10,000 rows are kept."""
        with self._lock:
            for one in savings:
                self._savings.setdefault(one.id, one)
            while len(self._savings) > _ROWS_MAX:
                self._savings.pop(next(iter(self._savings)))

    def savings(
        self,
        by: SavingBy = "stage",
        *,
        run_ids: Sequence[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> tuple[SavingSpend, ...]:
        """See `core.prompt_books.PromptBooks.savings`."""
        with self._lock:
            rows = list(self._savings.values())
        wanted = None if run_ids is None else set(run_ids)
        return saving_spends(
            (
                one
                for one in rows
                if (wanted is None or one.run_id in wanted)
                and (since is None or one.at >= since)
                and (until is None or one.at < until)
            ),
            by,
        )
