"""What folding and cache marks saved: noted with each settlement, written to the books with the run.

Savings are no spend: what a killed process had not written is lost, at most 32 calls of a run. Watched here too is the
provider's cache: where it holds less than it must, nothing that a prompt refers to is changed any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tokenguard.calls.effects import Book, Flow, ask
from tokenguard.calls.fold_keeping import state_of
from tokenguard.calls.folding import keep_whole
from tokenguard.calls.marking import is_hour_gap
from tokenguard.core import events
from tokenguard.core.books import Status
from tokenguard.core.savings import Saving, SavingSpend, together
from tokenguard.core.untrusted import list_of
from tokenguard.core.usage import Quality
from tokenguard.errors import TokenguardError
from tokenguard.prompt.economy import cache_prices
from tokenguard.prompt.savings import marks_saved, route_saved, saved_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenguard.calls.outcome import Sent
    from tokenguard.calls.parts import Parts
    from tokenguard.calls.scope import Node
    from tokenguard.core.books import Booking
    from tokenguard.core.usage import Usage
    from tokenguard.prompt.economy import CachePrices
    from tokenguard.prompt.state import Conversation, FoldState

__all__ = ["is_due", "note_savings", "save"]

_SAVE_EVERY: Final = 32
_LEFT_PERCENT: Final = 90
_CACHE_LOST: Final = "the provider's cache holds less of the prompt than it must"
_ANSWERED: Final = (Status.OK, Status.CLOSED)
_LATE_STAGES: Final = frozenset({"refer", "html", "learned", "trim", "retire"})


def note_savings(sent: Sent, booking: Booking, parts: Parts) -> tuple[SavingSpend, ...]:
    """What one call saved, by stage; remembered for the books. Never raises: it is paid for whatever it saved."""
    try:
        return _noted(sent, booking, parts)
    except Exception as fault:  # noqa: BLE001  # told to the sinks; the settlement stands
        run_id = sent.attempt.facts.run_id
        parts.emit(events.Fault(at=parts.clock.now(), run_id=run_id, where="savings", error=fault))
        return ()


def save(node: Node | None, parts: Parts) -> Flow[None]:
    """Write what a run saved to the books; a ledger that is away is asked again with the next call."""
    state = node.run.folding if node else parts.folding_outside
    with parts.tree_lock:
        taken, state.savings = state.savings, {}
        state.unsaved_calls = 0
    if not taken:
        return
    now, run = parts.clock.now(), node.run if node else None
    rows = [
        Saving(
            id=parts.ids.new(),
            at=now,
            run_id=run.id if run else "",
            root_id=node.root_id if node else "",
            scope=state.scope,
            agent=(node.agent or "") if node else "",
            model=model,
            stage=stage,
            applied=applied,
            calls=one.calls,
            results=one.results,
            tokens_before=one.tokens_before,
            tokens_after=one.tokens_after,
            tokens=one.tokens,
            elapsed_us=one.elapsed_us,
            estimated_pico=one.estimated.pico,
            settled_pico=one.settled.pico,
        )
        for (stage, model, applied), one in taken.items()
    ]
    try:
        yield from ask(Book(lambda ledger: ledger.note_savings(rows)))
    except TokenguardError as away:
        _add(state, taken, parts)
        parts.emit(events.Fault(at=now, run_id=run.id if run else None, where="savings", error=away))


def is_due(node: Node | None, parts: Parts) -> bool:
    """Whether so much is unwritten that it should not wait for the end of the run."""
    state = node.run.folding if node else parts.folding_outside
    return state.unsaved_calls >= _SAVE_EVERY


def _noted(sent: Sent, booking: Booking, parts: Parts) -> tuple[SavingSpend, ...]:
    state = state_of(sent.attempt.call, parts)
    found = [*_folded(sent, booking, state, parts), *route_saved(booking)]
    model = sent.attempt.target.model
    _add(state, {(one.name, model, one.applied): one for one in found}, parts)
    state.unsaved_calls += bool(found)
    state.scope = sent.attempt.call.scope
    return tuple(found)


def _folded(sent: Sent, booking: Booking, state: FoldState, parts: Parts) -> list[SavingSpend]:
    """What folding and cache marks saved, and what the provider's cache holds since."""
    attempt = sent.attempt
    call, card = attempt.call, attempt.card
    content = list_of(call.asked)
    usage = booking.usage
    if parts.folder is None or card is None or not content or usage is None or booking.status not in _ANSWERED:
        return []
    talk = state.conversation(list_of(call.given))
    ours = _tokens(sent, content, talk, parts) if call.folded else 0
    prices = cache_prices(card, input_tokens=usage.input_total)
    found: list[SavingSpend] = []
    if call.folded is not None:
        sent_so = call.folded.is_sent
        counted = usage if booking.quality is Quality.REPORTED else None
        before = talk.sent if len(content) >= talk.sent else 0
        found += saved_in(
            call.folded.folded, counted, prices, ours=ours, sent=before, calls=talk.calls + 1, applied=sent_so
        )
    # Where a provider caches by itself as well, nobody can say what our marks added.
    if attempt.content is not call.content and prices.marked == "marks" and booking.quality is Quality.REPORTED:
        found.append(marks_saved(usage, prices))
    _watch_cache(sent, usage, talk, prices, parts)
    talk.hour_gaps += bool(talk.calls) and is_hour_gap(parts.clock.monotonic() - talk.sent_s, prices)
    talk.calls += 1
    talk.sent, talk.sent_s, talk.tokens = len(content), parts.clock.monotonic(), ours
    return found


def _tokens(sent: Sent, content: Sequence[Any], talk: Conversation, parts: Parts) -> int:
    """Tokens of a prompt and its tools by our count; of one that goes on only what is new is counted."""
    attempt = sent.attempt
    model, folded = attempt.target.model, attempt.call.folded
    known = talk.sent if folded is None or not folded.folded.broken else 0
    if not talk.tokens or len(content) < known:
        known = 0
    schemas = 0 if known else parts.sizes.text(model, attempt.target.terms.schemas)
    return (talk.tokens if known else schemas) + sum(parts.sizes.of(model, content[known:]))


def _add(state: FoldState, more: dict[tuple[str, str, bool], SavingSpend], parts: Parts) -> None:
    with parts.tree_lock:
        for key, one in more.items():
            known = state.savings.get(key)
            state.savings[key] = one if known is None else together([known, one], key[0], applied=key[2])


def _watch_cache(sent: Sent, usage: Usage, talk: Conversation, prices: CachePrices, parts: Parts) -> None:
    """A prompt that goes on within the cache's life and finds less of itself there than it left was changed."""
    call = sent.attempt.call
    cached = usage.cache_read_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    idle_s = parts.clock.monotonic() - talk.sent_s
    lives = prices.life_s is not None and idle_s < prices.life_s
    less = usage.cache_read_tokens * 100 < talk.cached * _LEFT_PERCENT
    changes = call.folded.folded.changes if call.folded and not call.folded.folded.broken else ()
    late = any(step.stage in _LATE_STAGES for change in changes for step in change.steps)
    if talk.calls and lives and less and late:
        keep_whole(len(list_of(call.given)), _CACHE_LOST, call, parts)
    talk.cached = cached
