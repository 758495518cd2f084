"""Receipts: what one call cost, and what one run cost as a tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from tokenguard.core.books import Kind, NodeSpend, Status
from tokenguard.core.looping import LoopSpend, done_about
from tokenguard.core.money import Money
from tokenguard.core.savings import SavingSpend
from tokenguard.core.usage import Quality, Usage

__all__ = ["CallReceipt", "Receipt", "loop_sentence"]


@dataclass(frozen=True, slots=True)
class CallReceipt:
    """What one call cost, attached to its reply: `tg.receipt_of(reply)`."""

    attempt_id: str
    model: str
    status: Status
    quality: Quality
    cost: Money
    ceiling: Money
    """What was held for it before it was sent."""
    usage: Usage | None
    max_tokens: int | None
    """What was sent; lower than asked where `clamped`."""
    clamped: bool
    price_id: str | None
    attempts: int
    ledger: str
    """Where the row is, without credentials."""
    run_id: str | None
    savings: tuple[SavingSpend, ...] = ()
    """What each stage of folding saved in this call; those that were only measured are marked so."""
    endpoint: str | None = None
    """Which endpoint of a route answered; None: nothing was routed."""
    route: str | None = None
    """Why it did, with the predicted time to the first token, as a sentence."""
    first_choice: Money | None = None
    """What the same tokens would have cost at the model that was asked for; an estimate."""

    @property
    def usd(self) -> Decimal:
        """The cost in dollars, exactly."""
        return self.cost.usd

    @property
    def saved(self) -> Money:
        """What folding and cache marks saved in this call by the provider's counts; no part of `cost`."""
        return Money.from_pico(sum(one.settled.pico for one in self.savings if one.applied))


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a run cost, with everything below it. `str(receipt)` is the tree that people read."""

    node: NodeSpend
    children: tuple[Receipt, ...] = ()
    ledger: str = "memory"
    """Where the rows are, without credentials."""
    own_loops: tuple[LoopSpend, ...] = ()
    """What repeated in this very run or agent."""
    savings: tuple[SavingSpend, ...] = ()
    """What each stage of folding saved in this run and below, as far as it is in the books; of the root only."""

    @classmethod
    def of(
        cls,
        nodes: tuple[NodeSpend, ...],
        *,
        ledger: str,
        loops: Iterable[LoopSpend] = (),
        savings: tuple[SavingSpend, ...] = (),
    ) -> Receipt:
        """Build the tree from a ledger's nodes, parents before children; the first is the root.

        Args:
            nodes: As `Ledger.tree` gives them.
            ledger: Its name.
            loops: Repetitions of these runs, as `Ledger.loops` gives them.
            savings: What folding saved in them, by stage, as `Ledger.savings` gives it.

        Raises:
            ValueError: `nodes` is empty.
        """
        if not nodes:
            raise ValueError("a receipt needs at least its own node")
        children: dict[str | None, list[NodeSpend]] = {}
        for node in nodes[1:]:
            children.setdefault(node.parent_id, []).append(node)
        repeated: dict[str, list[LoopSpend]] = {}
        for loop in loops:
            repeated.setdefault(loop.run_id, []).append(loop)
        built: dict[str, Receipt] = {}
        # Deepest first, without recursion: a run tree may be as deep as the agent that built it.
        for node in reversed(nodes):
            below = tuple(built[child.id] for child in children.get(node.id, ()))
            built[node.id] = cls(node, below, ledger, tuple(repeated.get(node.id, ())))
        return replace(built[nodes[0].id], savings=savings)

    def walk(self) -> Iterator[Receipt]:
        """This receipt and all below it, parents first."""
        pending: list[Receipt] = [self]
        while pending:
            one = pending.pop()
            yield one
            pending.extend(reversed(one.children))

    @property
    def cost(self) -> Money:
        """Everything settled in this run and below."""
        return Money.from_pico(sum(one.node.usd.pico for one in self.walk()))

    @property
    def usd(self) -> Decimal:
        """`cost` in dollars, exactly."""
        return self.cost.usd

    @property
    def held(self) -> Money:
        """Held for calls in flight and for calls nobody could resolve yet."""
        return Money.from_pico(sum(one.node.held.pico for one in self.walk()))

    @property
    def estimated(self) -> Money:
        """Of `cost`, what we counted ourselves."""
        return Money.from_pico(sum(one.node.estimated.pico for one in self.walk()))

    @property
    def assumed(self) -> Money:
        """Of `cost`, what is booked at its ceiling because nobody could say."""
        return Money.from_pico(sum(one.node.assumed.pico for one in self.walk()))

    @property
    def calls(self) -> int:
        """Attempts sent."""
        return sum(one.node.calls for one in self.walk())

    @property
    def tokens(self) -> int:
        """Input plus output tokens, cached ones included."""
        return sum(one.node.tokens for one in self.walk())

    @property
    def steps(self) -> int:
        """Entries of `@guard.step`, plus calls made outside any step."""
        return sum(_steps(one.node) for one in self.walk())

    @property
    def loops(self) -> tuple[LoopSpend, ...]:
        """What repeated in this run and below, the dearest first."""
        found = [loop for one in self.walk() for loop in one.own_loops]
        return tuple(sorted(found, key=lambda loop: (-loop.wasted.pico, loop.first_at, loop.run_id, loop.fingerprint)))

    @property
    def wasted(self) -> Money:
        """Of `cost`, what repetitions cost after the first time."""
        return Money.from_pico(sum(loop.wasted.pico for one in self.walk() for loop in one.own_loops))

    @property
    def averted(self) -> Money:
        """What refusing repetitions spared, by the assumption that each of `loops` states; no part of `cost`."""
        return Money.from_pico(sum(loop.averted.pico for one in self.walk() for loop in one.own_loops))

    @property
    def saved(self) -> Money:
        """What folding and cache marks saved by the provider's counts; no part of `cost`."""
        return Money.from_pico(sum(one.settled.pico for one in self.savings if one.applied))

    @property
    def stopped(self) -> str | None:
        """Why the run was stopped, as a sentence; None where it was not."""
        return self.node.closed.sentence if self.node.closed else None

    def json(self) -> dict[str, Any]:
        """The tree as JSON values, at any depth; money as decimal strings of dollars.

        `json.dumps` itself recurses: it writes trees of some hundred levels, whatever a receipt has.
        """
        sums: dict[int, tuple[int, ...]] = {}
        documents: dict[int, dict[str, Any]] = {}
        # Children before their parents: sums and documents of a node are made from those below it.
        for one in reversed(list(self.walk())):
            below = [id(child) for child in one.children]
            sums[id(one)] = _added(_own(one), *(sums[child] for child in below))
            documents[id(one)] = _document(one, sums[id(one)], [documents[child] for child in below])
        document = documents[id(self)]
        if self.savings:
            document |= {"saved_usd": self.saved.json(), "savings": [one.json() for one in self.savings]}
        return document

    def __str__(self) -> str:
        lines = [*_render(self), *map(loop_sentence, self.loops), *_saved(self), f"ledger: {self.ledger}"]
        return "\n".join(lines)


