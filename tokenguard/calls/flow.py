"""The guarded call, as one generator: policy here, I/O in the drivers.

Order: who pays (already in the call) → fold → loop → velocity → ladder (reroute, shorten, say what is left) → price and
ceiling → Reserve root → leaf → Send → settle.
Verdicts in their precedence: revoked > loop > depth > fan-out > velocity > steps > calls > tokens > usd > wall;
outermost scope first.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tokenguard.calls.attempt import Attempt, prepare, request_for
from tokenguard.calls.baggage import with_baggage
from tokenguard.calls.effects import Flow, Reserve, Send, Wait, ask
from tokenguard.calls.folding import folded
from tokenguard.calls.guards import check_wall
from tokenguard.calls.ladder import climbed, last_words
from tokenguard.calls.loop_checks import before_call, learned
from tokenguard.calls.outcome import Sent, posted, unresolved
from tokenguard.calls.receipts import attach_receipt
from tokenguard.calls.routes import count_in, left_over, routed
from tokenguard.calls.settlement import failed, kept, returned, settled, spent
from tokenguard.calls.velocity import check_velocity, lifted, outpaced, would_outpace
from tokenguard.core import events
from tokenguard.core.books import Closure
from tokenguard.core.ports import Failure
from tokenguard.core.stops import closes_run, error_from, error_of
from tokenguard.core.tree import TooFast
from tokenguard.core.verdict import Grant, Reason, Short
from tokenguard.errors import HeadroomBusy, LedgerError, SpendRefused, TokenguardError, Unpriceable

if TYPE_CHECKING:
    from tokenguard.calls.call import Call, Target
    from tokenguard.calls.parts import Parts
    from tokenguard.calls.waiting import Ticket
    from tokenguard.core.ports import Request
    from tokenguard.core.verdict import Ask

__all__ = ["Opened", "guarded", "reserved"]

_FIRST_LOOK_S = 0.02
_SLOWEST_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Opened:
    """A stream that was granted and answered; settling it is up to whoever reads it."""

    sent: Sent
    upstream: Any


def guarded(call: Call, parts: Parts) -> Flow[Any]:
    """Run one call to its end: its reply, or an `Opened` stream.

    Every retry and every fallback is an attempt with a hold of its own. Errors of the provider come out untouched.
    """
    call = yield from folded(call, parts)
    call = yield from before_call(call, parts)
    yield from check_velocity(call, parts)
    call = routed(climbed(call, parts), parts)
    retry = parts.retry(call.terms.retries)
    number, tried, left = 0, 0, list(call.targets)
    last: Exception | None = None
    while True:
        number, tried = number + 1, tried + 1
        sent = yield from _granted(call, left[0], number, parts)
        yield from check_wall(sent, parts)
        if not count_in(sent, parts):
            yield from returned(sent, parts)
            left, tried = left[1:], 0
            if not left:
                raise last or left_over(call)
            continue
        request = request_for(sent.attempt, sent.grant, final=sent.final, enforce=parts.enforce)
        if parts.baggage_hosts:
            request = yield from _laden(request, sent, parts)
        send = Send(request)
        try:
            reply = yield from ask(send)
        except BaseException as error:
            failure = yield from failed(sent, send, error, parts)
            if not isinstance(error, Exception) or isinstance(error, TokenguardError):
                raise
            last = error
            # The next endpoint of a route answers sooner than the same one would after a pause.
            goes_on = len(left) > 1 and left[0].choice is not None
            wait_s = None if goes_on else retry.next_wait(tried, failure)
            if wait_s is None and len(left) == 1:
                raise
        else:
            return (yield from _answered(sent, reply, parts))
        if wait_s is None:
            left, tried = left[1:], 0  # The next target.
        else:
            yield from ask(Wait(wait_s))


def _laden(request: Request, sent: Sent, parts: Parts) -> Flow[Request]:
    """The request with its baggage; a ledger that cannot sign it now gives the hold back."""
    try:
        return (yield from with_baggage(request, sent.attempt, parts))
    except BaseException:
        yield from returned(sent, parts)
        raise


def _answered(sent: Sent, reply: Any, parts: Parts) -> Flow[Any]:
    """Settle a whole reply, or hand on an open stream."""
    if sent.attempt.call.terms.stream:
        return Opened(sent, reply)
    try:
        part = parts.backend.read(sent.attempt.call.operation, reply)
        booking = posted(sent, part, parts)
    except Exception as fault:  # noqa: BLE001  # the answer is paid for: it is handed out, and its hold stands
        parts.emit(events.Fault(at=parts.clock.now(), run_id=sent.attempt.facts.run_id, where="read", error=fault))
        unread = Failure(billed=True, retryable=False, error_class=type(fault).__name__)
        yield from kept(sent, unresolved(sent, unread, parts), parts)
        return reply
    receipt = yield from settled(sent, booking, parts)
    attach_receipt(reply, receipt)
    yield from learned(sent, part, booking, parts)
    return reply


def _granted(call: Call, target: Target, number: int, parts: Parts) -> Flow[Sent]:
    """Prepare an attempt and reserve for it; refusals are told to the sinks."""
    try:
        attempt = prepare(call, target, number, parts)
        sent = yield from reserved(attempt, parts)
    except SpendRefused as refusal:
        parts.emit(
            events.Refused(
                at=parts.clock.now(),
                run_id=call.node.run.id if call.node else None,
                sentence=refusal.sentence,
                error=refusal,
            )
        )
        raise
    asked, granted = target.terms.output_given, sent.grant.output_tokens
    if sent.clamped and asked is not None:
        parts.emit(
            events.Clamped(
                at=parts.clock.now(),
                run_id=attempt.facts.run_id,
                sentence=f"max_tokens was lowered from {asked:,} to {granted:,}, what its budget can still pay.",
                asked=asked,
                granted=granted,
                model=target.model,
            )
        )
    return sent


def reserved(attempt: Attempt, parts: Parts) -> Flow[Sent]:
    """Hold the worst case, waiting for room where calls in flight hold it."""
    ask_, final, looks, granted = attempt.bounds.ask, None, 0, False
    deadline_s = parts.clock.monotonic() + min(parts.busy_timeout_s, attempt.call.terms.timeout_s)
    ticket = _line_up(attempt, None, parts)
    try:
        while True:
            if ticket is None or ticket.is_head:
                attempt = _fresh(attempt, parts) if looks else attempt
                verdict = yield from _asked(attempt, ask_, parts)
                if isinstance(verdict, Grant):
                    granted = True
                    parts.watch.opened(attempt.hold.id)
                    return Sent(attempt, verdict, parts.clock.monotonic(), final=final is not None)
                if final is None and (final := _take_reserve(verdict, attempt, parts)) is not None:
                    attempt = _last_attempt(attempt, parts)
                    ask_ = replace(attempt.bounds.ask, final_scope=final)
                    continue
                yield from _raise_unless_busy(verdict, attempt, parts)
                looks += 1
                ticket = _line_up(attempt, ticket, parts, short=verdict)
            left_s = deadline_s - parts.clock.monotonic()
            if left_s <= 0:
                raise _late(attempt, parts)
            is_head = ticket is None or ticket.is_head
            yield from ask(Wait(min(left_s, _look_s(looks, parts)) if is_head else left_s, ticket))
    finally:
        if ticket is not None:
            ticket.leave()
        if final is not None and not granted:
            _leave_reserve(attempt, parts)


def _asked(attempt: Attempt, ask_: Ask, parts: Parts) -> Flow[Grant | Short | Closure | TooFast]:
    """One reservation; if it is interrupted, whatever it wrote is given back."""
    node = attempt.call.node
    marks = [(one, one.stopped) for one in node.lineage if one.stopped is not None] if node else []
    try:
        verdict = yield from ask(Reserve(attempt.hold, ask_))
    except TokenguardError as refusal:
        if getattr(refusal, "in_doubt", False):
            with suppress(LedgerError):  # It may still be away: then what was written ends with its lease.
                yield from returned(Sent(attempt, Grant(ask_.amounts(0), 0), parts.clock.monotonic()), parts)
        raise  # Else it is the ledger's own word that nothing was written.
    except BaseException:
        yield from returned(Sent(attempt, Grant(ask_.amounts(0), 0), parts.clock.monotonic()), parts)
        raise
    if isinstance(verdict, Grant):
        if attempt.call.ladder.looks:
            parts.shares.note(verdict.states)
        for one, mark in marks:
            lifted(one, mark, parts)
        if verdict.outpaced is not None:
            would_outpace(verdict.outpaced, node, parts)
    return verdict


def _raise_unless_busy(verdict: Short | Closure | TooFast, attempt: Attempt, parts: Parts) -> Flow[None]:
    """Turn every verdict but a wait into its error."""
    node = attempt.call.node
    if isinstance(verdict, Closure):
        error = error_from(verdict)
        for one in node.lineage if node else ():
            if one.id == verdict.run_id:
                one.stopped = error
        raise error
    if isinstance(verdict, TooFast):
        raise (yield from outpaced(verdict, node, parts))
    if verdict.reason is Reason.SPENT:
        yield from spent(verdict, node, parts)
    if verdict.reason is Reason.UNPRICED:
        raise attempt.unpriceable or Unpriceable(
            f"{attempt.target.model!r} has no price and a usd cap applies.",
            model=attempt.target.model,
            bucket="*",
            toml="",
        )
    busy = error_of(verdict)
    if verdict.reason is not Reason.BUSY or parts.busy == "raise":
        raise busy
    if _waits_on_itself(verdict.state.account.id, attempt, parts):
        busy.add_note(
            "tokenguard: what this task itself holds open has the room; read the stream to its end, or end the charge."
        )
        raise busy


def _waits_on_itself(account_id: str, attempt: Attempt, parts: Parts) -> bool:
    """Whether the caller's own open stream or charge holds room on an account: waiting for it would never end."""
    return any(
        not holder.settled and holder.opened_by == attempt.call.opened_by and account_id in holder.account_ids
        for holder in (*parts.streams.snapshot(), *parts.charges.snapshot())
    )


