"""Ends of an attempt, as flows: settled, failed, stopped. Each writes to the books first and tells the sinks after."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from tokenguard.calls.effects import Book, Flow, ask
from tokenguard.calls.outcome import Sent, dropped, rejected, unresolved
from tokenguard.calls.receipts import run_receipt
from tokenguard.calls.routes import count_out
from tokenguard.calls.savings import is_due, note_savings, save
from tokenguard.core import events
from tokenguard.core.books import Booking, Settled, Status
from tokenguard.core.money import Money, dollars
from tokenguard.core.receipt import CallReceipt
from tokenguard.core.stops import closes_run, closure_of, stop_of
from tokenguard.core.tree import paces
from tokenguard.core.usage import Quality
from tokenguard.errors import BadAmount, LedgerConflict, LedgerError, SpendStopped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from tokenguard.calls.effects import Send
    from tokenguard.calls.parts import Parts
    from tokenguard.calls.scope import Node
    from tokenguard.core.account import Amounts
    from tokenguard.core.ports import Failure, Ledger
    from tokenguard.core.verdict import AccountState, Short

__all__ = ["close_scope", "failed", "kept", "returned", "settled", "spent", "tell", "warnings"]

_ANNOUNCED_MAX = 1024


def settled(sent: Sent, booking: Booking, parts: Parts) -> Flow[CallReceipt]:
    """Book an outcome, wake who waits for the room, and tell the sinks."""
    hold = sent.attempt.hold
    parts.watch.closed(hold.id)
    count_out(sent, booking, parts)
    if booking.status is not Status.REJECTED:
        _last_words_spoken(sent)
    try:
        done = yield from ask(
            Book(
                lambda ledger: ledger.settle(hold.id, booking),
                lambda ledger: ledger.settle_at_once(hold.id, booking),
            )
        )
    except (LedgerError, BadAmount) as away:
        # The answer is paid for and must reach its caller. Its hold stands in the books: nothing is free, and
        # nothing is lost.
        parts.emit(events.Fault(at=booking.at, run_id=sent.attempt.facts.run_id, where="settle", error=away))
        return _receipt(sent, replace(booking, status=Status.UNRESOLVED, quality=Quality.ASSUMED), parts)
    parts.lines.room_made(state.account.id for state in sent.grant.states)
    _note_flow(sent, booking, parts)
    if sent.attempt.call.ladder.looks:
        parts.shares.note(done.states)
    tell(sent, booking, done, parts)
    savings = note_savings(sent, booking, parts)
    if savings and is_due(sent.attempt.call.node, parts):
        yield from save(sent.attempt.call.node, parts)
    return replace(_receipt(sent, booking, parts), savings=savings)


def failed(sent: Sent, send: Send, error: BaseException, parts: Parts) -> Flow[Failure]:
    """Book an attempt that raised: nothing owed, or nobody knows."""
    failure = parts.backend.failure(error, handling=send.handling)
    hold = sent.attempt.hold
    if not send.begun:
        yield from settled(sent, dropped(sent, parts, note="never sent"), parts)
        return failure
    if not failure.billed:
        booking = rejected(sent, failure, parts)
        count_out(sent, booking, parts, failure)
        yield from settled(sent, booking, parts)
        word = "nothing owed"
    else:
        booking = unresolved(sent, failure, parts)
        count_out(sent, booking, parts, failure)
        yield from kept(sent, booking, parts)
        word = f"{Money.from_pico(booking.ceiling_pico)} held until its lease ends, because nobody knows"
    error.add_note(f"tokenguard: {word}; attempt {hold.id}")
    return failure


def returned(sent: Sent, parts: Parts) -> Flow[None]:
    """Give a hold back that was never used, or perhaps never written."""
    booking = dropped(sent, parts, note="never sent")
    hold_id = sent.attempt.hold.id
    parts.watch.closed(hold_id)
    count_out(sent, None, parts)

    def give_back(ledger: Ledger) -> None:
        try:
            ledger.settle(hold_id, booking)
        except LedgerConflict:
            return  # The interruption came before the hold was written: there is nothing to give back.

    yield from ask(Book(give_back))
    parts.lines.room_made(state.account.id for state in sent.grant.states)


def spent(short: Short, node: Node | None, parts: Parts) -> Flow[NoReturn]:
    """Stop by a spent account: close the run that owns it; a shared or windowed scope refuses by its balance."""
    error = stop_of(short)
    account = short.state.account
    run_id = closes_run(account)
    if run_id is not None and _keeps_last_words(short, run_id, node):
        raise error
    if run_id is not None:
        yield from close_scope(error, run_id, node, parts, account_id=account.id)
    elif (mark := f"{account.id} {short.retry_at}") not in parts.announced:
        # A calendar window is an account of its own; a rolling one is spent anew when it had room in between.
        while len(parts.announced) >= _ANNOUNCED_MAX:
            parts.announced.pop(next(iter(parts.announced)))
        parts.announced[mark] = None
        _stopped(error, node, parts)
    raise error


def _keeps_last_words(short: Short, run_id: str, node: Node | None) -> bool:
    """Whether only the reserve for the final answer is left and its run still speaks or may: then it stays open."""
    soft = short.state.account.reserve_final_pico and short.asked <= short.state.free
    owner = next((one for one in node.lineage if one.id == run_id), None) if node else None
    return bool(soft) and owner is not None and not owner.final_ended


def close_scope(
    error: SpendStopped, run_id: str, node: Node | None, parts: Parts, *, account_id: str | None = None
) -> Flow[None]:
    """Write the tombstone of a run, mark it in this process and put the receipt on the error."""
    closure = closure_of(error, run_id=run_id, at=parts.clock.now(), by=parts.owner, account_id=account_id)
    first = yield from ask(Book(lambda ledger: ledger.close_run(closure)))
    error.receipt = yield from ask(Book(lambda ledger: run_receipt(ledger, run_id)))
    parts.mark(run_id, error)
    if first:
        _stopped(error, node, parts)


def _stopped(error: SpendStopped, node: Node | None, parts: Parts) -> None:
    parts.emit(
        events.Stopped(
            at=parts.clock.now(),
            run_id=node.run.id if node else None,
            scope_key=error.scope_key,
            sentence=error.sentence,
            error=error,
        )
    )


def kept(sent: Sent, booking: Booking, parts: Parts) -> Flow[None]:
    """Leave the hold standing; a ledger that is away keeps it anyway, by not hearing of this."""
    parts.watch.closed(sent.attempt.hold.id)
    count_out(sent, booking, parts)
    try:
        yield from ask(Book(lambda ledger: ledger.keep(sent.attempt.hold.id, booking)))
    except LedgerError as away:
        parts.emit(events.Fault(at=booking.at, run_id=sent.attempt.facts.run_id, where="keep", error=away))
        return
    tell(sent, booking, Settled(()), parts)


def _last_words_spoken(sent: Sent) -> None:
    """The final answer is over: from now on a run that is short of money is closed."""
    node = sent.attempt.call.node
    if sent.final and node is not None:
        node.run.final_ended = True


def _note_flow(sent: Sent, booking: Booking, parts: Parts) -> None:
    """Remember what flowed in the last minute, where velocity is limited."""
    node = sent.attempt.call.node
    if node is None or not node.paced:
        return
    now_s = parts.clock.monotonic()
    with parts.tree_lock:
        for one in node.lineage:
            if paces(one.limits):
                one.flow.append((now_s, booking.amounts.usd_pico, booking.amounts.tokens))


def tell(sent: Sent, booking: Booking, done: Settled, parts: Parts) -> None:
    """The facts of one settlement, for the sinks."""
    attempt, run_id = sent.attempt, sent.attempt.facts.run_id
    at = booking.at
    if parts.hears(events.Settlement):
        parts.emit(
            events.Settlement(at=at, run_id=run_id, attempt_id=attempt.hold.id, facts=attempt.facts, booking=booking)
        )
    if done.journaled:
        spent = Money.from_pico(booking.amounts.usd_pico)
        sentence = f"the ledger is away: {spent} of attempt {attempt.hold.id} is journaled and will be booked later."
        parts.emit(events.Journaled(at=at, run_id=run_id, sentence=sentence, attempt_id=attempt.hold.id, cost=spent))
    if booking.overrun:
        cost, ceiling = Money.from_pico(booking.amounts.usd_pico), Money.from_pico(booking.ceiling_pico)
        sentence = f"{attempt.target.model} billed {cost}, above the stated ceiling of {ceiling}; the truth is booked."
        parts.emit(
            events.Overrun(
                at=at,
                run_id=run_id,
                sentence=sentence,
                attempt_id=attempt.hold.id,
                model=attempt.target.model,
                ceiling=ceiling,
                cost=cost,
            )
        )
    if booking.stated_pico is not None and booking.computed_pico is not None:
        _compare(booking, sent, parts)
    for state in done.states:
        for warning in warnings(state, booking.amounts, at=at, run_id=run_id):
            parts.emit(warning)


def _compare(booking: Booking, sent: Sent, parts: Parts) -> None:
    """The provider's own cost and ours more than 1 % apart are a finding."""
    stated, computed = booking.stated_pico or 0, booking.computed_pico or 0
    if abs(stated - computed) * 100 > max(stated, computed):
        model = sent.attempt.target.model
        parts.emit(
            events.PriceDisagreed(
                at=booking.at,
                run_id=sent.attempt.facts.run_id,
                sentence=f"{model}: the provider states {dollars(stated)}, our card says {dollars(computed)}.",
                attempt_id=sent.attempt.hold.id,
                model=model,
                stated=Money.from_pico(stated),
                computed=Money.from_pico(computed),
            )
        )


