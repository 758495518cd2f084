"""What holds room in this process beyond one effect: open streams and open charges."""

from __future__ import annotations

import threading
from typing import Generic, Protocol, TypeVar
from weakref import WeakSet

from tokenguard.core.forks import renew_in_children

__all__ = ["Holder", "Holders"]

H = TypeVar("H")


class Holder(Protocol):
    """An open stream or charge."""

    opened_by: object
    """The task or thread that opened it."""
    account_ids: frozenset[str]
    """Accounts whose room it holds."""

    @property
    def settled(self) -> bool:
        """Whether somebody has taken on its settlement."""
        ...


class Holders(Generic[H]):
    """A weak set that may be looked through while other threads add to it."""

    def __init__(self) -> None:
        self._members: WeakSet[H] = WeakSet()
        self.renew_lock()
        renew_in_children(self)

    def renew_lock(self) -> None:
        """In a forked child: see `core.forks`."""
        self._lock = threading.Lock()

    def add(self, member: H) -> None:
        """Remember a member for as long as somebody else does."""
        with self._lock:
            self._members.add(member)

    def snapshot(self) -> list[H]:
        """All members now. Let go of the list soon: it keeps them alive."""
        with self._lock:
            return list(self._members)
