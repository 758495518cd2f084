"""Rules beside the balances: repetition, wall time, and what the ledger says of the run tree's shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenguard.calls.effects import Book, Flow, ask
from tokenguard.calls.settlement import close_scope, returned
from tokenguard.core import events
from tokenguard.core.books import Status
from tokenguard.core.stops import error_from
from tokenguard.core.usage import Quality
from tokenguard.errors import (
    BudgetExceeded,
    DepthExceeded,
    FanOutExceeded,
    LedgerError,
    LoopDetected,
    SpendStopped,
)
from tokenguard.loops.repeats import Finding, repeated_call

if TYPE_CHECKING:
    from tokenguard.calls.call import Call
    from tokenguard.calls.outcome import Sent
    from tokenguard.calls.parts import Parts
    from tokenguard.calls.scope import Node
    from tokenguard.core.books import Booking
    from tokenguard.core.ports import Part
    from tokenguard.core.tree import Crowded

__all__ = [
    "check_repeats",
    "check_wall",
    "crowded_out",
    "learned",
    "tool_loop",
    "tool_returned",
    "wall_stop",
]


def check_repeats(call: Call, parts: Parts) -> Flow[None]:
    """Stop a run whose conversation repeats the same tool call with the same result."""
    if not parts.loops or call.node is None or call.operation != "chat":
        return
    try:
        finding = repeated_call(call.messages)
    except Exception as fault:  # noqa: BLE001  # a detector that trips over somebody's messages must never break a call
        parts.emit(events.Fault(at=parts.clock.now(), run_id=call.node.run.id, where="loops", error=fault))
        return
    if finding is not None:
        yield from _loop_found(finding, call.node.run, parts)


def check_wall(sent: Sent, parts: Parts) -> Flow[None]:
    """Stop a run whose time is up; the last rule of all, so its hold was granted and goes back."""
    node = sent.attempt.call.node
    now_s = parts.clock.monotonic()
    for one in node.lineage if node else ():
        error = wall_stop(one, now_s)
        if error is not None and not parts.enforce:
            _would_have(error, node, parts)
        elif error is not None:
            try:
                yield from _stop(error, one, node, parts)
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


def learned(sent: Sent, part: Part, booking: Booking, parts: Parts) -> Flow[None]:
    """After an answer: remember what its prompt counted, and whether the same answer keeps coming back.

    A loop found here closes the run but the answer is handed out: it is paid for.
    """
    call, model = sent.attempt.call, sent.attempt.target.model
    if call.operation != "chat":
        return
    try:
        answered = _remember_count(sent, part, booking, parts)
        node = call.node.run if call.node else None
        if node is None or not parts.loops:
            return
        with parts.tree_lock:
            finding = node.repeats.completed(
                f"{model}:{answered}", model=model, began_s=call.began_s, ended_s=parts.clock.monotonic()
            )
    except Exception as fault:  # noqa: BLE001  # a detector or a counter that fails must never break a paid answer
        parts.emit(events.Fault(at=parts.clock.now(), run_id=sent.attempt.facts.run_id, where="learn", error=fault))
        return
    if finding is not None:
        yield from tool_loop(finding, node, parts)


def tool_loop(finding: Finding, node: Node, parts: Parts) -> Flow[None]:
    """Close a run for a finding after the fact: what was just bought is handed out, the next call raises."""
    try:
        yield from _loop_found(finding, node, parts)
    except SpendStopped:
        return
    except LedgerError as away:
        parts.emit(events.Fault(at=parts.clock.now(), run_id=node.run.id, where="loops", error=away))


def still_stopped(node: Node | None, parts: Parts) -> Flow[SpendStopped | None]:
    """The stop that a node is under. The ledger is asked, where one is remembered: somebody may have ended it."""
    if node is None or not parts.enforce or node.stop() is None:
        return None
    standing = yield from ask(Book(lambda ledger: ledger.closures(node.run_ids)))
    if standing:
        return error_from(standing[0])
    for one in node.lineage:
        one.stopped = None
    return None


def goes_on(node: Node, parts: Parts) -> None:
    """A person resumed a run: what stopped it is forgiven, and its clocks begin again."""
    known = node.stopped
    with parts.tree_lock:
        if isinstance(known, LoopDetected):
            node.repeats.forgiven.add(known.evidence["fingerprint"])
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
            **_owner(owner),
            depth=count,
            limit=limit,
        )
    return FanOutExceeded(
        f"{_label(owner)} would have {count:,} {verdict.kind.replace('_', ' ')}, its limit is {limit:,}. {hint}",
        **_owner(owner),
        kind=verdict.kind,
        count=count,
        limit=limit,
    )


def tool_returned(node: Node, tool: str, evidence: str, *, began_s: float, parts: Parts) -> Finding | None:
    """Note one call of a guarded tool; a finding means it gave the same result too often."""
    with parts.tree_lock:
        return node.run.repeats.completed(
            f"tool:{tool}:{evidence}",
            model=tool,
            began_s=began_s,
            ended_s=parts.clock.monotonic(),
            rule="same_call_same_result",
        )


def _remember_count(sent: Sent, part: Part, booking: Booking, parts: Parts) -> int:
    """Teach the counter what the provider counted for this prompt; the counter's number for prompt and reply."""
    usage = booking.usage
    if part.usage is None:
        usage = None
    elif usage is None or booking.status is not Status.OK or booking.quality is not Quality.REPORTED:
        # What was booked is not what the provider counted, or not for certain.
        usage = parts.split_usage(part.usage, provider=sent.attempt.facts.provider)
    prompt, reply = sent.attempt.prompt, part.reply or {"role": "assistant", "content": part.text}
    assert prompt is not None, "only a charge has none"
    return parts.counter.learn(prompt, reply, tokens=usage.input_total if usage else 0)


