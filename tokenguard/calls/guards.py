"""Rules beside the balances: wall time and the shape of the run tree; and how one of them stops a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenguard.calls.effects import Book, Flow, ask
from tokenguard.calls.settlement import close_scope, returned
from tokenguard.core import events
from tokenguard.core.stops import error_from
from tokenguard.errors import (
    BudgetExceeded,
    DepthExceeded,
    FanOutExceeded,
    LoopDetected,
    SpendStopped,
    TokenguardError,
)

if TYPE_CHECKING:
    from tokenguard.calls.outcome import Sent
    from tokenguard.calls.parts import Parts
    from tokenguard.calls.scope import Node
    from tokenguard.core.tree import Crowded

__all__ = [
    "check_wall",
    "close_and_raise",
    "crowded_out",
    "goes_on",
    "owner_facts",
    "raise_standing",
    "still_stopped",
    "wall_stop",
    "would_have",
]


def check_wall(sent: Sent, parts: Parts) -> Flow[None]:
    """Stop a run whose time is up; the last rule of all, so its hold was granted and goes back."""
    node = sent.attempt.call.node
    now_s = parts.clock.monotonic()
    for one in node.lineage if node else ():
        error = wall_stop(one, now_s)
        if error is not None and not parts.enforce:
            would_have(error, node, parts)
        elif error is not None:
            try:
                yield from close_and_raise(error, one, node, parts)
            except SpendStopped:
                yield from returned(sent, parts)
                raise


def wall_stop(node: Node, now_s: float) -> BudgetExceeded | None:
    """The stop of one node whose wall time is over."""
    if node.wall_s is None or now_s - node.began_s <= node.wall_s:
        return None
    label = f"{node.kind} {node.name}"
    return BudgetExceeded(
        f"budget {label!r} is spent: {now_s - node.began_s:.1f} s of {node.wall_s:g} s have passed. "
        f"Raise it with Budget(wall=...), or let it go on with guard.resume({node.id!r}, why=...).",
        scope=label,
        scope_key=f"run:{node.id}",
        unit="wall",
        per="run",
        cap=node.wall_s,
        settled=now_s - node.began_s,
        held=0,
        asked=0,
    )


def still_stopped(node: Node | None, parts: Parts) -> Flow[SpendStopped | None]:
    """The stop that a node is under. The ledger is asked, where one is remembered: somebody may have ended it."""
    if node is None or not parts.enforce or node.stop() is None:
        return None
    standing = yield from ask(Book(lambda ledger: ledger.closures(node.run_ids)))
    if standing:
        return error_from(standing[0])
    for one in node.lineage:
        if isinstance(one.stopped, LoopDetected):
            goes_on(one, parts)
        one.stopped = None
    return None


def goes_on(node: Node, parts: Parts) -> None:
    """A person resumed a run: what stopped it is forgiven, and its clocks begin again."""
    known = node.stopped
    with parts.tree_lock:
        if isinstance(known, LoopDetected):
            if node.memory is not None:
                with node.memory.lock:
                    node.memory.forgive(str(known.evidence.get("fingerprint", "")))
            node.pending.clear()
            node.streams_seen.clear()
        node.began_s = parts.clock.monotonic()
        node.flow.clear()
        node.stopped = None


def crowded_out(verdict: Crowded, entry_id: str, parent: Node, parts: Parts) -> Flow[None]:
    """Stop the tree below the node whose limit one more run or agent would pass; observing, only say so."""
    owner = next((one for one in parent.lineage if one.id == verdict.node_id), None)
    assert owner is not None, "the ledger judged by the path that this process gave it"
    error = _crowd_error(verdict, owner)
    if not parts.enforce:
        parts.emit(events.WouldHave(at=parts.clock.now(), run_id=entry_id, sentence=error.sentence, error=error))
        return
    yield from close_scope(error, owner.id, parent, parts)
    raise error


def _crowd_error(verdict: Crowded, owner: Node) -> SpendStopped:
    count, limit = verdict.count, verdict.limit
    hint = f"Raise it with Limits({verdict.kind}=...), then guard.resume({owner.id!r}, why=...)."
    if verdict.kind == "depth":
        return DepthExceeded(
            f"{_label(owner)} nests {count} deep, its limit is {limit}. {hint}",
            **owner_facts(owner),
            depth=count,
            limit=limit,
        )
    return FanOutExceeded(
        f"{_label(owner)} would have {count:,} {verdict.kind.replace('_', ' ')}, its limit is {limit:,}. {hint}",
        **owner_facts(owner),
        kind=verdict.kind,
        count=count,
        limit=limit,
    )


def close_and_raise(error: SpendStopped, owner: Node, node: Node | None, parts: Parts) -> Flow[None]:
    """Close the owner and raise, unless a person resumed it after this very stop; observing, only say so."""
    if not parts.enforce:
        would_have(error, node, parts)
        return
    yield from raise_standing(node or owner)
    if _same_loop(owner.stopped, error):
        goes_on(owner, parts)  # This process remembers the stop and the ledger no longer does: somebody ended it.
        return
    yield from close_scope(error, owner.id, node, parts)
    raise error


def raise_standing(node: Node) -> Flow[None]:
    """Raise the stop that the ledger knows for a node: closed before a rule looked, it comes first."""
    standing = yield from ask(Book(lambda ledger: ledger.closures(node.run_ids)))
    if standing:
        raise error_from(standing[0])


def _same_loop(known: SpendStopped | None, error: SpendStopped) -> bool:
    """Whether a remembered stop was by this very repetition; other rules look after the ledger has granted."""
    if not isinstance(known, LoopDetected) or not isinstance(error, LoopDetected):
        return False
    return known.evidence.get("fingerprint") == error.evidence.get("fingerprint")


def would_have(error: TokenguardError, node: Node | None, parts: Parts) -> None:
    """Observing: say what enforcing would have done."""
    run_id = node.run.id if node else None
    parts.emit(events.WouldHave(at=parts.clock.now(), run_id=run_id, sentence=error.sentence, error=error))


def owner_facts(node: Node) -> dict[str, str]:
    """Whose limit it is, as facts of an error."""
    return {"scope": _label(node), "scope_key": f"run:{node.id}"}


def _label(node: Node) -> str:
    return f"{node.kind} {node.name}"