def _steps(node: NodeSpend) -> int:
    return 1 if node.kind is Kind.STEP else node.calls


def _own(receipt: Receipt) -> tuple[int, ...]:
    """What a node adds to every sum above it, in the order that `_document` reads."""
    node = receipt.node
    wasted, averted = ([getattr(loop, name) for loop in receipt.own_loops] for name in ("wasted", "averted"))
    repeated = (Money.from_pico(sum(one.pico for one in amounts)) for amounts in (wasted, averted))
    amounts = (node.usd, node.held, node.estimated, node.assumed, *repeated)
    return (*(amount.pico for amount in amounts), node.calls, _steps(node), node.tokens)


def _added(*parts: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*parts, strict=True)))


def _document(receipt: Receipt, sums: tuple[int, ...], children: list[dict[str, Any]]) -> dict[str, Any]:
    """One node of `Receipt.json`; `sums` are those of its whole subtree."""
    node = receipt.node
    usd, held, estimated, assumed, wasted, averted, calls, steps, tokens = sums
    return {
        "id": node.id,
        "kind": node.kind.value,
        "name": node.name,
        "usd": Money.from_pico(usd).json(),
        "own_usd": node.usd.json(),
        "held_usd": Money.from_pico(held).json(),
        "estimated_usd": Money.from_pico(estimated).json(),
        "assumed_usd": Money.from_pico(assumed).json(),
        "wasted_usd": Money.from_pico(wasted).json(),
        "averted_usd": Money.from_pico(averted).json(),
        "own_loops": [loop.json() for loop in receipt.own_loops],
        "calls": calls,
        "steps": steps,
        "tokens": tokens,
        "outcome": node.outcome,
        "stopped": receipt.stopped,
        "labels": dict(node.labels),
        "ledger": receipt.ledger,
        "children": children,
    }


