"""Routing in a guarded call: after the ladder, before the price. Endpoints in order become the call's targets.

A call is counted in at its endpoint when its money is held, and out when its attempt has ended, however it ended. What
a private call asks for is checked where targets are made and once more where they are counted in.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from tokenguard.calls.call import other_target
from tokenguard.calls.fold_keeping import state_of
from tokenguard.calls.route_prices import card_of, endpoint_of
from tokenguard.core.books import Booking, Status
from tokenguard.core.forks import renew_in_children
from tokenguard.core.ladder import Rung
from tokenguard.core.marks import part_kinds
from tokenguard.core.price import PriceCard
from tokenguard.core.untrusted import list_of
from tokenguard.errors import NoEndpoint
from tokenguard.routing import Drop, Endpoint, Need, Outcome, Reason, Router, how_of, minute_of_week, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tokenguard.calls.call import Call, Target
    from tokenguard.calls.outcome import Sent
    from tokenguard.calls.parts import Parts
    from tokenguard.core.clock import Clock
    from tokenguard.core.ports import Failure, PriceBook
    from tokenguard.routing import Plan, Ticket
    from tokenguard.routing.route import Route

__all__ = ["Routed", "Routes", "count_in", "count_out", "left_over", "routed"]

_EXPECTED_TOKENS: Final = 256
_SOON_S: Final = 0.5
_WARM_S: Final = 300.0
_SESSIONS_MAX: Final = 10_000
_IMAGES: Final = frozenset({"image_url", "input_image", "image"})
_CALLERS_PLACE: Final = frozenset(
    {
        "api_base",
        "api_key",
        "api_version",
        "azure_ad_token",
        "azure_ad_token_provider",
        "base_model",
        "base_url",
        "client",
        "custom_llm_provider",
        "deployment_id",
        "organization",
    }
)
"""Options by which a caller says where a model is, what opens it and what it costs: of the model that they named."""
_OURS: Final = frozenset({"CancelledError", "GeneratorExit", "KeyboardInterrupt", "SystemExit"})
"""Errors by which a caller ends a call."""


class Routes:
    """All routes of one guard: who may answer, what is known of them, and which calls are on their way.

    Args:
        routes: By the model's name that callers use.
        prices: Says what clouds cost that are named only.
        clock: The guard's.
        begin_polling: Starts to read the endpoints' metrics and gives back what ends that; called before the first
            decision, and again in a child.

    Raises:
        SettingsError: a cloud that is named only has no price.
    """

    def __init__(
        self,
        routes: Mapping[str, Route],
        prices: PriceBook,
        clock: Clock,
        begin_polling: Callable[[Routes], Callable[[], None]] = lambda _: lambda: None,
    ) -> None:
        self.routes = dict(routes)
        self._clock, self._begin_polling = clock, begin_polling
        self._endpoints = {
            model: [endpoint_of(one, prices, model) for one in route.endpoints] for model, route in self.routes.items()
        }
        self._cards: dict[Endpoint, PriceCard] = {}
        self._sessions: dict[tuple[str, str], tuple[int, float]] = {}
        self.renew_lock()
        renew_in_children(self)

    def renew_lock(self) -> None:
        """In a forked child: see `core.forks`. The parent's calls are its own, and its poller stayed there."""
        self._lock = threading.Lock()
        now_s = self._clock.monotonic()
        self.routers = {
            model: Router(self._endpoints[model], route.policy, at_s=now_s) for model, route in self.routes.items()
        }
        self._open: dict[str, tuple[Router, Ticket]] = {}
        self._stop_polling: Callable[[], None] | None = None

    def of(self, model: str) -> Router | None:
        """The router of a model's name."""
        return self.routers.get(model)

    def poll(self) -> None:
        """Begin to read metrics, once in a process."""
        with self._lock:
            if self._stop_polling is None:
                self._stop_polling = self._begin_polling(self)

    def stop(self) -> None:
        """Read no metrics any more; the guard is closed."""
        with self._lock:
            stop, self._stop_polling = self._stop_polling, None
        if stop is not None:
            stop()

    def card_of(self, endpoint: Endpoint) -> PriceCard:
        """The price card of an endpoint by its own rates: what one more token costs there, which may be nothing."""
        card = self._cards.get(endpoint)
        if card is None:
            card = self._cards[endpoint] = card_of(endpoint, endpoint.billed)
        return card

    def warm_tokens(self, model: str, session: str | None, prompt_tokens: int) -> int:
        """How much of a session's prompt its replica has probably kept."""
        tokens, at_s = self._sessions.get((model, session or ""), (0, 0.0))
        is_warm = session is not None and self._clock.monotonic() - at_s < _WARM_S
        return min(tokens, prompt_tokens) if is_warm else 0

    def remember(self, model: str, session: str | None, prompt_tokens: int) -> None:
        """A session's prompt was sent."""
        if session is None:
            return
        key = model, session
        with self._lock:
            self._sessions.pop(key, None)
            self._sessions[key] = prompt_tokens, self._clock.monotonic()
            while len(self._sessions) > _SESSIONS_MAX:
                self._sessions.pop(next(iter(self._sessions)))

    def open(self, hold_id: str, router: Router, ticket: Ticket) -> None:
        """A call is on its way."""
        with self._lock:
            self._open[hold_id] = router, ticket

    def close(self, hold_id: str, outcome: Outcome) -> None:
        """It ended; of calls that are not known, and of those that ended before, nothing happens."""
        with self._lock:
            known = self._open.pop(hold_id, None)
        if known is not None:
            router, ticket = known
            router.end(ticket, outcome, at_s=self._clock.monotonic())


