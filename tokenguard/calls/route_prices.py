"""What routes cost: rates of clouds that are named only, cards of own hardware, and the price of the first choice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokenguard.core.price import PriceCard, Rates
from tokenguard.core.usage import INPUT_METERS, OUTPUT_METERS, Meter
from tokenguard.errors import SettingsError, Unpriceable
from tokenguard.routing import Endpoint
from tokenguard.routing.endpoints import Rates as EndpointRates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenguard.calls.outcome import Sent
    from tokenguard.calls.parts import Parts
    from tokenguard.calls.routes import Routed
    from tokenguard.core.ports import PriceBook
    from tokenguard.core.usage import Usage
    from tokenguard.routing import Router

__all__ = ["card_of", "endpoint_of", "route_facts"]


def route_facts(sent: Sent, usage: Usage | None, parts: Parts) -> dict[str, Any]:
    """What a booking says of its route: why this endpoint, and what the first choice and the hardware would cost.

    The price of the first choice is for the same tokens; another model might have written more or fewer.
    """
    target, place = sent.attempt.target, sent.attempt.call.routed
    if place is None or target.choice is None:
        return {}
    facts: dict[str, Any] = {"route": str(target.choice.why), "first_choice": place.model}
    if usage is None:
        return facts
    endpoint = target.choice.endpoint
    facts["counterfactual_pico"] = _cost(_first_card(place, sent, parts), usage)
    facts["internal_pico"] = _cost(card_of(endpoint, endpoint.effective), usage) if endpoint.own else None
    return facts


def _cost(card: PriceCard | None, usage: Usage) -> int | None:
    """None: no card, or it has no rate for something that was used."""
    try:
        return None if card is None else card.cost(usage)
    except Unpriceable:
        return None


def _first_card(place: Routed, sent: Sent, parts: Parts) -> PriceCard | None:
    """Of the model that was asked for; else of the dearest cloud that the route names, which is what it stands for."""
    at = sent.attempt.hold.at
    for model in (place.model, *(one.model for one in _clouds(place.router))):
        try:
            return parts.prices.card(model, at=at)
        except Unpriceable:
            continue
    return None


def _clouds(router: Router) -> Iterator[Endpoint]:
    yield from sorted(
        (one for one in router.snapshot.fleet.endpoints if not one.own),
        key=lambda one: (-one.billed.output_pico, one.name),
    )


def endpoint_of(given: Endpoint | str, prices: PriceBook, route: str) -> Endpoint:
    """An endpoint; of a cloud that is named only, with the rates of its price card.

    Raises:
        SettingsError: it has no price.
    """
    if not isinstance(given, str):
        return given
    try:
        card = prices.card(given)
    except Unpriceable as unknown:
        raise SettingsError(
            f"route {route!r} names {given!r}, which has no price: {unknown.sentence} Or give an Endpoint with "
            "marginal=Rates(...).",
            endpoint=given,
        ) from unknown
    rates = EndpointRates(card.rates[Meter.INPUT] or 0, card.rates[Meter.OUTPUT] or 0)
    return Endpoint(
        given,
        given,
        marginal=rates,
        context_tokens=card.context_tokens,
        can=frozenset({"tools", "json", "vision"}),
    )


def card_of(endpoint: Endpoint, rates: EndpointRates) -> PriceCard:
    """A card with one rate for all that is read, and one for all that is written."""
    by_meter: dict[Meter, int | None] = {
        **dict.fromkeys(INPUT_METERS, rates.input_pico),
        **dict.fromkeys(OUTPUT_METERS, rates.output_pico),
    }
    return PriceCard(
        id=f"endpoint/{endpoint.name}/{rates.input_pico}.{rates.output_pico}",
        model=endpoint.model,
        provider=endpoint.model.partition("/")[0],
        source="override",
        version="endpoint",
        rates=Rates.of(by_meter),
        context_tokens=endpoint.context_tokens,
        output_tokens_max=endpoint.context_tokens,
        free=not (rates.input_pico or rates.output_pico),
    )
