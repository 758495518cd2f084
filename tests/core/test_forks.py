"""Owners of locks are renewed in a forked child; tests/calls/test_forks.py really forks."""

from __future__ import annotations

import gc

from tokenguard.core import forks


class Owner:
    """Counts how often its lock was made."""

    def __init__(self) -> None:
        self.locks = 0

    def renew_lock(self) -> None:
        self.locks += 1


def test_a_child_renews_every_owner_that_lives() -> None:
    owner, other = Owner(), Owner()
    forks.renew_in_children(owner)
    forks.renew_in_children(other)

    forks._renew_all()  # what a child does first

    assert (owner.locks, other.locks) == (1, 1)


def test_an_owner_is_not_kept_alive_for_its_lock() -> None:
    before = len(forks._OWNERS)
    owner = Owner()
    forks.renew_in_children(owner)

    del owner
    gc.collect()

    assert len(forks._OWNERS) <= before
