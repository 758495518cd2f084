"""When the repetition rules are asked: before a call, after an answer, around a guarded tool, inside a stream.

The rules are pure (`loops/`). Told at the third equal round, refused at the fourth, stopped at the sixth, unless
`Loops` says otherwise.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tokenguard.calls.loop_acts import block, kept, refuse_or_stop, rung_of, safely, stop, stop_after, tell, watched
from tokenguard.calls.scope import Pending
from tokenguard.calls.steering import repeat_note, with_note
from tokenguard.core import events
from tokenguard.core.books import Status
from tokenguard.core.ladder import Rung
from tokenguard.core.untrusted import list_of
from tokenguard.core.usage import Quality
from tokenguard.errors import LedgerError, LoopBlocked, SpendStopped

if TYPE_CHECKING:
    from tokenguard.calls.call import Call
    from tokenguard.calls.effects import Flow
    from tokenguard.calls.loop_acts import Watched
    from tokenguard.calls.outcome import Sent
    from tokenguard.calls.parts import Parts
    from tokenguard.calls.scope import Node
    from tokenguard.core.books import Booking
    from tokenguard.core.ladder import Loops
    from tokenguard.core.ports import Part
    from tokenguard.loops.finding import Finding

__all__ = ["ToolUse", "after_tool", "before_call", "before_tool", "circled", "learned"]

_STRIKES: Final = 3
"""The stream of a run that closes it, of those whose text goes in circles."""


class ToolUse(NamedTuple):
    """One call of a guarded tool."""

    tool: str
    key: Any
    """The arguments that make two calls equal."""
    began_s: float
    """Monotonic."""
    node: Node | None
    loops: Loops | None


def before_call(call: Call, parts: Parts) -> Flow[Call]:
    """The call, with a note where its conversation repeats itself; raises where that goes too far.

    Raises:
        LoopBlocked: the call would go on with what gave the same before; the run lives.
        LoopDetected: the run is closed.
    """
    if call.operation not in ("chat", "responses"):
        return call
    watch = yield from watched(call.node, call.ladder.loops, parts)
    if watch is None:
        return call
    finding = safely(lambda: watch.memory.asked(_conversation(call)), watch.run, parts)
    if finding is None:
        return (yield from _meeting_pending(call, watch, parts))
    rung = rung_of(finding, watch.loops)
    if rung is Rung.STEER:
        return (yield from _steered(call, finding, watch, parts))
    # A tool that was not run has told the model so in its result: the model must be able to read that.
    if rung is not Rung.BLOCK or not finding.blocked:
        yield from refuse_or_stop(finding, watch, parts)
    return call


def learned(sent: Sent, part: Part, booking: Booking, parts: Parts) -> Flow[None]:
    """After an answer: remember what its prompt counted, and whether the same answer keeps coming back.

    A loop found here closes the run but the answer is handed out: it is paid for.
    """
    call = sent.attempt.call
    if call.operation != "chat":
        return
    try:
        prompt, answered = _remember_count(sent, part, booking, parts)
    except Exception as fault:  # noqa: BLE001  # a counter that fails must never break a paid answer
        run_id = sent.attempt.facts.run_id
        parts.emit(events.Fault(at=parts.clock.now(), run_id=run_id, where="learn", error=fault))
        return
    watch = yield from watched(call.node, call.ladder.loops, parts)
    if watch is None:
        return
    finding = safely(
        lambda: watch.memory.answered(
            answered,
            part.reply or {},
            model=sent.attempt.target.model,
            began_s=call.began_s,
            ended_s=parts.clock.monotonic(),
            cost_pico=booking.amounts.usd_pico,
        ),
        watch.run,
        parts,
    )
    yield from _found_after(finding, prompt, watch, parts)


def before_tool(use: ToolUse, parts: Parts) -> Flow[Finding | None]:
    """What running a guarded tool would only repeat; None: run it.

    Raises:
        LoopBlocked: by `Loops(blocked="raise")`.
        LoopDetected: the run is closed.
    """
    watch = yield from watched(use.node, use.loops, parts)
    finding = safely(lambda: watch.memory.calling(use.tool, use.key), watch.run, parts) if watch else None
    if watch is None or finding is None:
        return None
    try:
        yield from refuse_or_stop(finding, watch, parts)
    except LoopBlocked:
        if watch.loops.blocked == "raise":
            raise
        return finding
    return None


def after_tool(use: ToolUse, result: Any, parts: Parts) -> Flow[None]:
    """Note what a guarded tool gave. A run that ends by it still gets the result: the next call raises."""
    watch = yield from watched(use.node, use.loops, parts)
    if watch is None:
        return
    ended_s = parts.clock.monotonic()
    finding = safely(
        lambda: watch.memory.returned(use.tool, use.key, result, began_s=use.began_s, ended_s=ended_s),
        watch.run,
        parts,
    )
    yield from _found_after(finding, None, watch, parts)


def circled(finding: Finding, node: Node, parts: Parts) -> Flow[LoopBlocked | SpendStopped | None]:
    """What the reader of a stream is told whose text goes in circles; None: observing, it reads on.

    The third such stream of a run closes the run.
    """
    run = node.run
    run.strikes += 1
    try:
        if run.strikes >= _STRIKES:
            yield from stop(finding, run, parts)
        else:
            yield from block(finding, run, parts)
    except (LoopBlocked, SpendStopped) as error:
        return error
    except LedgerError as away:
        parts.emit(events.Fault(at=parts.clock.now(), run_id=run.id, where="loops", error=away))
    return None


def _steered(call: Call, finding: Finding, watch: Watched, parts: Parts) -> Flow[Call]:
    """The call with a note that says what repeats."""
    note = repeat_note(finding)
    note_tokens = parts.counter.count(call.targets[0].model, note)
    yield from tell(finding, Rung.STEER, watch.run, parts, note_tokens=note_tokens)
    yield from kept(watch.run, parts, now=True)
    return replace(call, content=with_note(call.content, note, interrupts=True)) if parts.enforce else call


def _meeting_pending(call: Call, watch: Watched, parts: Parts) -> Flow[Call]:
    """Meet what was found after an earlier call: the same prompt again is refused, another one goes on.

    What a tool gave is only told: the tool itself refuses to run again.
    """
    run, pending = watch.run, watch.run.pending
    if pending is None:
        return call
    if pending.prompt is None:
        run.pending = None
        return (yield from _steered(call, pending.finding, watch, parts))
    if safely(lambda: _prompt_digest(call, parts), run, parts) != pending.prompt:
        run.pending = None
        return call
    if rung_of(pending.finding, watch.loops) is Rung.STEER:
        return (yield from _steered(call, pending.finding, watch, parts))
    yield from refuse_or_stop(pending.finding, watch, parts)
    return call


def _found_after(finding: Finding | None, prompt: str | None, watch: Watched, parts: Parts) -> Flow[None]:
    """Stop a run now, or leave a finding to the next call."""
    rung = rung_of(finding, watch.loops) if finding else None
    if finding is not None and rung is Rung.STOP:
        watch.run.pending = None
        yield from stop_after(finding, watch, parts)
    elif finding is not None and rung is not None:
        watch.run.pending = Pending(finding, prompt)
    yield from kept(watch.run, parts, now=rung is not None)


def _conversation(call: Call) -> Any:
    """What the rules look at: messages, or the items of the responses API."""
    return call.messages if call.operation == "chat" else list_of(call.content)


def _prompt_digest(call: Call, parts: Parts) -> str:
    """The counter's digest of a prompt that was not sent yet."""
    target = call.targets[0]
    return parts.counter.learn(parts.counter.read(target.model, call.messages, target.terms.schemas), None, tokens=0)


def _remember_count(sent: Sent, part: Part, booking: Booking, parts: Parts) -> tuple[str, str]:
    """Teach the counter what the provider counted for this prompt; its digests of the prompt, and with the reply."""
    usage = booking.usage
    if part.usage is None:
        usage = None
    elif usage is None or booking.status is not Status.OK or booking.quality is not Quality.REPORTED:
        # What was booked is not what the provider counted, or not for certain.
        usage = parts.split_usage(part.usage, provider=sent.attempt.facts.provider)
    prompt, reply = sent.attempt.prompt, part.reply or {"role": "assistant", "content": part.text}
    assert prompt is not None, "only a charge has none"
    answered = parts.counter.learn(prompt, reply, tokens=usage.input_total if usage else 0)
    call, target = sent.attempt.call, sent.attempt.target
    if call.asked is not call.content:
        # A note of ours must not make equal prompts different.
        prompt = parts.counter.read(target.model, call.asked, target.terms.schemas)
        answered = parts.counter.learn(prompt, reply, tokens=0)
    return parts.counter.learn(prompt, None, tokens=0), answered
