"""What an attempt came to: from a reply, a stream's remains or an error to a `Booking`. Never caps a recorded cost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tokenguard.calls.route_prices import route_facts
from tokenguard.core.account import Amounts
from tokenguard.core.books import Booking, Status
from tokenguard.core.money import Money
from tokenguard.core.usage import Quality, Usage
from tokenguard.core.verdict import Short, judge
from tokenguard.errors import BadAmount, Unpriceable

if TYPE_CHECKING:
    from tokenguard.calls.attempt import Attempt
    from tokenguard.calls.parts import Parts
    from tokenguard.core.books import Line
    from tokenguard.core.ports import Failure, Part
    from tokenguard.core.price import PriceCard
    from tokenguard.core.verdict import Grant

__all__ = ["Sent", "counted", "dropped", "posted", "rejected", "unresolved"]


@dataclass(frozen=True, slots=True)
class Sent:
    """An attempt on its way: what was granted and when it left."""

    attempt: Attempt
    grant: Grant
    began_s: float
    """Monotonic."""
    first_s: float | None = None
    """When the first part came, for streams."""
    final: bool = False

    @property
    def clamped(self) -> bool:
        """Whether the answer may be shorter than it would have been without caps."""
        bounds = self.attempt.bounds
        return self.attempt.hold.enforce and self.grant.output_tokens < bounds.ask.output_max


def posted(sent: Sent, part: Part, parts: Parts) -> Booking:
    """A complete answer: the provider's usage × card; counted by us where the provider reported nothing."""
    if part.cache_hit:
        amounts = Amounts(calls=1, steps=sent.grant.amounts.steps)
        return _answer(sent, part, parts, amounts, status=Status.CACHE_HIT, usage=Usage(requests=0))
    try:
        usage = _reported(sent, part, parts)
    except BadAmount as unreadable:
        return replace(counted(sent, part, parts), status=Status.OK, note=f"usage unreadable: {unreadable.sentence}")
    if usage is None:
        return replace(counted(sent, part, parts), status=Status.OK)
    return _priced(sent, part, usage, Quality.REPORTED, parts)


def counted(sent: Sent, part: Part, parts: Parts, *, unread: int = 0) -> Booking:
    """A stream closed by us or without usage: prompt + delivered text + `unread` tokens that may be on their way."""
    model = sent.attempt.target.model
    output = (parts.counter.count(model, part.text) if part.text else 0) + unread
    usage = Usage(input_tokens=sent.attempt.bounds.likely_input, output_tokens=output)
    return _priced(sent, part, usage, Quality.ESTIMATED, parts, status=Status.CLOSED)


def rejected(sent: Sent, failure: Failure, parts: Parts) -> Booking:
    """A complete error answer, or a request that never arrived: nothing was generated, so nothing is owed."""
    return replace(
        _failed(sent, failure, parts),
        status=Status.REJECTED,
        quality=Quality.REPORTED,
        amounts=Amounts(calls=1, steps=sent.grant.amounts.steps),
        computed_pico=0,
    )


def unresolved(sent: Sent, failure: Failure, parts: Parts) -> Booking:
    """Nobody knows: the hold stands, and becomes an assumed charge of the ceiling when its lease ends."""
    return replace(_failed(sent, failure, parts), status=Status.UNRESOLVED, quality=Quality.ASSUMED)


def dropped(sent: Sent, parts: Parts, *, note: str) -> Booking:
    """Never sent: the whole hold goes back, and neither a call nor a step is counted."""
    return Booking(
        at=parts.clock.now(),
        status=Status.REJECTED,
        quality=Quality.REPORTED,
        amounts=Amounts(),
        ceiling_pico=sent.grant.amounts.usd_pico,
        computed_pico=0,
        note=note,
    )


def _reported(sent: Sent, part: Part, parts: Parts) -> Usage | None:
    """The provider's usage as leaves; None where it reported nothing, or zeros for something."""
    if part.usage is None:
        return None
    usage: Usage = parts.split_usage(part.usage, provider=sent.attempt.facts.provider)
    # LiteLLM fills in zeros where a server sent no usage; an answer without any token was not reported.
    return usage if usage.tokens or usage.input_milliseconds or usage.output_milliseconds else None


def _priced(
    sent: Sent, part: Part, usage: Usage, quality: Quality, parts: Parts, *, status: Status = Status.OK
) -> Booking:
    """Usage × card, with the provider's own cost booked where it states one."""
    tier = parts.served_tier(part.usage or {}, part.service_tier) or sent.attempt.target.terms.tier
    lines, computed, card, note = _lines(sent, part, usage, tier, parts)
    stated = _stated(part)
    cost = computed if stated is None else stated
    if cost is None and card is not None:
        cost = sent.grant.amounts.usd_pico  # A meter without a rate: what was held is the best bound there is.
    assumed = (stated is None and computed is None) or (card is not None and card.source == "assumed")
    return _answer(
        sent,
        part,
        parts,
        Amounts(cost or 0, usage.tokens, calls=1, steps=sent.grant.amounts.steps),
        status=status,
        quality=Quality.ASSUMED if assumed else quality,
        usage=usage,
        lines=lines,
        price_id=card.id if card else None,
        price_version=card.version if card else None,
        stated_pico=stated,
        computed_pico=computed,
        overrun=(cost or 0) > sent.grant.amounts.usd_pico,
        service_tier=tier,
        output_tps=_output_tps(sent, usage, parts),
        note=note,
    )


