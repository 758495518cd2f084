"""Warn where a run's answers say the same in other words. It never adds to, refuses or stops anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenguard.calls.effects import Book, Flow, ask
from tokenguard.calls.loop_acts import safely, tell
from tokenguard.core import events
from tokenguard.core.ladder import SIMILAR_FROM, Rung
from tokenguard.loops.semantic import RULE, Embedder, Said

if TYPE_CHECKING:
    from tokenguard.calls.loop_acts import Watched
    from tokenguard.calls.outcome import Sent
    from tokenguard.calls.parts import Parts
    from tokenguard.core.ports import Part

__all__ = ["warned"]


def warned(sent: Sent, part: Part, watch: Watched, parts: Parts) -> Flow[None]:
    """Warn where an answer is at least the third similar one of the latest.

    What fails (no model in the folder, no model2vec) is told once as a fault, and the rule is off for this guard.
    """
    folder = watch.loops.similar_by
    if folder is None or RULE in watch.loops.off:
        return
    ended_s, text = parts.clock.monotonic(), _spoken(sent, part)
    embedder = parts.embedders.setdefault(folder, Embedder(folder))
    try:
        if not embedder.ready:
            # Where books are written is where waiting is allowed: an event loop must not stand still for the loading.
            yield from ask(Book(lambda _: embedder.load()))
        vector = embedder.vector(text)
    except Exception as fault:  # noqa: BLE001  # a rule must never break a paid answer
        parts.emit(events.Fault(at=parts.clock.now(), run_id=watch.run.id, where="loops", error=fault))
        return
    if vector is None:
        return
    model, began_s = sent.attempt.target.model, sent.attempt.call.began_s
    said = Said(vector, folder, model, began_s, ended_s)
    found = safely(lambda: watch.memory.similar.noted(said, watch.loops), watch, parts)
    if found is not None:
        finding, alike_percent = found
        assert finding.repeats >= SIMILAR_FROM, "fewer are no warning"
        yield from tell(finding, Rung.WARN, watch.run, parts, similar_percent=alike_percent)


def _spoken(sent: Sent, part: Part) -> str:
    """What the model said; empty where that is not known apart from the arguments of the tool calls it made."""
    if sent.attempt.call.terms.stream:
        return "" if part.finish_reason in ("tool_calls", "function_call") else part.text
    content = (part.reply or {}).get("content")
    return content if isinstance(content, str) else ""
