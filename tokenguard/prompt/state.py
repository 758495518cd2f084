"""What folding did in one run, up to now."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from tokenguard.core.savings import SavingSpend
from tokenguard.core.untrusted import field_of, list_of

__all__ = ["Conversation", "FoldState"]

_CONVERSATIONS_MAX: Final = 64
_FEWEST_READS: Final = 2


@dataclass(slots=True)
class Conversation:
    """One conversation of a run: what its last request was."""

    calls: int = 0
    sent: int = 0
    """Messages of the last request."""
    sent_s: float = 0.0
    """When, in monotonic seconds."""
    tokens: int = 0
    """Of the last request, by our count."""
    cached: int = 0
    """Tokens of the last request that the provider read from its cache or wrote to it."""
    retired: dict[str, Any] | None = None
    """Which results gave way, as `economy.retire` keeps it."""


@dataclass(slots=True)
class FoldState:
    """Of a run, or of all calls outside any."""

    whole_from: int | None = None
    """Results in messages from here on are said in full; None: none are."""
    stored: dict[str, datetime] = field(default_factory=dict[str, datetime])
    """Markers whose originals are in the recovery store, and since when."""
    read_back: int = 0
    """How often an original was asked for."""
    told: set[str] = field(default_factory=set[str])
    """Reasons to say results in full that were told to the sinks."""
    savings: dict[tuple[str, str, bool], SavingSpend] = field(default_factory=dict[tuple[str, str, bool], SavingSpend])
    """What is not in the ledger yet, by stage, model and whether it was applied."""
    scope: str = ""
    """Of the guard's scopes, where its calls are made."""
    unsaved_calls: int = 0
    """Calls whose savings are not in the ledger yet."""
    conversations: dict[int, Conversation] = field(default_factory=dict[int, Conversation])

    @property
    def reads_too_much_back(self) -> bool:
        """Whether so many originals were asked for that leaving them out costs steps: two, and three in ten."""
        return self.read_back >= _FEWEST_READS and self.read_back * 10 > len(self.stored) * 3

    def conversation(self, messages: Sequence[Any]) -> Conversation:
        """The one that begins with the same words; the longest unused is forgotten beyond 64."""
        head = hash(tuple(map(_said, messages[:2])))
        found = self.conversations.pop(head, None) or Conversation()
        self.conversations[head] = found
        while len(self.conversations) > _CONVERSATIONS_MAX:
            self.conversations.pop(next(iter(self.conversations)))
        return found


def _said(message: Any) -> Hashable:
    """The texts of a message, as they lie there: hashing them again costs nothing, joining them would."""
    content = field_of(message, "content")
    if isinstance(content, str):
        return content
    return tuple(text for part in list_of(content) if isinstance(text := field_of(part, "text"), str))
