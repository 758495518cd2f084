"""What folding did in one run, up to now: remembered here, and kept in the ledger where another process needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final, Literal

from tokenguard.core.savings import SavingSpend
from tokenguard.core.untrusted import field_of, list_of, mapping_of

__all__ = ["Conversation", "FoldState"]

_CONVERSATIONS_MAX: Final = 64
_FEWEST_READS: Final = 2


@dataclass(slots=True)
class Conversation:
    """One conversation of a run: what its last request was."""

    opening: str
    """Digest of its first two messages, the same in every process."""
    calls: int = 0
    sent: int = 0
    """Messages of the last request."""
    sent_s: float = 0.0
    """When, in monotonic seconds."""
    tokens: int = 0
    """Of the last request, by our count."""
    cached: int = 0
    """Tokens of the last request that the provider read from its cache or wrote to it."""
    hour_gaps: int = 0
    """Calls that came when five minutes had passed since the one before, and no more than an hour."""
    life: Literal["5m", "1h"] = "5m"
    """How long what is marked shall live in the provider's cache."""
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
    is_recalled: bool = False
    """What another process decided was asked for, or there is none."""
    kept_at: datetime | None = None
    """When the ledger was told last how far this run is folded."""
    is_new: bool = False
    """Something was decided since."""
    _recalled: dict[str, Any] = field(default_factory=dict[str, Any])
    """What other processes retired, by the opening of a conversation that has not gone on here yet."""

    @property
    def reads_too_much_back(self) -> bool:
        """Whether so many originals were asked for that leaving them out costs steps: two, and three in ten."""
        return self.read_back >= _FEWEST_READS and self.read_back * 10 > len(self.stored) * 3

    def conversation(self, messages: Sequence[Any]) -> Conversation:
        """The one that begins with the same words; the longest unused is forgotten beyond 64."""
        head = hash(tuple(map(_said, messages[:2])))
        found = self.conversations.pop(head, None)
        if found is None:
            opening = _digest(messages)
            found = Conversation(opening, retired=self._recalled.get(opening))
        self.conversations[head] = found
        while len(self.conversations) > _CONVERSATIONS_MAX:
            self.conversations.pop(next(iter(self.conversations)))
        return found

    def dump(self) -> dict[str, Any]:
        """What another process must know to send the same bytes, as JSON."""
        retired = {one.opening: one.retired for one in self.conversations.values() if one.retired is not None}
        return {"whole_from": self.whole_from, "retired": {**self._recalled, **retired}}

    def load(self, kept: Mapping[str, Any]) -> None:
        """Go on where another process was; what has another shape, from another version, is left out."""
        whole_from, retired = kept.get("whole_from"), mapping_of(kept.get("retired"))
        self.whole_from = whole_from if type(whole_from) is int and whole_from >= 0 else None
        self._recalled = {opening: dict(mapping_of(one)) for opening, one in retired.items() if mapping_of(one)}


def _digest(messages: Sequence[Any]) -> str:
    digest = blake2b(digest_size=12)
    for one in messages[:2]:
        said = _said(one)
        for text in (said,) if isinstance(said, str) else said:
            digest.update(text.encode("utf-8", "surrogatepass"))
        digest.update(b"\xff")  # No byte of UTF-8, so that no text reads as two messages.
    return digest.hexdigest()


def _said(message: Any) -> str | tuple[str, ...]:
    """The texts of a message, as they lie there: hashing them again costs nothing, joining them would."""
    content = field_of(message, "content")
    if isinstance(content, str):
        return content
    return tuple(text for part in list_of(content) if isinstance(text := field_of(part, "text"), str))
