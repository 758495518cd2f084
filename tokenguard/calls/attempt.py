"""One attempt of a call: its price card, its bounds, its hold and the request that will be sent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from tokenguard.calls.ceiling import Bounds, bounds_of
from tokenguard.calls.marking import marked
from tokenguard.core.books import CallFacts, Hold, Kind
from tokenguard.core.budget import Unit
from tokenguard.core.digests import prefix_digest
from tokenguard.core.leases import LEASE_S
from tokenguard.core.ports import Request
from tokenguard.core.untrusted import list_of, mapping_of
from tokenguard.errors import Unpriceable, UnsupportedOption

if TYPE_CHECKING:
    from datetime import datetime

    from tokenguard.calls.call import Call, Target
    from tokenguard.calls.parts import Parts
    from tokenguard.core.ports import Prompt
    from tokenguard.core.price import PriceCard
    from tokenguard.core.verdict import Grant

__all__ = ["UNSEEN", "Attempt", "hold_for", "prepare", "request_for"]

UNSEEN: Final = ("previous_response_id", "conversation", "prompt")
"""Arguments of the responses API that bring prompt text which we cannot see."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Everything about one attempt that is known before it is sent."""

    call: Call
    target: Target
    hold: Hold
    bounds: Bounds
    card: PriceCard | None
    unpriceable: Unpriceable | None
    """Why there is no card, where there is none."""
    endpoint: str | None
    prompt: Prompt | None = None
    """As the counter read it; None: a charge, which has none."""
    content: Any = None
    """What is sent: the call's content, with cache marks where they pay."""

    @property
    def facts(self) -> CallFacts:
        """What goes into the event row."""
        return self.hold.facts


def prepare(call: Call, target: Target, number: int, parts: Parts) -> Attempt:
    """Price and bound one attempt.

    Raises:
        Unpriceable: no price, a usd cap applies, and the guard enforces.
        CallTooLarge: the prompt leaves no room in the context window.
    """
    now = parts.clock.now()
    provider, endpoint = parts.backend.identity(target.model, target.options)
    _check_tools(call, target, provider)
    hold = hold_for(call, target, number, provider, parts, at=now)
    capped_usd = parts.enforce and any(account.unit is Unit.USD for account in hold.accounts)
    card, unpriceable = _card(target, parts, now, capped_usd=capped_usd)
    content, prompt = marked(call, target, card, _prompt(call, target, parts), parts)
    bounds = bounds_of(
        target.model,
        target.terms,
        prompt,
        card,
        output_min=call.output_min(target),
        capped_usd=capped_usd,
        step=call.node is None or call.node.kind is not Kind.STEP,
        priced=card is not None or parts.prices.observe_unknown,
        enforce=parts.enforce,
    )
    return Attempt(call, target, hold, bounds, card, unpriceable, endpoint, prompt, content)


def request_for(attempt: Attempt, grant: Grant, *, final: bool, enforce: bool) -> Request:
    """What is sent: the caller's options, with usage asked for and the answer bounded by what was held.

    Observing changes nothing but the stream's usage.
    """
    terms, options = attempt.target.terms, dict(attempt.target.options)
    if terms.stream and attempt.call.operation == "chat":
        options["stream_options"] = {**mapping_of(options.get("stream_options")), "include_usage": True}
    if enforce and terms.output_name and grant.output_tokens != terms.output_given:
        options[terms.output_name] = grant.output_tokens
    if final:
        options = _without_tools(options)
    return Request(
        attempt.call.operation, attempt.target.model, {_content_name(attempt.call): attempt.content, **options}
    )


def _content_name(call: Call) -> str:
    return "messages" if call.operation == "chat" else "input"


def _without_tools(options: dict[str, Any]) -> dict[str, Any]:
    """The last answer speaks and calls nothing; the schemas stay, for histories that contain calls."""
    if options.get("tools"):
        return {**options, "tool_choice": "none"}
    return options


def _card(
    target: Target, parts: Parts, now: datetime, *, capped_usd: bool
) -> tuple[PriceCard | None, Unpriceable | None]:
    endpoint = target.choice.endpoint if target.choice else None
    if endpoint is not None and endpoint.own and parts.routes is not None:
        return parts.routes.card_of(endpoint), None
    base = target.options.get("base_model")
    try:
        return parts.prices.card(target.model, at=now, base_model=base if isinstance(base, str) else None), None
    except Unpriceable as unknown:
        if endpoint is not None and parts.routes is not None:
            return parts.routes.card_of(endpoint), None  # No list knows it; whoever declared it said what it costs.
        if capped_usd and not parts.prices.observe_unknown:
            raise
        return None, unknown


def _prompt(call: Call, target: Target, parts: Parts) -> Prompt:
    """What the prompt holds; without a bound where a part of it cannot be seen."""
    options, schemas = target.options, target.terms.schemas
    if call.operation == "chat":
        return parts.counter.read(target.model, call.messages, schemas)
    prompt = parts.counter.read_input(
        target.model, call.content, instructions=options.get("instructions"), schemas=schemas
    )
    hidden = call.operation == "responses" and any(options.get(name) for name in UNSEEN)
    return replace(prompt, bound=None) if hidden else prompt


def _check_tools(call: Call, target: Target, provider: str) -> None:
    """A `file_search` of OpenAI's responses API is emulated for other providers, with requests that nobody reserved."""
    if call.operation != "responses" or provider in ("openai", "azure"):
        return
    if any(mapping_of(tool).get("type") == "file_search" for tool in list_of(target.options.get("tools"))):
        raise UnsupportedOption(
            f"LiteLLM emulates file_search for {provider!r} with requests of its own, which the guard would not see. "
            "Search yourself in a @guard.tool, or call an OpenAI model.",
            option="tools",
        )


def hold_for(
    call: Call, target: Target, number: int, provider: str, parts: Parts, *, at: datetime | None = None
) -> Hold:
    """The hold of one attempt, on every account of its path, in the windows of `at` (now unless given)."""
    now = at or parts.clock.now()
    return Hold(
        id=parts.ids.new(),
        at=now,
        owner=parts.owner,
        lease_until=now + timedelta(seconds=LEASE_S),
        accounts=call.path.accounts(now),
        scope_keys=call.path.keys,
        run_ids=call.node.run_ids if call.node else (),
        facts=_facts(call, target, number, provider, parts),
        enforce=parts.enforce,
        paced=call.node.paced if call.node else (),
    )


def _facts(call: Call, target: Target, number: int, provider: str, parts: Parts) -> CallFacts:
    node = call.node
    return CallFacts(
        call_id=call.id,
        attempt=number,
        operation=call.operation,
        model=target.model,
        provider=provider,
        run_id=node.run.id if node else None,
        root_id=node.root_id if node else None,
        node_id=node.id if node else None,
        agent=node.agent if node else None,
        scope=call.scope,
        prompt_id=_prompt_id(call),
        mode=parts.mode,
        labels=node.labels if node else {},
    )


def _prompt_id(call: Call) -> str | None:
    """The prompt's own id, else a digest of the fixed prefix: the instructions that each of its calls starts with."""
    if call.prompt_id is not None:
        return call.prompt_id
    if call.operation == "responses":
        fixed = call.targets[0].options.get("instructions")
    else:
        first = mapping_of(call.messages[0] if call.messages else None)
        fixed = first.get("content") if first.get("role") in ("system", "developer") else None
    return prefix_digest(fixed) if isinstance(fixed, str) else None