@dataclass(frozen=True, slots=True)
class Routed:
    """A call's place in a route."""

    model: str
    """The name that the caller used."""
    router: Router
    plan: Plan
    session: str | None


def routed(call: Call, parts: Parts) -> Call:
    """The call with the endpoints of its route as targets, in order; its own fallbacks stay behind them.

    Observing leaves calls where they are, but what is private stays local all the same.

    Raises:
        NoEndpoint: none may answer now; above all none that is local, where the call is private.
    """
    asked, routes = call.targets[0], parts.routes
    router = None if routes is None else routes.of(asked.model)
    private = _is_private(call, parts)
    if routes is None or router is None or call.operation not in ("chat", "responses"):
        if private:
            raise NoEndpoint(
                f"this call is private and {asked.model!r} has no route. Give Guard(routes={{{asked.model!r}: "
                "Route([Endpoint(..., local=True)])}), or call without the privacy tag.",
                private=True,
                dropped=(),
                retry_in_s=None,
            )
        return call
    if not parts.enforce and not private:
        return call
    routes.poll()
    need = _need(call, asked, router, parts, private=private)
    plan = router.route(need, at_s=parts.clock.monotonic(), minute=minute_of_week(parts.clock.now()))
    options = routes.routes[asked.model].options or {}
    targets = tuple(
        replace(_target(one.endpoint, options.get(one.endpoint.name, {}), asked, call, parts), choice=one)
        for one in plan.choices
    )
    own_fallbacks = () if private else call.targets[1:]
    place = Routed(asked.model, router, plan, need.prefix_key)
    return replace(call, targets=(*targets, *own_fallbacks), routed=place)


def count_in(sent: Sent, parts: Parts) -> bool:
    """Count a call in at its endpoint; False: its room, its probe or the spill budget went to another one meanwhile."""
    target, place = sent.attempt.target, sent.attempt.call.routed
    if place is None or target.choice is None or parts.routes is None:
        return True
    ticket = place.router.begin(place.plan, target.choice, at_s=parts.clock.monotonic())
    if ticket is None:
        return False
    parts.routes.open(sent.attempt.hold.id, place.router, ticket)
    parts.routes.remember(place.model, place.session, place.plan.need.prompt_tokens)
    return True


def count_out(sent: Sent, booking: Booking | None, parts: Parts, failure: Failure | None = None) -> None:
    """Tell its router how an attempt ended, once.

    Args:
        sent: The attempt.
        booking: What it came to; None: it was never sent.
        parts: The guard's.
        failure: What its error says, where it failed.
    """
    if parts.routes is not None and sent.attempt.call.routed is not None:
        parts.routes.close(sent.attempt.hold.id, _outcome(booking, failure))


