"""A memory of conversations, so that a growing one costs only its new messages.

Messages form a trie: a node stands for a whole prefix and is found by (parent's id, message). It knows the bound of its
prefix and, where a provider reported one, the true count. Most requests repeat the last one and add to it, so a node
also points at the child that was used last: following that is one comparison, without hashing.

Two generations of nodes bound the memory: a node that is used moves to the young one, and when that is full the old one
is dropped. So nothing is swept, and what is in use stays. Nothing is ever written anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from threading import Lock
from typing import Any, TypeAlias

from tokenguard.core.forks import renew_in_children

__all__ = ["Conversations", "Node"]

Link: TypeAlias = tuple[Any, ...]
"""(parent's id, role, content, rest)."""


@dataclass(slots=True, eq=False)
class Node:
    """A prefix of a conversation, for one model and one set of tools."""

    id: int
    tokens: int
    """Bound of all messages of the prefix, >= 0; those that cannot be seen count 0."""
    unseen: int
    """Messages of the prefix that cannot be counted."""
    characters: int
    """Of the last message alone: what keeping this node costs."""
    digest: bytes
    """The same for an equal prefix in every process."""
    message: Any = None
    """A copy of the last message that nobody else can change; None where it holds more than plain JSON values."""
    reported: int | None = None
    """The provider's own count of this prefix, tools and allowances included."""
    kinds: frozenset[str] = frozenset()
    """Types of content parts in the prefix, such as `image_url`."""
    cache_life: str | None = None
    """The dearest cache write that marks in the prefix can cause: `1h`, `5m` or None."""
    following: Node | None = None
    """The child that was used last."""


class Conversations:
    """Nodes by link, at most `nodes_max` and `characters_max` per generation. Safe to use from any thread.

    Reading takes no lock: a dict's get is atomic, and two threads that add the same message make two equal nodes, of
    which one is forgotten.
    """

    def __init__(self, *, nodes_max: int = 50_000, characters_max: int = 16_000_000) -> None:
        self._nodes_max = nodes_max
        self._characters_max = characters_max
        self._young: dict[Link, Node] = {}
        self._old: dict[Link, Node] = {}
        self._characters = 0
        self._ids = count(1)
        self.renew_lock()
        renew_in_children(self)

    def renew_lock(self) -> None:
        """In a forked child: see `core.forks`."""
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def find(self, link: Link) -> Node | None:
        """The node behind a link; None where it was never added or was forgotten."""
        node = self._young.get(link)
        if node is None:
            node = self._old.get(link)
            if node is not None:
                self._keep(link, node)
        return node

    def new_id(self) -> int:
        """A number that no other node has."""
        return next(self._ids)

    def add(self, link: Link, node: Node) -> Node:
        """Remember a prefix."""
        self._keep(link, node)
        return node

    def _keep(self, link: Link, node: Node) -> None:
        """Put a node among the young, making room first."""
        with self._lock:
            if len(self._young) >= self._nodes_max or self._characters >= self._characters_max:
                self._old, self._young, self._characters = self._young, {}, 0
            self._young[link] = node
            self._characters += node.characters