def _line_up(
    attempt: Attempt, ticket: Ticket | None, parts: Parts, *, short: Short | Closure | TooFast | None = None
) -> Ticket | None:
    """A place in the line of the account that is short; for newcomers, in one that somebody already waits in."""
    if isinstance(short, Short):
        account_id = short.state.account.id
        if ticket is not None and ticket.account_id == account_id:
            return ticket
        if ticket is not None:
            ticket.leave()
        return parts.lines.join(account_id)
    waited_on = parts.lines.waited_on(account.id for account in attempt.hold.accounts)
    if waited_on is None or parts.busy == "raise" or not parts.enforce or _waits_on_itself(waited_on, attempt, parts):
        return None
    return parts.lines.join(waited_on)


def _take_reserve(verdict: Short | Closure | TooFast, attempt: Attempt, parts: Parts) -> str | None:
    """Take the money kept back for the final answer: the key of the scope it belongs to, or None.

    Once, by one call with all its attempts, and only by the run's own scope: a child cannot spend its parent's last
    words.
    """
    node = attempt.call.node
    if node is None or not isinstance(verdict, Short) or verdict.reason is not Reason.SPENT:
        return None
    account = verdict.state.account
    if not account.reserve_final_pico or closes_run(account) != node.run.id:
        return None
    with parts.tree_lock:
        if node.run.final_call not in (None, attempt.call.id):
            return None
        node.run.final_call = attempt.call.id
    return account.scope_key


