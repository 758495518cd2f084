"""After a fork: the child has only the thread that forked, so a lock that another one held stays held in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, Protocol
from weakref import WeakSet

__all__ = ["Renewable", "in_children", "renew_in_children"]


class Renewable(Protocol):
    """What has a lock."""

    def renew_lock(self) -> None:
        """Make the lock anew. Called in a forked child before anything else runs there."""
        ...


_OWNERS: Final[WeakSet[Renewable]] = WeakSet()
_ACTIONS: Final[list[Callable[[], None]]] = []


def renew_in_children(owner: Renewable) -> None:
    """Renew the owner's lock in forked children, for as long as it lives."""
    _OWNERS.add(owner)


def in_children(action: Callable[[], None]) -> None:
    """Do this in every forked child; for what a module keeps, because it is never taken back."""
    _ACTIONS.append(action)


def _renew_all() -> None:
    for owner in list(_OWNERS):
        owner.renew_lock()
    for action in _ACTIONS:
        action()


if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows has no fork
    os.register_at_fork(after_in_child=_renew_all)
