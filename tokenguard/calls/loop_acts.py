"""What is done about a repetition: the model is told, a call is refused, the run is stopped. Each is an event.

Evidence stays with the innermost run or agent; the ledger keeps it too, so that another process goes on with it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tokenguard.calls.effects import Book, Flow, ask
from tokenguard.calls.guards import close_and_raise, owner_facts, raise_standing, would_have
from tokenguard.calls.hub import guard_event
from tokenguard.calls.receipts import run_receipt
from tokenguard.core import events
from tokenguard.core.ladder import Rung
from tokenguard.core.looping import LOOPED
from tokenguard.core.money import Money
from tokenguard.core.untrusted import mapping_of
from tokenguard.errors import LedgerError, LoopBlocked, LoopDetected, SpendStopped
from tokenguard.loops.memory import LoopMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokenguard.calls.parts import Parts
    from tokenguard.calls.scope import Node
    from tokenguard.core.books import Closure
    from tokenguard.core.ladder import Loops
    from tokenguard.loops.finding import Finding

__all__ = [
    "Watched",
    "block",
    "forgive_in_books",
    "kept",
    "refuse_or_stop",
    "rung_of",
    "safely",
    "stop",
    "stop_after",
    "tell",
    "watched",
]

_SAVE_EVERY_S: Final = 1.0
_TOLD_MAX: Final = 64
_ASSUMPTION: Final = "one more repetition at their mean cost"
_DONE: Final = {
    Rung.WARN: "Nothing is sent differently.",
    Rung.STEER: "The model is told.",
    Rung.BLOCK: "The next one is refused.",
    Rung.STOP: "The run is stopped.",
}

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Watched:
    """A run or agent that is watched for repetition."""

    run: Node
    loops: Loops
    memory: LoopMemory


def watched(node: Node | None, loops: Loops | None, parts: Parts) -> Flow[Watched | None]:
    """The run of a node with what it did lately, in another process too. None: not watched, or its past is unknown."""
    if node is None or loops is None:
        return None
    run = node.run
    if run.memory is None:
        state = None
        try:
            if parts.loop_key is None:
                parts.loop_key = yield from ask(Book(lambda ledger: ledger.secret()))
            if run.joined_root is not None:
                state = yield from ask(Book(lambda ledger: ledger.recall(run.id)))
        except LedgerError as away:
            _fault(away, run, parts)
            return None
        with parts.tree_lock:
            if run.memory is None:
                run.memory = LoopMemory.load(state or {}, key=parts.loop_key, keys=parts.tool_keys)
    return Watched(run, loops, run.memory)


def safely(look: Callable[[], R], watched: Watched, parts: Parts) -> R | None:
    """Ask a rule; one that trips over somebody's messages is told as a fault, and has found nothing."""
    try:
        with watched.memory.lock:
            return look()
    except Exception as fault:  # noqa: BLE001  # a rule must never break a call
        _fault(fault, watched.run, parts)
        return None


def refuse_or_stop(finding: Finding, watched: Watched, parts: Parts) -> Flow[None]:
    """Raise where a repetition has gone that far; observing, only say so."""
    rung = rung_of(finding, watched.loops)
    if rung is Rung.BLOCK:
        yield from block(finding, watched.run, parts)
    elif rung is Rung.STOP:
        yield from stop(finding, watched.run, parts)


def rung_of(finding: Finding, loops: Loops) -> Rung | None:
    """The rung that a repetition has reached; fetching again what we folded away reaches none, for it is our doing."""
    return None if finding.rule == "refetch" else loops.rung(finding.repeats)


def block(finding: Finding, run: Node, parts: Parts) -> Flow[None]:
    """Refuse one repetition; it counts as one, so that a loop which swallows refusals comes to its stop.

    Raises:
        LoopBlocked: enforcing.
        SpendStopped: the run is closed already.
    """
    error = LoopBlocked(
        f"refused: {_what(finding, run)} The run lives: change the call, or end the loop. {_where_meant(finding)}",
        **owner_facts(run),
        **_facts(finding),
    )
    if not parts.enforce:
        yield from tell(finding, Rung.BLOCK, run, parts)
        would_have(error, run, parts)
        return
    with suppress(LedgerError):  # It is away: refusing is safe, whoever closed the run.
        yield from raise_standing(run)
    if run.memory is not None:
        with run.memory.lock:
            counted = run.memory.refused(finding)
            run.pending = {prompt: counted if one is finding else one for prompt, one in run.pending.items()}
    yield from tell(finding, Rung.BLOCK, run, parts)
    now, key = parts.clock.now(), f"run:{run.id}"
    parts.emit(events.Refused(at=now, run_id=run.id, scope_key=key, sentence=error.sentence, error=error))
    yield from kept(run, parts, now=True)
    raise error


def stop(finding: Finding, run: Node, parts: Parts) -> Flow[None]:
    """Close the run, unless a person resumed it after this very finding.

    Raises:
        LoopDetected: enforcing.
        SpendStopped: the run was closed before.
    """
    error = LoopDetected(
        f"{_what(finding, run)} Look at what it waits for, then guard.resume({run.id!r}, why=...).",
        **owner_facts(run),
        **_facts(finding),
    )
    yield from kept(run, parts, now=True)
    try:
        yield from close_and_raise(error, run, run, parts)
    except LoopDetected as raised:
        if raised is error:
            yield from tell(finding, Rung.STOP, run, parts)
            with suppress(LedgerError):  # Then it has the receipt from before this was told.
                error.receipt = yield from ask(Book(lambda ledger: run_receipt(ledger, run.id)))
        raise
    if not parts.enforce:
        yield from tell(finding, Rung.STOP, run, parts)


