"""When the repetition rules are asked: before a call, after an answer, around a guarded tool, inside a stream.

The rules are pure (`loops/`). Told at the third equal round, refused at the fourth, stopped at the sixth, unless
`Loops` says otherwise.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tokenguard.calls.attempt import UNSEEN
from tokenguard.calls.loop_acts import block, kept, refuse_or_stop, rung_of, safely, stop, stop_after, tell, watched
from tokenguard.calls.similar import warned
from tokenguard.calls.steering import repeat_note, with_note
from tokenguard.core import events
from tokenguard.core.books import Status
from tokenguard.core.ladder import Rung
from tokenguard.core.untrusted import list_of
from tokenguard.core.usage import Quality
from tokenguard.errors import LedgerError, LoopBlocked, SpendStopped

if TYPE_CHECKING:
    from tokenguard.calls.call import Call, Target
    from tokenguard.calls.effects import Flow
    from tokenguard.calls.loop_acts import Watched
    from tokenguard.calls.outcome import Sent
    from tokenguard.calls.parts import Parts
    from tokenguard.calls.scope import Node
    from tokenguard.core.books import Booking
    from tokenguard.core.counter import Prompt
    from tokenguard.core.ladder import Loops
    from tokenguard.core.ports import Part
    from tokenguard.loops.finding import Finding

__all__ = ["ToolUse", "after_tool", "before_call", "before_tool", "circled", "learned"]

_STRIKES: Final = 3
"""So many of the latest streams whose text went in circles close their run."""
_PENDING_MAX: Final = 32
_OPTION_MAX: Final = 200
_SAMPLING: Final = ("temperature", "top_p", "top_k", "seed", "n", "frequency_penalty", "presence_penalty", "logit_bias")


class ToolUse(NamedTuple):
    """One call of a guarded tool."""

    tool: str
    key: Any
    """The arguments that make two calls equal."""
    began_s: float
    """Monotonic."""
    node: Node | None
    loops: Loops | None
    opened_by: object
    """The task or thread that calls it."""


def caller_of(opened_by: object) -> int:
    """A task or thread as a number."""
    return opened_by if isinstance(opened_by, int) else id(opened_by)


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
    finding = safely(lambda: watch.memory.asked(_conversation(call), watch.loops), watch, parts)
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
    if call.operation not in ("chat", "responses"):
        return
    try:
        prompt, answered = _remember_count(sent, part, booking, parts)
    except Exception as fault:  # noqa: BLE001  # a counter that fails must never break a paid answer
        run_id = sent.attempt.facts.run_id
        parts.emit(events.Fault(at=parts.clock.now(), run_id=run_id, where="learn", error=fault))
        return
    watch = yield from watched(call.node, call.ladder.loops, parts)
    if watch is None or part.cache_hit:
        return
    if call.terms.stream:
        watch.run.streams_seen.append(False)
    finding = safely(
        lambda: watch.memory.answered(
            answered,
            part.reply or {},
            watch.loops,
            model=sent.attempt.target.model,
            began_s=call.began_s,
            ended_s=parts.clock.monotonic(),
            cost_pico=booking.amounts.usd_pico,
            caller=caller_of(call.opened_by),
        ),
        watch,
        parts,
    )
    yield from _found_after(finding, prompt, watch, parts)
    if finding is None or rung_of(finding, watch.loops) is None:
        yield from warned(sent, part, watch, parts)


def before_tool(use: ToolUse, parts: Parts) -> Flow[Finding | None]:
    """What running a guarded tool would only repeat; None: run it.

    Raises:
        LoopBlocked: by `Loops(blocked="raise")`.
        LoopDetected: the run is closed.
    """
    watch = yield from watched(use.node, use.loops, parts)
    if watch is None:
        return None
    finding = safely(
        lambda: watch.memory.calling(use.tool, use.key, watch.loops, caller=caller_of(use.opened_by)), watch, parts
    )
    if finding is None:
        return None
    try:
        yield from refuse_or_stop(finding, watch, parts)
    except LoopBlocked:
        if watch.loops.blocked == "raise":
            raise
        return finding
    return None


def after_tool(use: ToolUse, result: Any, parts: Parts) -> Flow[None]:
    """Note what a guarded tool gave or raised. A run that ends by it still gets that: the next call raises."""
    watch = yield from watched(use.node, use.loops, parts)
    if watch is None:
        return
    ended_s = parts.clock.monotonic()
    finding = safely(
        lambda: watch.memory.returned(
            use.tool,
            use.key,
            result,
            watch.loops,
            began_s=use.began_s,
            ended_s=ended_s,
            caller=caller_of(use.opened_by),
        ),
        watch,
        parts,
    )
    yield from _found_after(finding, "", watch, parts)


def circled(finding: Finding, loops: Loops, node: Node, parts: Parts) -> Flow[LoopBlocked | SpendStopped | None]:
    """What the reader of a stream is told whose text goes in circles; None: that rung is off, it reads on.

    The third such stream of the latest ten closes the run.
    """
    run = node.run
    run.streams_seen.append(True)
    try:
        if loops.stop_at is not None and sum(run.streams_seen) >= _STRIKES:
            yield from stop(finding, run, parts)
        elif loops.block_at is not None:
            yield from block(finding, run, parts)
        else:
            yield from tell(finding, Rung.STEER, run, parts)
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
    """Meet what was found after an earlier call: the same prompt again is refused, others go on.

    What a tool gave is only told: the tool itself refuses to run again.
    """
    pending = watch.run.pending
    found = pending.pop("", None)
    if found is not None:
        return (yield from _steered(call, found, watch, parts))
    if pending:
        found = pending.get(safely(lambda: _prompt_digest(call, parts), watch, parts) or "")
    if found is None:
        return call
    if rung_of(found, watch.loops) is Rung.STEER:
        return (yield from _steered(call, found, watch, parts))
    yield from refuse_or_stop(found, watch, parts)
    return call


def _found_after(finding: Finding | None, prompt: str, watch: Watched, parts: Parts) -> Flow[None]:
    """Stop a run now, or leave a finding to the next call with this prompt; without one, to the next call."""
    rung = rung_of(finding, watch.loops) if finding else None
    pending = watch.run.pending
    pending.pop(prompt, None)
    if finding is not None and rung is Rung.STOP:
        yield from stop_after(finding, watch, parts)
    elif finding is not None and rung is not None:
        pending[prompt] = finding
        while len(pending) > _PENDING_MAX:
            pending.pop(next(iter(pending)))
    yield from kept(watch.run, parts, now=rung is not None)


def _conversation(call: Call) -> Any:
    """What the rules look at: messages, or the items of the responses API, as the caller gave them."""
    return call.given if call.operation == "chat" else list_of(call.given)


def _read(call: Call, target: Target, content: Any, parts: Parts) -> Prompt:
    """What the counter makes of a prompt, without a note of ours."""
    if call.operation == "chat":
        return parts.counter.read(target.model, content, target.terms.schemas)
    instructions = target.options.get("instructions")
    return parts.counter.read_input(target.model, content, instructions=instructions, schemas=target.terms.schemas)


def _prompt_digest(call: Call, parts: Parts) -> str:
    """Digest of a prompt that was not sent yet."""
    target = call.targets[0]
    digest = parts.counter.learn(_read(call, target, call.content, parts), None, tokens=0)
    return f"{digest} {_sampling(target)}"


def _sampling(target: Target) -> str:
    """What makes another try of an equal prompt: a sweep over temperatures asks for different answers."""
    given = [f"{name}={target.options[name]!r}"[:_OPTION_MAX] for name in _SAMPLING if name in target.options]
    return " ".join(given)


def _remember_count(sent: Sent, part: Part, booking: Booking, parts: Parts) -> tuple[str, str]:
    """Teach the counter what the provider counted for this prompt; digests of the prompt, and with the reply."""
    call, target, prompt = sent.attempt.call, sent.attempt.target, sent.attempt.prompt
    assert prompt is not None, "only a charge has none"
    reply = part.reply or {"role": "assistant", "content": part.text}
    counted = _counted_input(sent, part, booking, parts) if call.operation == "chat" else 0
    answered = parts.counter.learn(prompt, reply, tokens=counted)
    if call.operation == "responses" and any(target.options.get(name) for name in UNSEEN):
        return call.id, call.id  # The provider knows more of the prompt than we do: it is equal to no other.
    if call.asked is not call.content:
        # A note of ours must not make equal prompts different.
        prompt = _read(call, target, call.asked, parts)
        answered = parts.counter.learn(prompt, reply, tokens=0)
    sampling = _sampling(target)
    return f"{parts.counter.learn(prompt, None, tokens=0)} {sampling}", f"{answered} {sampling}"


def _counted_input(sent: Sent, part: Part, booking: Booking, parts: Parts) -> int:
    """What the provider counted for the prompt; 0: it did not say."""
    usage = booking.usage
    if part.usage is None:
        usage = None
    elif usage is None or booking.status is not Status.OK or booking.quality is not Quality.REPORTED:
        # What was booked is not what the provider counted, or not for certain.
        usage = parts.split_usage(part.usage, provider=sent.attempt.facts.provider)
    return usage.input_total if usage else 0
