"""Facts about what happened, one stream for every sink. A sink that fails never breaks a call.

`guard.on(events.Stopped, fn)` calls `fn(event)` after the fact; nothing that `fn` does changes the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tokenguard.core.books import Booking, CallFacts
from tokenguard.core.money import Money
from tokenguard.errors import TokenguardError

__all__ = [
    "Adjusted",
    "Clamped",
    "Event",
    "Fault",
    "FoldingLimited",
    "Journaled",
    "Laddered",
    "Looped",
    "Overrun",
    "PriceDisagreed",
    "Reasked",
    "Refused",
    "Repaired",
    "Replayed",
    "Resumed",
    "Settlement",
    "Stopped",
    "ToppedUp",
    "Unattributed",
    "Warned",
    "WouldHave",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all facts."""

    at: datetime
    run_id: str | None
    scope_key: str | None = None
    sentence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement(Event):
    """An attempt was booked: posted, void or left unresolved."""

    attempt_id: str
    facts: CallFacts
    booking: Booking


@dataclass(frozen=True, slots=True, kw_only=True)
class Journaled(Event):
    """The ledger is away: what an attempt cost is on this machine's disk and will be booked when it is back."""

    attempt_id: str
    cost: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed(Event):
    """Journaled bookings were booked. Those that the books contradict stay on disk, and `refused` counts them."""

    booked: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped(Event):
    """A scope was closed. Sent once per stop, not per call that hits it."""

    error: TokenguardError


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Event):
    """A call was not sent; its run lives."""

    error: TokenguardError


@dataclass(frozen=True, slots=True, kw_only=True)
class WouldHave(Event):
    """Observe mode: enforcing would have refused or stopped this call."""

    error: TokenguardError


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned(Event):
    """A share of a cap was reached; once per share and window."""

    share: float
    settled: Any
    cap: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Clamped(Event):
    """`max_tokens` was lowered to what is affordable."""

    asked: int
    granted: int
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Looped(Event):
    """A repetition reached a rung: it is warned of, steered, blocked or stopped. Sent each time one acts."""

    rung: str
    """`warn`, `steer`, `block` or `stop`."""
    applied: bool
    """False: observing, nothing was done. A warning does nothing but to be said, so it always is."""
    rule: str
    repeats: int
    evidence: Mapping[str, Any]
    """Subject, fingerprint, window, argument names and sizes, the lowest similarity in percent; never text."""
    wasted: Money
    """What its repetitions cost that was not told before: the amounts of several events add up, each cent once."""
    averted: Money
    """What this act spared: one more repetition at their mean cost where a call was refused, else nothing."""
    assumption: str
    """How `averted` was estimated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Laddered(Event):
    """A rung of the ladder that goes by what is spent acted; once per rung and entry of the scope."""

    rung: str
    """`steer`, `shrink`, `reroute` or `final`."""
    applied: bool
    """False: observing, nothing was done."""
    evidence: Mapping[str, Any]
    """The share that was reached and what was done: tokens of a note, the model that answers instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldingLimited(Event):
    """Tool results of a run are said in full from now on: nothing is referred to or left out. Once per reason."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrun(Event):
    """A provider billed above the stated ceiling; the truth is booked."""

    attempt_id: str
    model: str
    ceiling: Money
    cost: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceDisagreed(Event):
    """The provider's own cost and ours are more than 1 % apart."""

    attempt_id: str
    model: str
    stated: Money
    computed: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class Unattributed(Event):
    """A call was made outside any run and is booked to `unattributed`."""

    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToppedUp(Event):
    """A person raised a cap."""

    amount: Any
    cap: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired(Event):
    """The form of a structured answer was wrong and was put right here, without asking again."""

    prompt_id: str
    model: str
    repairs: tuple[str, ...]
    """Kinds of repairs, such as `code fence`; never text."""
    tokens: int
    """Of the answer with its prompt: asking again would have taken at least as many, 0 where nobody reported them."""
    spared: Money
    """What the answer cost: asking again would have cost at least as much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasked(Event):
    """A structured answer was of no use, and the model is asked again."""

    prompt_id: str
    model: str
    why: str
    """`invalid`, `unreadable`, `length` or `empty`."""
    kinds: tuple[str, ...]
    """Pydantic's names of what is wrong, such as `int_parsing`; never text of the answer."""
    tokens: int
    """Of the answer with its prompt, 0 where nobody reported them."""
    wasted: Money
    """What the answer cost; the next one comes on top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjusted(Event):
    """A refund or a correction was booked on an attempt."""

    adjustment_id: str
    attempt_id: str
    kind: str
    """`refund` or `correction`."""
    before: Money
    after: Money
    why: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed(Event):
    """A person ended a stop."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault(Event):
    """Something of ours failed without breaking the call: a sink, a detector, a counter."""

    where: str
    error: Exception
