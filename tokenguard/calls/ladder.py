"""The rungs that go by what is spent: tell the model, keep answers short, let another model answer.

All of them change what is sent, so observing only says that they would have acted.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from tokenguard.calls.call import Target, other_target
from tokenguard.calls.steering import LAST_WORDS, budget_note, with_note
from tokenguard.core import events
from tokenguard.core.ladder import Rung
from tokenguard.errors import Unpriceable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokenguard.calls.call import Call
    from tokenguard.calls.parts import Parts
    from tokenguard.calls.scope import Node
    from tokenguard.core.verdict import AccountState

__all__ = ["climbed", "last_words"]

_MILLION: Final = 1_000_000


def climbed(call: Call, parts: Parts) -> Call:
    """The call as the rungs leave it that what is spent has reached."""
    ladder, node = call.ladder, call.node
    if node is None or not ladder.looks or call.operation not in ("chat", "responses"):
        return call
    states = parts.shares.of(call.path.keys, parts.clock.now())
    share = _share(states, node, parts)
    if ladder.reroute_at is not None and ladder.reroute_to is not None and share >= _parts_of(ladder.reroute_at):
        call = _rerouted(call, share, parts)
    if ladder.shrink_at is not None and ladder.shrink_to is not None and share >= _parts_of(ladder.shrink_at):
        call = _shrunk(call, share, parts)
    if ladder.steer_at is not None and share >= _parts_of(ladder.steer_at):
        short = [one for one in states if one.settled * _MILLION >= _parts_of(ladder.steer_at) * one.cap]
        wall = _wall(node, ladder.steer_at, parts)
        if not short and wall is None:
            return call  # Nothing is known of what is left.
        call = _told(call, budget_note(f"{node.run.kind} {node.run.name}", short, wall), share, parts)
    return call


def last_words(call: Call, parts: Parts) -> Call:
    """The call that spends the money kept back: it is told that it is the last."""
    _tell(call, Rung.FINAL, {"note_tokens": parts.counter.count(call.targets[0].model, LAST_WORDS)}, parts)
    content = with_note(call.content, LAST_WORDS)
    return call if content is None else replace(call, content=content)


def _told(call: Call, note: str, share: int, parts: Parts) -> Call:
    """The model is told what is left, where its prompt has a place for it."""
    content = with_note(call.content, note)
    if content is None:
        return call
    tokens = parts.counter.count(call.targets[0].model, note)
    _tell(call, Rung.STEER, {"share_percent": share // 10_000, "note_tokens": tokens}, parts)
    return replace(call, content=content) if parts.enforce else call


def _rerouted(call: Call, share: int, parts: Parts) -> Call:
    """Another model answers first; the call's own fallbacks stay behind it."""
    asked = call.targets[0]
    other = call.ladder.reroute_to
    assert other is not None, "only a ladder that names one reroutes"
    target = other_target(other, asked, call.operation, parts.terms)
    if (target.model, target.options) == (asked.model, asked.options) or not _priced(target, call, parts):
        return call
    _tell(call, Rung.REROUTE, {"share_percent": share // 10_000, "asked": asked.model, "answers": target.model}, parts)
    return replace(call, targets=(target, *call.targets[1:]), is_rerouted=True) if parts.enforce else call


def _priced(target: Target, call: Call, parts: Parts) -> bool:
    """Whether another model has a price; without one the model that was asked for answers, and somebody is told."""
    if parts.routes is not None and parts.routes.of(target.model) is not None:
        return True
    base = target.options.get("base_model")
    try:
        parts.prices.card(target.model, at=parts.clock.now(), base_model=base if isinstance(base, str) else None)
    except Unpriceable as unknown:
        if parts.prices.observe_unknown:
            return True
        run_id = call.node.run.id if call.node else None
        parts.emit(events.Fault(at=parts.clock.now(), run_id=run_id, where="ladder", error=unknown))
        return False
    return True


def _shrunk(call: Call, share: int, parts: Parts) -> Call:
    """Shorter answers; never below what thinking or a structured answer needs."""
    targets = tuple(
        _shorter(target, max(call.ladder.shrink_to or 0, call.output_min(target))) for target in call.targets
    )
    if targets == call.targets:
        return call
    evidence = {"share_percent": share // 10_000, "max_tokens": targets[0].terms.output_given}
    _tell(call, Rung.SHRINK, evidence, parts)
    return replace(call, targets=targets) if parts.enforce else call


def _shorter(target: Target, most: int) -> Target:
    terms = target.terms
    assert terms.output_name is not None, "chats and responses have a bound"
    if terms.output_given is not None and terms.output_given <= most:
        return target
    return replace(
        target,
        options={**target.options, terms.output_name: most},
        terms=replace(terms, output_given=most),
    )


def _share(states: Sequence[AccountState], node: Node, parts: Parts) -> int:
    """The most spent cap, in parts of a million; a run's time counts like any other."""
    spent = [states[0].settled * _MILLION // states[0].cap] if states else []
    now_s = parts.clock.monotonic()
    spent += [round((now_s - one.began_s) / one.wall_s * _MILLION) for one in node.lineage if one.wall_s is not None]
    return max(spent, default=0)


def _wall(node: Node, share: float, parts: Parts) -> tuple[timedelta, timedelta] | None:
    """Time left and time given of the innermost run that is short of it."""
    now_s = parts.clock.monotonic()
    for one in node.lineage:
        if one.wall_s is not None and now_s - one.began_s >= share * one.wall_s:
            return timedelta(seconds=one.wall_s - (now_s - one.began_s)), timedelta(seconds=one.wall_s)
    return None


def _parts_of(share: float) -> int:
    """A user's share (0.8) as parts of a million, which amounts are compared in."""
    return round(share * _MILLION)


def _tell(call: Call, rung: Rung, evidence: Mapping[str, Any], parts: Parts) -> None:
    """Say that a rung acts; once per rung and entry."""
    node = call.node
    assert node is not None, "only calls inside a run climb"
    with parts.tree_lock:
        if rung in node.run.climbed:
            return
        node.run.climbed.add(rung)
    parts.emit(
        events.Laddered(
            at=parts.clock.now(),
            run_id=node.run.id,
            scope_key=f"run:{node.run.id}",
            sentence=_sentence(rung, node, evidence, applied=parts.enforce),
            rung=rung.value,
            applied=parts.enforce,
            evidence=evidence,
        )
    )


def _sentence(rung: Rung, node: Node, evidence: Mapping[str, Any], *, applied: bool) -> str:
    """What was done, for people."""
    what = {
        Rung.STEER: "the model is told what is left ({note_tokens} tokens)",
        Rung.SHRINK: "answers are held to {max_tokens:,} tokens",
        Rung.REROUTE: "{answers} answers instead of {asked}",
        Rung.FINAL: "the last answer is paid from the money kept back for it",
    }[rung].format_map(evidence)
    at = f" at {evidence['share_percent']} % of a cap" if "share_percent" in evidence else ""
    would = "" if applied else " (observing: nothing was changed)"
    return f"{node.run.kind} {node.run.name!r}: {what}{at}{would}."