def _loop_found(finding: Finding, node: Node, parts: Parts) -> Flow[None]:
    """Close the run, unless a person resumed it after this very finding."""
    if finding.fingerprint in node.repeats.forgiven:
        return
    error = LoopDetected(
        f"run {node.name!r} repeats itself: {finding.subject!r} gave the same for the same {finding.repeats} times "
        "in the last "
        f"{finding.window} rounds ({finding.rule}). Look at what it waits for, then guard.resume({node.id!r}, "
        "why=...).",
        **_owner(node),
        rule=finding.rule,
        repeats=finding.repeats,
        evidence={"subject": finding.subject, "fingerprint": finding.fingerprint, "window": finding.window},
    )
    yield from _stop(error, node, node, parts)


def _stop(error: SpendStopped, owner: Node, node: Node | None, parts: Parts) -> Flow[None]:
    """Close the owner and raise, unless a person resumed it after this very stop; observing, only say so."""
    if not parts.enforce:
        _would_have(error, node, parts)
        return
    above = node.run_ids if node else (owner.id,)
    standing = yield from ask(Book(lambda ledger: ledger.closures(above)))
    if standing:
        raise error_from(standing[0])  # Closed before this rule looked: that stop comes first.
    if _same_stop(owner.stopped, error):
        goes_on(owner, parts)  # This process remembers the stop and the ledger no longer does: somebody ended it.
        return
    yield from close_scope(error, owner.id, node, parts)
    raise error


def _same_stop(known: SpendStopped | None, error: SpendStopped) -> bool:
    if known is None or type(known) is not type(error):
        return False
    return all(known.facts.get(name) == error.facts.get(name) for name in ("evidence", "unit", "kind"))


def _would_have(error: SpendStopped, node: Node | None, parts: Parts) -> None:
    run_id = node.run.id if node else None
    parts.emit(events.WouldHave(at=parts.clock.now(), run_id=run_id, sentence=error.sentence, error=error))


def _owner(node: Node) -> dict[str, str]:
    return {"scope": _label(node), "scope_key": f"run:{node.id}"}


def _label(node: Node) -> str:
    return f"{node.kind} {node.name}"