def _last_attempt(attempt: Attempt, parts: Parts) -> Attempt:
    """The attempt with the note that it is the last: its tokens are priced and held like all others."""
    return prepare(last_words(attempt.call, parts), attempt.target, attempt.hold.facts.attempt, parts)


def _leave_reserve(attempt: Attempt, parts: Parts) -> None:
    """The call that took the reserve was not granted: somebody else may."""
    node = attempt.call.node
    assert node is not None, "only a call inside a run takes a reserve"
    with parts.tree_lock:
        node.run.final_call = None


def _fresh(attempt: Attempt, parts: Parts) -> Attempt:
    """The same attempt in the windows of now: while it waited, a day may have begun."""
    now = parts.clock.now()
    waited = now - attempt.hold.at
    hold = replace(
        attempt.hold,
        at=now,
        lease_until=attempt.hold.lease_until + waited,
        accounts=attempt.call.path.accounts(now),
    )
    return replace(attempt, hold=hold)


def _look_s(looks: int, parts: Parts) -> float:
    """Seconds until the head of a line looks again: 20 to 500 ms, jittered, for room that other processes make."""
    return min(_SLOWEST_LOOK_S, _FIRST_LOOK_S * (1 << min(looks, 5))) * (0.5 + parts.jitter() / 2)


def _late(attempt: Attempt, parts: Parts) -> HeadroomBusy:
    """Waited as long as agreed, and no room came."""
    waited_s = min(parts.busy_timeout_s, attempt.call.terms.timeout_s)
    return HeadroomBusy(
        f"no room for this call within {waited_s:g} s: calls in flight hold what is left of its budgets. Nothing "
        "was sent; "
        "try again when they end, raise the budget, or lower max_tokens.",
        scope=scopes[-1].label if (scopes := attempt.call.path.scopes) else "",
        retry_in_s=_SLOWEST_LOOK_S,
    )
