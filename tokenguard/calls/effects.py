"""The four things a guarded call asks of the world. Drivers perform them; the flow decides everything else.

If a fifth is proposed, it needs an ADR (docs/adr/0002).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tokenguard.calls.waiting import Ticket
from tokenguard.core.books import Closure, Hold
from tokenguard.core.ports import Ledger, Request
from tokenguard.core.tree import TooFast
from tokenguard.core.verdict import Ask, Grant, Short

__all__ = ["Book", "Effect", "Flow", "Reserve", "Send", "Wait", "ask"]

R = TypeVar("R")


class Effect(Generic[R]):
    """A request to the driver, which answers with an `R` or throws."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Reserve(Effect[Grant | Short | Closure | TooFast]):
    """Hold the worst case. A cancellation meanwhile waits for the outcome, so that no hold is left behind unseen."""

    hold: Hold
    ask: Ask


@dataclass(slots=True)
class Send(Effect[Any]):
    """Send one attempt. `begun` says whether the request may have left: before it, nothing can be billed."""

    request: Request
    begun: bool = False
    handling: BaseException | None = None
    """What the caller was handling when it sent: errors chain to it by `__context__`, but it caused none of them."""


@dataclass(frozen=True, slots=True)
class Book(Effect[R]):
    """Write to the books: settle, keep, close. Finishes even when its caller is cancelled."""

    write: Callable[[Ledger], R]
    at_once: Callable[[Ledger], R | None] | None = None
    """The same without waiting, where the ledger can; else None."""


@dataclass(frozen=True, slots=True)
class Wait(Effect[bool]):
    """Wait for a turn or for a time, whichever comes first; answers whether it was woken."""

    seconds: float
    ticket: Ticket | None = None


Flow = Generator[Effect[Any], Any, R]


def ask(effect: Effect[R]) -> Flow[R]:
    """Yield one effect and hand back its typed answer."""
    answer: R = yield effect
    return answer
