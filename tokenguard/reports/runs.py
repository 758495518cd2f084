"""Runs as a list, and one run as a tree with its money in a column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from tokenguard.core.books import NodeSpend
from tokenguard.core.money import Money
from tokenguard.core.receipt import Receipt
from tokenguard.reports.tables import Column, Table, aligned, visible

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["SHORTEST_ID", "run_json", "runs_table", "short_id", "state_of", "tree_table"]

SHORTEST_ID: Final = 8
_SIBLINGS: Final = 12
_LEVELS: Final = 16
_NUMBERS: Final = (
    Column("usd", right=True),
    Column("calls", right=True),
    Column("tokens", right=True),
    Column("marks"),
)


def state_of(node: NodeSpend) -> str:
    """How a run stands: `running`, `stopped: <code>`, or how it ended."""
    if node.closed is not None:
        return f"stopped: {node.closed.code}"
    return node.outcome or ("running" if node.ended_at is None else "ended")


def short_id(run_id: str, among: Sequence[str]) -> str:
    """The shortest prefix of an id that no other id among these has; never shorter than eight characters.

    Ids begin with the millisecond, so runs of one minute share eight characters.
    """
    others = [one for one in among if one != run_id]
    for length in range(SHORTEST_ID, len(run_id)):
        if not run_id[:length].endswith("-") and not any(one.startswith(run_id[:length]) for one in others):
            return run_id[:length]
    return run_id


def runs_table(nodes: Sequence[NodeSpend]) -> Table:
    """Root runs, newest first as the ledger gives them."""
    ids = [node.id for node in nodes]
    usd, held = aligned([node.usd for node in nodes]), aligned([node.held for node in nodes])
    columns = (
        Column("run"),
        Column("name"),
        Column("began (UTC)"),
        Column("state"),
        Column("usd", right=True),
        Column("held", right=True),
        Column("calls", right=True),
    )
    rows = tuple(
        (
            short_id(node.id, ids),
            visible(node.name, 40),
            _minute(node.started_at),
            visible(state_of(node)),
            usd[index],
            held[index] if node.held else "",
            f"{node.calls:,}",
        )
        for index, node in enumerate(nodes)
    )
    return Table(columns, rows).without_empty("held")


def run_json(node: NodeSpend) -> dict[str, Any]:
    """One run as JSON values; money as decimal strings of dollars."""
    return {
        "id": node.id,
        "kind": node.kind.value,
        "name": node.name,
        "scope": node.scope,
        "state": state_of(node),
        "began": node.started_at.isoformat(),
        "ended": node.ended_at.isoformat() if node.ended_at else None,
        "usd": node.usd.json(),
        "held_usd": node.held.json(),
        "estimated_usd": node.estimated.json(),
        "assumed_usd": node.assumed.json(),
        "calls": node.calls,
        "tokens": node.tokens,
        "stopped": node.closed.sentence if node.closed else None,
        "labels": dict(node.labels),
    }


def tree_table(receipt: Receipt) -> Table:
    """A receipt as a tree; each line has the money of its whole subtree. What is too much to list is counted."""
    lines = list(_lines(receipt))
    usd = aligned([_sum_of(some) for _, _, some, _ in lines])
    rows = tuple(
        (
            f"{lead}{title}",
            usd[index] if any(one.calls or one.cost for one in some) else "–",
            f"{sum(one.calls for one in some):,}",
            f"{sum(one.tokens for one in some):,}",
            marks,
        )
        for index, (lead, title, some, marks) in enumerate(lines)
    )
    return Table((Column("run", whole=True), *_NUMBERS), rows).without_empty("marks")


def _lines(root: Receipt) -> Iterator[tuple[str, str, tuple[Receipt, ...], str]]:
    """(guides, title, receipts that the line stands for, marks), from the top, without recursion."""
    pending: list[tuple[tuple[Receipt, ...], str, str, str | None]] = [((root,), "", "", None)]
    while pending:
        some, lead, indent, rest = pending.pop()
        if rest is not None:
            yield lead, f"… {len(some):,} {rest}", some, ""
            continue
        one = some[0]
        yield lead, f"{one.node.kind} {visible(one.node.name, 48)}", some, _marks(one)
        deep = len(indent) // 3 >= _LEVELS
        below: list[tuple[tuple[Receipt, ...], str | None]] = [
            ((child,), None) for child in (() if deep else one.children[:_SIBLINGS])
        ]
        left = one.children if deep else one.children[_SIBLINGS:]
        if left:
            below.append((left, "below" if deep else "more"))
        for index in range(len(below) - 1, -1, -1):
            last = index == len(below) - 1
            receipts, word = below[index]
            pending.append((receipts, indent + ("└─ " if last else "├─ "), indent + ("   " if last else "│  "), word))


def _marks(receipt: Receipt) -> str:
    """What is not plainly settled by the provider's own report, and how the node ended if not well."""
    amounts = ((receipt.held, "held"), (receipt.estimated, "estimated"), (receipt.assumed, "assumed"))
    found = [f"{amount} {word}" for amount, word in amounts if amount]
    state = state_of(receipt.node)
    if state != "completed":
        found.append(visible(state))
    return ", ".join(found)


def _sum_of(receipts: tuple[Receipt, ...]) -> Money:
    return Money.from_pico(sum(one.cost.pico for one in receipts))


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