def stop_after(finding: Finding, watched: Watched, parts: Parts) -> Flow[None]:
    """Close a run for a finding after the fact: what was just bought is handed out, the next call raises."""
    try:
        yield from stop(finding, watched.run, parts)
    except SpendStopped:
        return
    except LedgerError as away:
        _fault(away, watched.run, parts)


def kept(run: Node, parts: Parts, *, now: bool = False) -> Flow[None]:
    """Keep what a run repeats in the ledger, once a second at most, for a process that goes on with it."""
    memory, now_s = run.memory, parts.clock.monotonic()
    if memory is None or not memory.changed or (not now and now_s - run.kept_s < _SAVE_EVERY_S):
        return
    run.kept_s = now_s
    with memory.lock:
        state = memory.dump()
    at = parts.clock.now()
    try:
        yield from ask(Book(lambda ledger: ledger.remember(run.id, state, at)))
    except LedgerError as away:
        _fault(away, run, parts)


def forgive_in_books(run_id: str, stops: Sequence[Closure], node: Node | None, parts: Parts) -> None:
    """A person ended stops: where they were repetitions, no process that goes on with the run finds these again."""
    loops = [mapping_of(one.facts.get("evidence")) for one in stops if one.code == LoopDetected.code]
    found = [str(evidence["fingerprint"]) for evidence in loops if "fingerprint" in evidence]
    if not found:
        return
    memory = node.memory if node is not None else None
    if memory is None:
        memory = LoopMemory.load(parts.ledger.recall(run_id) or {}, key=parts.ledger.secret())
    with memory.lock:
        for fingerprint in found:
            memory.forgive(fingerprint)
        state = memory.dump()
    parts.ledger.remember(run_id, state, parts.clock.now())


def tell(finding: Finding, rung: Rung, run: Node, parts: Parts, **more: int) -> Flow[None]:
    """Say that a rung acts, once for each count that a repetition reaches; in the books first, for receipts.

    What it wasted is told as it grows, each cent once, whichever rules see it.
    """
    wasted_pico = 0
    if run.memory is not None:
        with run.memory.lock:
            wasted_pico = run.memory.attribute(finding)
    with parts.tree_lock:
        told = run.told.pop(finding.fingerprint, None)
        run.told[finding.fingerprint] = (finding.repeats, rung)
        while len(run.told) > _TOLD_MAX:
            run.told.pop(next(iter(run.told)))
    if told == (finding.repeats, rung) and not wasted_pico:
        return
    applied = parts.enforce or rung is Rung.WARN
    refused = rung in (Rung.BLOCK, Rung.STOP) and parts.enforce
    event = events.Looped(
        at=parts.clock.now(),
        run_id=run.id,
        scope_key=f"run:{run.id}",
        sentence=f"{_what(finding, run)} {_DONE[rung] if applied else 'Observing: nothing is done.'}",
        rung=rung.value,
        applied=applied,
        rule=finding.rule,
        repeats=finding.repeats,
        evidence={**finding.evidence(), **more},
        wasted=Money.from_pico(wasted_pico),
        averted=Money.from_pico(finding.mean_pico if refused else 0),
        assumption=_ASSUMPTION if refused else "",
    )
    row = guard_event(event, LOOPED, parts.ids.new())
    try:
        yield from ask(Book(lambda ledger: ledger.record(row)))
    except LedgerError as away:
        _fault(away, run, parts)
    parts.emit(event)


def _what(finding: Finding, run: Node) -> str:
    """The finding as a sentence."""
    subject, times = repr(finding.subject), f"{finding.repeats} times"
    match finding.rule:
        case "cycle":
            what = f"the calls {subject} came round {times} with the same results"
        case "same_call_same_error":
            what = f"{subject} failed with the same kind of error {times} in a row"
        case "same_prompt_same_completion":
            what = f"the same request to {subject} got the same answer {times} in the last {finding.window} answers"
        case "monologue":
            what = f"{finding.repeats} messages in a row without a tool or an answer to them"
        case "text_tail":
            what = f"a stream of {subject} said the same words {times} over"
        case "similar_answers":
            what = f"{subject} gave similar answers {times} in the last {finding.window}"
        case _:
            what = f"{subject} gave the same for the same {times} in the last {finding.window} rounds"
    return f"{run.kind} {run.name!r} repeats itself: {what} ({finding.rule})."


def _where_meant(finding: Finding) -> str:
    """What to do where the repetition is intended."""
    own = "give the tool poll=True or a loop_key" if finding.source in ("messages", "tools") else ""
    switch = f"set Loops(block_at=...) or Loops(off=[{finding.rule!r}])"
    return f"Where it is meant, {f'{own}, or ' if own else ''}{switch}."


def _facts(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "repeats": finding.repeats,
        "evidence": finding.evidence(),
        "wasted": Money.from_pico(finding.wasted_pico),
    }


def _fault(error: Exception, run: Node, parts: Parts) -> None:
    parts.emit(events.Fault(at=parts.clock.now(), run_id=run.id, where="loops", error=error))
