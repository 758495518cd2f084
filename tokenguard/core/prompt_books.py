"""What a ledger keeps of prompts: originals of what was left out, where that was asked for, and what folding saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from tokenguard.core.recovery import StoredText
from tokenguard.core.savings import Saving, SavingBy, SavingSpend

__all__ = ["PromptBooks"]


class PromptBooks(Protocol):
    """The part of a ledger that concerns prompts. Errors are those of `Ledger`."""

    def store_texts(self, texts: Sequence[StoredText]) -> None:
        """Keep originals, all or none; those that are there already stay for the longer of both times.

        Raises:
            LedgerConflict: another text has one of the markers.
        """
        ...

    def find_text(self, marker: str, *, root_id: str | None) -> str | None:
        """The original behind a marker; None: there is none, it is another run's, or its time is over.

        Args:
            marker: As the prompt says it.
            root_id: Of the run tree that asks; None: a person, who may read all.
        """
        ...

    def keep_folding(self, run_id: str, state: Mapping[str, Any], *, at: datetime, until: datetime) -> None:
        """Keep how far a run is folded, in place of what was kept before.

        Args:
            run_id: A run or agent.
            state: JSON values. Stubs in it say words of results, which is text of prompts.
            at: When.
            until: From then on it is forgotten.
        """
        ...

    def folding_of(self, run_id: str) -> Mapping[str, Any] | None:
        """What `keep_folding` kept last, in any process; None: nothing, or its time is over."""
        ...

    def note_savings(self, savings: Sequence[Saving]) -> None:
        """Append rows; the same id again changes nothing."""
        ...

    def savings(
        self,
        by: SavingBy = "stage",
        *,
        run_ids: Sequence[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> tuple[SavingSpend, ...]:
        """Savings added up by a dimension, what saved most first.

        Args:
            by: The dimension.
            run_ids: Runs to look at; None: all.
            since: Aware; rows of then or later.
            until: Aware; excluded.
        """
        ...
