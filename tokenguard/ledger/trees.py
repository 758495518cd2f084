"""The run tree with what each node spent: values that both ledgers fill, and the nodes of the one in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from tokenguard.core.books import Closure, Entry, Kind, NodeSpend
from tokenguard.core.money import Money
from tokenguard.core.usage import Quality

__all__ = ["Node", "NodeTotal", "Nodes", "depth_first", "whole_tree"]

_KEEP_TREES: Final = 1_000
_KEEP_NODES: Final = 100_000
"""Of trees that ended, in all: about 50 MB."""


class NodeTotal:
    """What one node spent itself."""

    __slots__ = ("assumed_pico", "calls", "estimated_pico", "tokens", "usd_pico")

    def __init__(self) -> None:
        self.usd_pico = self.estimated_pico = self.assumed_pico = self.calls = self.tokens = 0

    def add(self, quality: Quality, usd_pico: int, calls: int, tokens: int) -> None:
        """Add one booking, or take it back with negative amounts."""
        self.usd_pico += usd_pico
        self.calls += calls
        self.tokens += tokens
        if quality is Quality.ESTIMATED:
            self.estimated_pico += usd_pico
        elif quality is Quality.ASSUMED:
            self.assumed_pico += usd_pico


@dataclass(slots=True)
class Node:
    """A run, agent or step, and how it ended."""

    id: str
    kind: Kind
    name: str
    parent_id: str | None
    root_id: str
    scope: str
    started_at: datetime
    labels: Mapping[str, str]
    ended_at: datetime | None = None
    outcome: str | None = None

    @classmethod
    def of(cls, entry: Entry) -> Node:
        """The node that an entry begins."""
        return cls(
            entry.id, entry.kind, entry.name, entry.parent_id, entry.root_id, entry.scope, entry.at, dict(entry.labels)
        )

    def spend(self, total: NodeTotal, held_pico: int, closed: Closure | None) -> NodeSpend:
        """The node with its amounts."""
        return NodeSpend(
            id=self.id,
            kind=self.kind,
            name=self.name,
            parent_id=self.parent_id,
            root_id=self.root_id,
            scope=self.scope,
            started_at=self.started_at,
            ended_at=self.ended_at,
            outcome=self.outcome,
            labels=self.labels,
            usd=Money.from_pico(total.usd_pico),
            held=Money.from_pico(held_pico),
            calls=total.calls,
            tokens=total.tokens,
            estimated=Money.from_pico(total.estimated_pico),
            assumed=Money.from_pico(total.assumed_pico),
            closed=closed,
        )


def depth_first(top: str, nodes: Iterable[Node]) -> list[Node]:
    """The node `top` and everything below it, parents before children, siblings by their start."""
    by_id: dict[str, Node] = {}
    children: dict[str | None, list[Node]] = {}
    for node in sorted(nodes, key=lambda one: (one.started_at, one.id)):
        by_id[node.id] = node
        children.setdefault(node.parent_id, []).append(node)
    found: list[Node] = []
    # A stack, not recursion: the tree is as deep as somebody's agents recurse.
    waiting = [by_id[top]] if top in by_id else []
    while waiting:
        node = waiting.pop()
        found.append(node)
        waiting.extend(reversed(children.get(node.id, [])))
    return found


def whole_tree(nodes: Sequence[NodeSpend]) -> NodeSpend:
    """The first node with the amounts of all of them: a root run as `runs list` shows it."""
    return replace(
        nodes[0],
        usd=Money.from_pico(sum(one.usd.pico for one in nodes)),
        held=Money.from_pico(sum(one.held.pico for one in nodes)),
        calls=sum(one.calls for one in nodes),
        tokens=sum(one.tokens for one in nodes),
        estimated=Money.from_pico(sum(one.estimated.pico for one in nodes)),
        assumed=Money.from_pico(sum(one.assumed.pico for one in nodes)),
    )


class _Tree:
    """The nodes of one root run, and how many of them have not ended."""

    __slots__ = ("live", "nodes")

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.live = 0


class Nodes:
    """Run trees in memory; of those that ended, the last 1,000 and at most 100,000 nodes. Not thread-safe.

    A tree has ended when all its nodes have: one that outlives its root still spends, so its balance must stand. The
    tree that ended last is kept whatever its size, because its receipt is read next.
    """

    def __init__(self) -> None:
        self._trees: dict[str, _Tree] = {}
        self._roots: dict[str, str] = {}
        self._over: OrderedDict[str, None] = OrderedDict()
        """Roots of trees that ended, oldest first."""
        self._nodes_over = 0

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._roots

    def __len__(self) -> int:
        return len(self._roots)

    def add(self, node: Node) -> None:
        """Begin a node."""
        tree = self._trees.get(node.root_id)
        if tree is None:
            tree = self._trees[node.root_id] = _Tree()
        elif node.root_id in self._over:
            del self._over[node.root_id]
            self._nodes_over -= len(tree.nodes)
        tree.nodes[node.id] = node
        tree.live += 1
        self._roots[node.id] = node.root_id

    def end(self, node_id: str, outcome: str, at: datetime) -> Iterable[str]:
        """End a node once; the ids of nodes that are forgotten with that."""
        root_id = self._roots.get(node_id)
        if root_id is None:
            return ()
        tree = self._trees[root_id]
        node = tree.nodes[node_id]
        if node.ended_at is not None:
            return ()
        node.ended_at, node.outcome = at, outcome
        tree.live -= 1
        if tree.live:
            return ()
        self._over[root_id] = None
        self._nodes_over += len(tree.nodes)
        return self._make_room()

    def _make_room(self) -> list[str]:
        """Drop the trees that ended first; the ids of their nodes."""
        forgotten: list[str] = []
        while len(self._over) > _KEEP_TREES or (self._nodes_over > _KEEP_NODES and len(self._over) > 1):
            oldest, _ = self._over.popitem(last=False)
            nodes = self._trees.pop(oldest).nodes
            self._nodes_over -= len(nodes)
            forgotten.extend(nodes)
        for one in forgotten:
            del self._roots[one]
        return forgotten

    def below(self, node_id: str) -> list[Node]:
        """A node and everything below it, parents before children; empty: no such node."""
        root_id = self._roots.get(node_id)
        return [] if root_id is None else depth_first(node_id, self._trees[root_id].nodes.values())

    def roots(self, limit: int, *, open_only: bool) -> list[str]:
        """Ids of root runs, newest first."""
        roots = [tree.nodes[root] for root, tree in self._trees.items() if root in tree.nodes]
        chosen = [one for one in roots if not open_only or one.ended_at is None]
        chosen.sort(key=lambda one: (one.started_at, one.id), reverse=True)
        return [one.id for one in chosen[:limit]]