def warnings(state: AccountState, settled: Amounts, *, at: datetime, run_id: str | None) -> Iterator[events.Warned]:
    """A `Warned` event for each share of the cap that was crossed; by the balances, so once per window.

    Args:
        state: The balance after it.
        settled: What was just settled there.
        at: When.
        run_id: By which run, where it was one.
    """
    before = state.settled - settled.of(state.account.unit)
    for share in state.account.warn_at:
        # Shares are the user's floats (0.8), amounts are integers: compare in parts per million.
        threshold = state.cap * round(share * 1_000_000) // 1_000_000
        if before < threshold <= state.settled:
            yield events.Warned(
                at=at,
                run_id=run_id,
                scope_key=state.account.scope_key,
                sentence=f"{state.account.scope_label!r} has used {share:.0%} of its {state.account.unit} cap.",
                share=share,
                settled=state.settled,
                cap=state.cap,
            )


def _receipt(sent: Sent, booking: Booking, parts: Parts) -> CallReceipt:
    cost = booking.ceiling_pico if booking.status is Status.UNRESOLVED else booking.amounts.usd_pico
    choice, elsewhere = sent.attempt.target.choice, booking.counterfactual_pico
    return CallReceipt(
        attempt_id=sent.attempt.hold.id,
        model=sent.attempt.target.model,
        status=booking.status,
        quality=booking.quality,
        cost=Money.from_pico(cost),
        ceiling=Money.from_pico(booking.ceiling_pico),
        usage=booking.usage,
        max_tokens=booking.max_tokens,
        clamped=booking.clamped,
        price_id=booking.price_id,
        attempts=sent.attempt.facts.attempt,
        ledger=parts.ledger.name,
        run_id=sent.attempt.facts.run_id,
        endpoint=choice.endpoint.name if choice else None,
        route=choice.sentence if choice else None,
        first_choice=None if elsewhere is None else Money.from_pico(elsewhere),
    )