def left_over(call: Call) -> NoEndpoint:
    """Every endpoint of the plan went to other calls, or shut, before this one was counted in."""
    assert call.routed is not None, "only routed calls are counted in"
    plan = call.routed.plan
    gone = tuple(Drop(one.endpoint.name, Reason.SHUT, _SOON_S) for one in plan.choices)
    return refusal(plan._replace(choices=(), dropped=(*plan.dropped, *gone)))


def _is_private(call: Call, parts: Parts) -> bool:
    if call.routing is not None and call.routing.private:
        return True
    return parts.routes is not None and any(one.is_private(call.scope) for one in parts.routes.routes.values())


def _need(call: Call, asked: Target, router: Router, parts: Parts, *, private: bool) -> Need:
    routing = call.routing
    session = routing.session if routing and routing.session else _conversation(call, parts)
    prompt = _prompt_tokens(call, asked, router, parts)
    given = asked.terms.output_given
    expected = routing.output_tokens if routing and routing.output_tokens else min(given or _EXPECTED_TOKENS, 256)
    assert parts.routes is not None, "a router belongs to routes"
    return Need(
        call_id=call.id,
        prompt_tokens=prompt,
        output_tokens=expected,
        output_tokens_max=given,
        uses=frozenset(_used(call, asked)),
        private=private,
        tier=routing.tier if routing else None,
        deadline_s=routing.deadline_s if routing else None,
        prefix_key=session,
        warm_tokens=parts.routes.warm_tokens(asked.model, session, prompt),
        rung=Rung.REROUTE if call.is_rerouted else None,
    )


def _conversation(call: Call, parts: Parts) -> str | None:
    """What a session is called that nobody named: the run, and how the conversation begins, as a cache has it."""
    if call.node is None:
        return None
    talk = state_of(call, parts).conversation(list_of(call.given))
    return f"{call.node.root_id} {talk.opening}"


def _prompt_tokens(call: Call, asked: Target, router: Router, parts: Parts) -> int:
    """By the counter's bound for the first endpoint's model; what cannot be seen counts nothing here."""
    model = router.snapshot.fleet.endpoints[0].model
    schemas, instructions = asked.terms.schemas, asked.options.get("instructions")
    if call.operation == "chat":
        prompt = parts.counter.read(model, call.messages, schemas)
    else:
        prompt = parts.counter.read_input(model, call.content, instructions=instructions, schemas=schemas)
    return 0 if prompt.bound is None else prompt.bound.tokens


def _used(call: Call, asked: Target) -> Iterator[Any]:
    options = asked.options
    if options.get("tools"):
        yield "tools"
    if options.get("response_format") or options.get("text"):
        yield "json"
    if any(not _IMAGES.isdisjoint(part_kinds(one)) for one in call.messages):
        yield "vision"


def _target(endpoint: Endpoint, over: Mapping[str, Any], asked: Target, call: Call, parts: Parts) -> Target:
    # `base_url` goes over an address: left in, it would lead a private call out of the house, and keys to strangers.
    if endpoint.local or endpoint.api_base is not None or endpoint.model != asked.model:
        asked = replace(asked, options={k: v for k, v in asked.options.items() if k not in _CALLERS_PLACE})
    found = other_target({**endpoint.options, **over}, asked, call.operation, parts.terms)
    # The caller's own number of retries was taken out of the options before.
    return replace(found, terms=replace(found.terms, retries=asked.terms.retries))


def _outcome(booking: Booking | None, failure: Failure | None) -> Outcome:
    """What a router learns from an attempt that ended."""
    if booking is None:
        return Outcome("cancelled", cost_pico=0)
    total_s = (booking.duration_ms or 0) / 1_000
    ttft_s = None if booking.ttft_ms is None else booking.ttft_ms / 1_000
    # Of what nobody knows, as much as was held for it.
    cost_pico = None if booking.status is Status.UNRESOLVED else booking.amounts.usd_pico
    if failure is not None and failure.error_class not in _OURS:
        return Outcome(how_of(failure), total_s, ttft_s, cost_pico=cost_pico, retry_after_s=failure.retry_after_s)
    is_whole = booking.status in (Status.OK, Status.CACHE_HIT)
    output = booking.usage.output_total if booking.usage else 0
    return Outcome("ok" if is_whole else "cancelled", total_s, ttft_s, output, cost_pico)
