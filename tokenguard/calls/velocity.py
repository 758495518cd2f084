"""How fast money and tokens flow: what the ledger says of all processes, and what this one sees of itself at once.

The ledger counts what is settled, so it hears late of what allowances paid here; this process counts that as it goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenguard.calls.effects import Flow
from tokenguard.calls.guards import goes_on, owner_facts, raise_standing
from tokenguard.calls.settlement import close_scope
from tokenguard.core import events
from tokenguard.core.money import Money
from tokenguard.core.tree import TooFast, paces
from tokenguard.errors import BudgetExceeded, LoopDetected, VelocityExceeded

if TYPE_CHECKING:
    from tokenguard.calls.call import Call
    from tokenguard.calls.parts import Parts
    from tokenguard.calls.scope import Node
    from tokenguard.errors import SpendStopped

__all__ = ["check_velocity", "lifted", "outpaced", "would_outpace"]

_MINUTE_S: Final = 60.0


def check_velocity(call: Call, parts: Parts) -> Flow[None]:
    """Stop the tree below a limit that this process alone has reached; observing, the ledger says so (`outpaced`)."""
    if call.node is None or not call.node.paced or not parts.enforce:
        return
    for owner in reversed(tuple(call.node.lineage)):
        found = _reached(owner, parts) if paces(owner.limits) else None
        if found is not None:
            yield from _stop(found, owner, call.node, parts)


def outpaced(verdict: TooFast, node: Node | None, parts: Parts) -> Flow[VelocityExceeded]:
    """Close the tree below the limit that all processes together have reached; the error to raise."""
    owner = _owner_of(verdict, node)
    error = _error(verdict, owner)
    yield from close_scope(error, owner.id, node, parts)
    return error


def would_outpace(verdict: TooFast, node: Node | None, parts: Parts) -> None:
    """Observing: say what enforcing would have done."""
    error = _error(verdict, _owner_of(verdict, node))
    run_id = node.run.id if node else None
    parts.emit(events.WouldHave(at=parts.clock.now(), run_id=run_id, sentence=error.sentence, error=error))


def lifted(node: Node, mark: SpendStopped, parts: Parts) -> None:
    """The ledger granted what this process remembers as stopped: somebody ended the stop, here or elsewhere."""
    if node.stopped is not mark:
        return
    if isinstance(mark, LoopDetected):
        goes_on(node, parts)
    elif not isinstance(mark, BudgetExceeded):  # A raised cap may have ended that one; all others, only a resume.
        with parts.tree_lock:
            node.flow.clear()
    node.stopped = None


def _stop(found: TooFast, owner: Node, node: Node, parts: Parts) -> Flow[None]:
    """Close the owner and raise, unless a person resumed it after this very stop."""
    yield from raise_standing(node)
    if isinstance(owner.stopped, VelocityExceeded) and owner.stopped.kind == found.kind:
        goes_on(owner, parts)  # This process remembers the stop and the ledger no longer does: somebody ended it.
        return
    raise (yield from outpaced(found, node, parts))


def _reached(node: Node, parts: Parts) -> TooFast | None:
    """The limit of one node that this process's last minute has reached."""
    now_s, limits = parts.clock.monotonic(), node.limits
    assert limits is not None, "only a node that limits what flows is asked"
    with parts.tree_lock:
        while node.flow and node.flow[0][0] <= now_s - _MINUTE_S:
            node.flow.popleft()
        usd, tokens = sum(one[1] for one in node.flow), sum(one[2] for one in node.flow)
    if limits.usd_per_minute is not None and usd >= limits.usd_per_minute.pico > 0:
        return TooFast(node.id, "usd_per_minute", usd, limits.usd_per_minute.pico)
    if limits.tokens_per_minute is not None and tokens >= limits.tokens_per_minute > 0:
        return TooFast(node.id, "tokens_per_minute", tokens, limits.tokens_per_minute)
    return None


def _owner_of(verdict: TooFast, node: Node | None) -> Node:
    owner = next((one for one in (node.lineage if node else ()) if one.id == verdict.node_id), None)
    assert owner is not None, "judged by the path that this process gave"
    return owner


def _error(verdict: TooFast, owner: Node) -> VelocityExceeded:
    wrap = Money.from_pico if verdict.kind == "usd_per_minute" else int
    count, limit = wrap(verdict.count), wrap(verdict.limit)
    label = f"{owner.kind} {owner.name}"
    return VelocityExceeded(
        f"{label} spent {count} in the last minute, its limit is {limit} ({verdict.kind}). Raise it with "
        f"Limits({verdict.kind}=...), then guard.resume({owner.id!r}, why=...).",
        **owner_facts(owner),
        kind=verdict.kind,
        count=count,
        limit=limit,
    )
