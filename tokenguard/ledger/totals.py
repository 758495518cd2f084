"""Exact totals without single events: what the in-memory ledger remembers of a million calls.

Spend is added up per UTC minute and dimensions, and per node of the run tree, so memory grows with the number of
different things that spent, never with the number of calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from tokenguard.core.books import Booking, CallFacts, SpendRow
from tokenguard.core.money import Money
from tokenguard.core.usage import Quality
from tokenguard.ledger.outcomes import check_dimensions, tokens_of
from tokenguard.ledger.trees import NodeTotal

__all__ = ["Totals"]

_FIELDS = ("agent", "model", "provider", "scope", "run", "root", "operation", "mode", "prompt")


class _Cell:
    """One minute of one combination of dimensions."""

    __slots__ = ("calls", "input", "output", "usd_pico")

    def __init__(self) -> None:
        self.usd_pico = self.calls = self.input = self.output = 0


_Key = tuple[datetime, tuple[str | None, ...], str, str, tuple[tuple[str, str], ...]]


class Totals:
    """Running sums. Not thread-safe: the ledger's lock is held around every method."""

    def __init__(self) -> None:
        self._cells: dict[_Key, _Cell] = {}
        self._nodes: dict[str, NodeTotal] = {}

    def add(self, facts: CallFacts, booking: Booking, input_bound: int, *, sign: int = 1) -> None:
        """Add a booking, or take it back with `sign=-1`."""
        key = _key(facts, booking)
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = _Cell()
        amounts = booking.amounts
        used = tokens_of(booking, input_bound)
        cell.usd_pico += sign * amounts.usd_pico
        cell.calls += sign * amounts.calls
        cell.input += sign * used[0]
        cell.output += sign * used[1]
        node_id = facts.node_id or facts.run_id
        if node_id is not None:
            node = self._nodes.get(node_id)
            if node is None:
                node = self._nodes[node_id] = NodeTotal()
            node.add(booking.quality, sign * amounts.usd_pico, sign * amounts.calls, sign * sum(used))

    def node(self, node_id: str) -> NodeTotal:
        """What a node spent itself; zeros where it spent nothing."""
        return self._nodes.get(node_id) or NodeTotal()

    def forget(self, node_id: str) -> None:
        """Drop a node; its spend stays in the cells."""
        self._nodes.pop(node_id, None)

    def spend(self, by: Sequence[str], since: datetime | None, until: datetime | None) -> tuple[SpendRow, ...]:
        """Group the cells; `since` and `until` count by whole UTC minutes."""
        check_dimensions(by)
        groups: dict[tuple[str, ...], NodeTotal] = {}
        tokens: dict[tuple[str, ...], list[int]] = {}
        for key, cell in self._cells.items():
            if (since is not None and key[0] < _minute(since)) or (until is not None and key[0] >= until):
                continue
            group = tuple(_dimension(name, key) for name in by)
            groups.setdefault(group, NodeTotal()).add(Quality(key[3]), cell.usd_pico, cell.calls, 0)
            counts = tokens.setdefault(group, [0, 0])
            counts[0] += cell.input
            counts[1] += cell.output
        rows = (
            SpendRow(
                by=group,
                usd=Money.from_pico(total.usd_pico),
                estimated=Money.from_pico(total.estimated_pico),
                assumed=Money.from_pico(total.assumed_pico),
                calls=total.calls,
                input_tokens=tokens[group][0],
                output_tokens=tokens[group][1],
            )
            for group, total in groups.items()
        )
        return tuple(sorted(rows, key=lambda row: (-row.usd.pico, row.by)))


def _key(facts: CallFacts, booking: Booking) -> _Key:
    names = (
        facts.agent,
        facts.model,
        facts.provider,
        facts.scope,
        facts.run_id,
        facts.root_id,
        facts.operation,
        facts.mode,
        facts.prompt_id,
    )
    labels = tuple(sorted(facts.labels.items())) if facts.labels else ()
    return (_minute(booking.at), names, booking.status, booking.quality, labels)


def _minute(at: datetime) -> datetime:
    return (at if at.tzinfo is UTC else at.astimezone(UTC)).replace(second=0, microsecond=0)


def _dimension(name: str, key: _Key) -> str:
    """One dimension's value in a key; empty where the call has none."""
    if name == "day":
        return key[0].strftime("%Y-%m-%d")
    if name == "status":
        return key[2]
    if name == "quality":
        return key[3]
    if name.startswith("label:"):
        return dict(key[4]).get(name[6:], "")
    return key[1][_FIELDS.index(name)] or ""
