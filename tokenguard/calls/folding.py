"""Folding in a guarded call: after the question who pays, before the rules that look at the prompt.

What goes wrong here sends the prompt as it came and is told as a fault: a prompt that could not be made smaller is no
reason to refuse a call. Observing, and in runs that are held out, prompts are only measured.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from hashlib import blake2b
from operator import is_
from typing import TYPE_CHECKING, Any, Final

from tokenguard.calls.call import Applied
from tokenguard.calls.effects import Book, Flow, ask
from tokenguard.calls.fold_keeping import kept, recalled, state_of
from tokenguard.calls.retiring import forgotten, retired
from tokenguard.core import events
from tokenguard.core.folding import Level
from tokenguard.core.recovery import StoredText
from tokenguard.core.untrusted import field_of, list_of
from tokenguard.errors import TokenguardError
from tokenguard.prompt.markers import TOOL_NAME
from tokenguard.prompt.steady import in_one_order

if TYPE_CHECKING:
    from tokenguard.calls.call import Call, Target
    from tokenguard.calls.parts import Parts
    from tokenguard.prompt.folder import Folded, Folder
    from tokenguard.prompt.state import FoldState

__all__ = ["folded", "held_out", "keep_whole"]

_HELD_OUT_OF: Final = 1 << 32


def folded(call: Call, parts: Parts) -> Flow[Call]:
    """The call with its prompt as it is sent: the same, or with smaller results of tools."""
    folder = parts.folder
    if folder is None or call.operation not in ("chat", "responses") or not list_of(call.content):
        return call
    if folder.folding.does("steady", Level.LOSSLESS) and parts.enforce:
        call = _steady(call, parts)
    yield from recalled(call.node, folder.folding, parts)
    done = _folded(call, folder, parts)
    if done is None or not (done.changes or done.defused):
        return call
    if not parts.enforce or held_out(call, folder.folding.holdout):
        return replace(call, folded=Applied(done, is_sent=False))
    state = state_of(call, parts)
    lost = (yield from _lost(done, call, state, parts)) if done.originals else frozenset[str]()
    if lost:
        done = _without(lost, done, call, folder, parts)
    if state.reads_too_much_back:
        keep_whole(len(call.content), "more than three in ten of the originals left out were read back", call, parts)
    if done.restored:
        reason = f"{done.restored[0] or 'a tool'} was called again after its result was folded"
        keep_whole(len(call.content), reason, call, parts)
    yield from kept(call.node, folder.folding, parts)
    return replace(call, content=done.messages, asked=done.messages, folded=Applied(done, is_sent=True))


def _folded(call: Call, folder: Folder, parts: Parts) -> Folded | None:
    """What all stages make of a prompt; None: one of them tripped over it as a whole, and it goes as it came."""
    state = state_of(call, parts)
    try:
        leaves_out = _can_read_back(call, folder)
        done = folder.fold(call.targets[0].model, call.content, whole_from=state.whole_from, leaves_out=leaves_out)
        talk = state.conversation(call.content)
        if leaves_out and (state.whole_from is None or talk.retired is not None):
            done = retired(call, done, talk, folder.folding, parts)
    except Exception as fault:  # noqa: BLE001  # the prompt goes as it came
        _fault("prompt", fault, call, parts)
        return None
    for stage, wrong in done.faults:
        _fault(f"prompt.{stage}", wrong, call, parts)
    return done


def _steady(call: Call, parts: Parts) -> Call:
    """The call with its tools in one order."""
    targets = tuple(_in_order(target, call.operation, parts) for target in call.targets)
    return call if all(map(is_, targets, call.targets)) else replace(call, targets=targets)


def _in_order(target: Target, operation: str, parts: Parts) -> Target:
    given = list_of(target.options.get("tools"))
    tools = in_one_order(given)
    if tools is given:
        return target
    options = {**target.options, "tools": tools}
    schemas = parts.terms.of(operation, options).schemas
    return replace(target, options=options, terms=replace(target.terms, schemas=schemas))


def keep_whole(from_message: int, reason: str, call: Call, parts: Parts) -> None:
    """Say results in full from a message on, for the rest of the run, and tell why."""
    state = state_of(call, parts)
    with parts.tree_lock:
        state.whole_from = from_message if state.whole_from is None else min(state.whole_from, from_message)
        state.is_new = True
        if reason in state.told:
            return
        state.told.add(reason)
    node = call.node
    parts.emit(
        events.FoldingLimited(
            at=parts.clock.now(),
            run_id=node.run.id if node else None,
            sentence=f"results are said in full from now on: {reason}.",
            reason=reason,
        )
    )


def held_out(call: Call, share: float) -> bool:
    """Whether the run of a call is one of those that are left as they are, by its root's id, in every process alike."""
    if not share or call.node is None:
        return False
    digest = blake2b(call.node.root_id.encode(), digest_size=4).digest()
    return int.from_bytes(digest) < round(share * _HELD_OUT_OF)


def _without(lost: frozenset[str], done: Folded, call: Call, folder: Folder, parts: Parts) -> Folded:
    """The prompt with everything in full whose original could not be kept; what was sent before stays as it was."""
    state, talk = state_of(call, parts), state_of(call, parts).conversation(call.content)
    talk.retired = forgotten(talk.retired, lost)
    entered = [one.message for one in done.changes if one.marker in lost and one.steps[-1].stage != "retire"]
    if entered:
        keep_whole(min(entered), "the ledger cannot keep the originals", call, parts)
    done = folder.fold(call.targets[0].model, call.content, whole_from=state.whole_from)
    return retired(call, done, talk, folder.folding, parts, decides=False) if talk.retired else done


def _lost(done: Folded, call: Call, state: FoldState, parts: Parts) -> Flow[frozenset[str]]:
    """Keep the originals of what is left out, before it is sent; the markers of those that cannot be kept."""
    assert parts.folder is not None, "something was folded"
    assert call.node is not None, "outside of runs nothing is left out"
    now, root_id = parts.clock.now(), call.node.root_id
    life = timedelta(days=parts.folder.folding.recovery_days)
    # Kept again from half of their days on, so that no marker outlives what it stands for.
    missing = {
        marker: text
        for marker, text in done.originals.items()
        if marker not in state.stored or now - state.stored[marker] > life / 2
    }
    if not missing:
        return frozenset()
    try:
        texts = [
            StoredText(marker=marker, root_id=root_id, text=text, at=now, until=now + life)
            for marker, text in missing.items()
        ]
        yield from ask(Book(lambda ledger: ledger.store_texts(texts)))
    except TokenguardError as away:
        _fault("prompt.store", away, call, parts)
        return frozenset(missing)
    state.stored.update(dict.fromkeys(missing, now))
    return frozenset()


def _can_read_back(call: Call, folder: Folder) -> bool:
    """Whether a marker would lead back to its original: nobody's calls share a store, and a tool must be there."""
    if call.node is None:
        return False
    if folder.folding.recovery != "tool":
        return True
    return any(_tool_name(tool) == TOOL_NAME for tool in list_of(call.targets[0].options.get("tools")))


def _tool_name(tool: Any) -> Any:
    return field_of(field_of(tool, "function"), "name") or field_of(tool, "name")


def _fault(where: str, fault: Exception, call: Call, parts: Parts) -> None:
    run_id = call.node.run.id if call.node else None
    parts.emit(events.Fault(at=parts.clock.now(), run_id=run_id, where=where, error=fault))
