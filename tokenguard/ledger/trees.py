"""The run tree with what each node spent: values that both ledgers fill, and the nodes of the one in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from tokenguard.core.books import Closure, Entry, Kind, NodeSpend
from tokenguard.core.money import Money
from tokenguard.core.usage import Quality

__all__ = ["Node", "NodeTotal", "Nodes", "depth_first", "whole_tree"]

_KEEP_TREES: Final = 1_000


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


class Nodes:
    """Run trees in memory; of those that ended, the last 1,000. Not thread-safe."""

    def __init__(self) -> None:
        self._trees: dict[str, dict[str, Node]] = {}
        self._roots: dict[str, str] = {}
        self._over: deque[str] = deque()

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._roots

    def add(self, node: Node) -> None:
        """Begin a node."""
        self._trees.setdefault(node.root_id, {})[node.id] = node
        self._roots[node.id] = node.root_id

    def end(self, node_id: str, outcome: str, at: datetime) -> Iterable[str]:
        """End a node once; the ids of nodes that are forgotten with that."""
        node = self._trees.get(self._roots.get(node_id, ""), {}).get(node_id)
        if node is None or node.ended_at is not None:
            return ()
        node.ended_at, node.outcome = at, outcome
        if node.id == node.root_id:
            self._over.append(node.id)
        if len(self._over) <= _KEEP_TREES:
            return ()
        forgotten = self._trees.pop(self._over.popleft(), {})
        for one in forgotten:
            del self._roots[one]
        return forgotten

    def below(self, node_id: str) -> list[Node]:
        """A node and everything below it, parents before children; empty: no such node."""
        return depth_first(node_id, self._trees.get(self._roots.get(node_id, ""), {}).values())

    def roots(self, limit: int, *, open_only: bool) -> list[str]:
        """Ids of root runs, newest first."""
        roots = [tree[root] for root, tree in self._trees.items() if root in tree]
        chosen = [one for one in roots if not open_only or one.ended_at is None]
        chosen.sort(key=lambda one: (one.started_at, one.id), reverse=True)
        return [one.id for one in chosen[:limit]]