def _stated(part: Part) -> int | None:
    """The cost that the provider states; one that cannot be meant (NaN, below zero) is no statement."""
    if part.stated_usd is None:
        return None
    try:
        stated = Money(part.stated_usd).pico
    except BadAmount:
        return None
    return stated if stated >= 0 else None


def _lines(
    sent: Sent, part: Part, usage: Usage, tier: str | None, parts: Parts
) -> tuple[tuple[Line, ...], int | None, PriceCard | None, str | None]:
    """Priced lines by the model that answered, else by the one that was reserved: (lines, sum, card, note)."""
    reserved = sent.attempt.card
    echoed = _echo(sent, part, parts)
    for card, note in ((echoed, f"answered and priced as {part.model}"), (reserved, None)):
        if card is None:
            continue
        try:
            lines = card.lines(usage, tier)
        except Unpriceable as gap:
            if card is reserved:
                return (), None, card, f"assumed at the ceiling: {gap.sentence}"
            continue
        return lines, sum(line.amount_pico for line in lines), card, note
    return (), None, None, "unpriced: no price card"


def _echo(sent: Sent, part: Part, parts: Parts) -> PriceCard | None:
    """The card of the model that the reply names, where it is another one with other rates."""
    reserved, asked = sent.attempt.card, sent.attempt.target.model
    if reserved is None or not part.model or part.model in (asked, reserved.model, asked.rpartition("/")[2]):
        return None
    try:
        card = parts.prices.card(f"{sent.attempt.facts.provider}/{part.model}", at=sent.attempt.hold.at)
    except Unpriceable:
        return None
    if reserved.source in ("override", "assumed") and card.source != "override":
        return None  # A person named this price: the name in an answer overrules them only to another of theirs.
    return None if card.id == reserved.id or card.rates == reserved.rates else card


def _answer(
    sent: Sent,
    part: Part,
    parts: Parts,
    amounts: Amounts,
    *,
    status: Status = Status.OK,
    quality: Quality = Quality.REPORTED,
    computed_pico: int | None = 0,
    **known: Any,
) -> Booking:
    """The booking of an answer: what every answer says about itself, and what is known about this one besides."""
    now_s = parts.clock.monotonic()
    return Booking(
        at=parts.clock.now(),
        status=status,
        quality=quality,
        amounts=amounts,
        ceiling_pico=sent.grant.amounts.usd_pico,
        computed_pico=computed_pico,
        response_model=part.model,
        response_id=part.response_id,
        finish_reason=part.finish_reason,
        max_tokens=sent.grant.output_tokens if sent.attempt.hold.enforce else sent.attempt.target.terms.output_given,
        clamped=sent.clamped,
        duration_ms=_milliseconds(now_s - sent.began_s),
        ttft_ms=None if sent.first_s is None else _milliseconds(sent.first_s - sent.began_s),
        endpoint=sent.attempt.endpoint,
        would_have=_would_have(sent),
        **route_facts(sent, known.get("usage"), parts),
        **known,
    )


def _failed(sent: Sent, failure: Failure, parts: Parts) -> Booking:
    return Booking(
        at=parts.clock.now(),
        status=Status.REJECTED,
        quality=Quality.REPORTED,
        amounts=Amounts(),
        ceiling_pico=sent.grant.amounts.usd_pico,
        max_tokens=sent.grant.output_tokens,
        clamped=sent.clamped,
        duration_ms=_milliseconds(parts.clock.monotonic() - sent.began_s),
        endpoint=sent.attempt.endpoint,
        error_class=failure.error_class,
        error_status=failure.status,
        error_request_id=failure.request_id,
        would_have=_would_have(sent),
        **route_facts(sent, None, parts),
    )


def _would_have(sent: Sent) -> str | None:
    """In observe mode: why enforcing would not have sent this."""
    if sent.attempt.hold.enforce:
        return None
    verdict = judge(sent.attempt.bounds.ask, sent.grant.states)
    return verdict.reason.value if isinstance(verdict, Short) else None


def _output_tps(sent: Sent, usage: Usage, parts: Parts) -> Decimal | None:
    """Output tokens per second after the first part came; None for whole replies."""
    if sent.first_s is None:
        return None
    elapsed_ms = _milliseconds(parts.clock.monotonic() - sent.first_s)
    return Decimal(usage.output_total * 1000) / Decimal(elapsed_ms) if elapsed_ms else None


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))