def _render(root: Receipt, *, siblings: int = 12, depth: int = 24) -> Iterator[str]:
    """One line per node; long rows of siblings and very deep chains are counted instead of listed, never dropped."""
    pending: list[tuple[Receipt | str, str, str]] = [(root, "", "")]
    while pending:
        one, lead, indent = pending.pop()
        if isinstance(one, str):
            yield f"{lead}{one}"
            continue
        yield f"{lead}{_line(one)}"
        shown: list[Receipt | str] = list(one.children[:siblings])
        if len(indent) // 3 >= depth and one.children:
            shown = [_rest(one.children, "below")]
        elif len(one.children) > siblings:
            shown.append(_rest(one.children[siblings:], "more"))
        for index in range(len(shown) - 1, -1, -1):
            last = index == len(shown) - 1
            pending.append((shown[index], indent + ("└─ " if last else "├─ "), indent + ("   " if last else "│  ")))


def _rest(receipts: tuple[Receipt, ...], word: str) -> str:
    cost = Money.from_pico(sum(one.cost.pico for one in receipts))
    return f"… {len(receipts)} {word}  {cost}  {_count(sum(one.calls for one in receipts), 'call')}"


def _line(receipt: Receipt) -> str:
    """Kind, name, cost of the whole subtree, calls, tokens, marks."""
    marks = [f"{amount} {word}" for amount, word in _marks(receipt) if amount]
    if receipt.node.closed:
        marks.append(f"stopped: {receipt.node.closed.code}")
    elif receipt.node.outcome not in (None, "completed"):
        marks.append(str(receipt.node.outcome))
    tail = f"  ({', '.join(marks)})" if marks else ""
    name = _plain(receipt.node.name)
    counts = f"{_count(receipt.calls, 'call')}  {_count(receipt.tokens, 'token')}"
    return f"{receipt.node.kind} {name}  {receipt.cost}  {counts}{tail}"


def _marks(receipt: Receipt) -> list[tuple[Money, str]]:
    return [(receipt.held, "held"), (receipt.estimated, "estimated"), (receipt.assumed, "assumed")]


def loop_sentence(loop: LoopSpend) -> str:
    """A repetition in a line: the rule, what repeats and how often, what was done, and the money."""
    averted = f", averted {loop.averted} ({_plain(loop.assumption)})" if loop.averted else ""
    return (
        f"loop: {_plain(loop.rule)} on {_plain(loop.subject)!r} × {loop.repeats:,}, {done_about(loop)}; "
        f"wasted {loop.wasted}{averted}"
    )


def _saved(receipt: Receipt) -> list[str]:
    """What folding saved, in a line."""
    applied = [one for one in receipt.savings if one.applied]
    if not applied:
        return []
    stages = ", ".join(f"{_plain(one.name)} {one.settled}" for one in applied)
    tokens = sum(one.tokens for one in applied)
    return [f"saved: {receipt.saved}{f' by {tokens:,} tokens less' if tokens else ''} ({stages})"]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _plain(name: str) -> str:
    """A name that cannot move a terminal's cursor."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)
