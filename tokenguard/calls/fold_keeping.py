"""How far a run is folded, kept in the ledger, so that a process that goes on with it sends the same bytes.

Only what cannot be worked out again is kept: which results gave way, and from where on results are said in full. It is
written before the first prompt goes out that it shapes. A ledger that is away costs a broken cache, never the call.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from tokenguard.calls.effects import Book, Flow, ask
from tokenguard.core import events
from tokenguard.core.folding import Level
from tokenguard.errors import TokenguardError

if TYPE_CHECKING:
    from tokenguard.calls.call import Call
    from tokenguard.calls.parts import Parts
    from tokenguard.calls.scope import Node
    from tokenguard.core.folding import Folding
    from tokenguard.prompt.state import FoldState

__all__ = ["kept", "recalled", "state_of"]


def state_of(call: Call, parts: Parts) -> FoldState:
    """Of the call's run; calls outside any run share one."""
    return call.node.run.folding if call.node else parts.folding_outside


def recalled(node: Node | None, folding: Folding, parts: Parts) -> Flow[None]:
    """Ask once what other processes decided in a run that was joined."""
    if node is None or node.run.folding.is_recalled or folding.level < Level.LOSSLESS:
        return
    run, found = node.run, None
    if run.joined_root is not None:
        try:
            found = yield from ask(Book(lambda ledger: ledger.folding_of(run.id)))
        except TokenguardError as away:
            _fault(away, run, parts)
            return
    with parts.tree_lock:
        if not run.folding.is_recalled:
            run.folding.is_recalled = True
            run.folding.load(found or {})


def kept(node: Node | None, folding: Folding, parts: Parts) -> Flow[None]:
    """Keep what was decided since the last time, and what is kept again before its days are over."""
    if node is None:
        return
    run, now = node.run, parts.clock.now()
    state, life = run.folding, timedelta(days=folding.recovery_days)
    if not state.is_new and (state.kept_at is None or now - state.kept_at < life / 2):
        return
    with parts.tree_lock:
        state.is_new, told = False, state.dump()
    try:
        yield from ask(Book(lambda ledger: ledger.keep_folding(run.id, told, at=now, until=now + life)))
    except TokenguardError as away:
        state.is_new = True
        _fault(away, run, parts)
        return
    state.kept_at = now


def _fault(away: TokenguardError, run: Node, parts: Parts) -> None:
    parts.emit(events.Fault(at=parts.clock.now(), run_id=run.id, where="prompt.state", error=away))
