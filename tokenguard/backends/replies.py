"""Reading LiteLLM's replies and chunks, by attribute access only: a chunk must cost microseconds, so nothing is dumped.

What is not believed: usage of zero tokens (LiteLLM's placeholder for "none came"), usage that LiteLLM counted itself
(see `streams`), and costs that LiteLLM computed (`response_cost`, and `usage.cost` unless the provider is one that
states it). Searches are put right on the way: OpenAI's responses tell them by their items alone, and Gemini 2 bills a
prompt where LiteLLM counts its queries.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, cast

from tokenguard.backends.streams import REPORTED, model_field
from tokenguard.core.ports import CallPiece, Part
from tokenguard.core.untrusted import field_of, mapping_of
from tokenguard.pricing.searches import billed_by_prompt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["read"]

_STATES_COST: Final = frozenset({"openrouter", "perplexity"})
_COUNTS: Final = ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens")
_PICO: Final = Decimal(1).scaleb(-12)
_OPENS_PAGES: Final = frozenset({"open_page", "find_in_page", "find"})
"""What a `web_search_call` can be besides a search; only searches are billed."""
_DETAILS: Final = ("prompt_tokens_details", "input_tokens_details")
_SAYS: Final = "response.output_text.delta"
_ENDINGS: Final = {"max_output_tokens": "length", "content_filter": "content_filter"}


def read(operation: str, reply: Any) -> Part:
    """What a whole reply or one chunk of a stream says.

    Args:
        operation: `chat`, `responses` or `embeddings`.
        reply: LiteLLM's object, as `send` returned it or its stream yielded it.
    """
    if operation == "responses":
        if hasattr(reply, "type"):
            return _event(reply)
        return _response(reply, usage=reply.usage, whole=True)
    if operation == "embeddings":
        return _embedding(reply)
    choices = reply.choices
    if choices and model_field(choices[0], "message") is not None:
        return _completion(reply)
    return _chunk(reply)


# ---- chat ----------------------------------------------------------------------------------------------------------


def _chunk(chunk: Any) -> Part:
    text = said = ""
    calls: tuple[CallPiece, ...] = ()
    finish = None
    noted = False
    for choice in chunk.choices:
        delta = model_field(choice, "delta")
        text += _text(delta)
        if not model_field(choice, "index"):  # The first answer.
            said = model_field(delta, "content") or ""
            calls = _pieces(delta)
        finish = model_field(choice, "finish_reason") or finish
        noted = noted or model_field(delta, "role") is not None
    usage, cost = None, None
    hidden: Mapping[str, Any] = {}
    if finish is not None or noted or model_field(chunk, "usage") is not None:
        # Notes stand on the first chunk, the finish and the usage; looking for them costs more than all the rest.
        hidden = _hidden(chunk)
        usage, cost = hidden.get(REPORTED) or (None, None)
    return Part(
        usage=_usage(usage, chunk.model),
        text=text,
        said=said,
        calls=calls,
        model=chunk.model,
        response_id=chunk.id,
        finish_reason=finish,
        service_tier=model_field(chunk, "service_tier"),
        stated_usd=_stated_usd(cost, hidden),
        cache_hit=bool(hidden.get("cache_hit")),
    )


def _completion(reply: Any) -> Part:
    usage = getattr(reply, "usage", None)
    hidden = _hidden(reply)
    return Part(
        usage=_usage(usage, reply.model),
        text="".join(_text(choice.message) for choice in reply.choices),
        model=reply.model,
        response_id=reply.id,
        finish_reason=reply.choices[0].finish_reason,
        service_tier=getattr(reply, "service_tier", None),
        stated_usd=_stated_usd(getattr(usage, "cost", None), hidden),
        cache_hit=bool(hidden.get("cache_hit")),
        reply=_message(reply.choices[0].message),
    )


def _text(message: Any) -> str:
    """Everything a model wrote in a message or delta: content, visible reasoning, the arguments of its calls."""
    text = model_field(message, "content") or ""
    reasoning = model_field(message, "reasoning_content")
    if reasoning:
        text = reasoning + text
    for call in model_field(message, "tool_calls") or ():
        text += getattr(getattr(call, "function", None), "arguments", None) or ""
    return text


def _pieces(delta: Any) -> tuple[CallPiece, ...]:
    """What a delta says of tool calls; id and name come once, arguments bit by bit."""
    return tuple(
        CallPiece(
            model_field(call, "index") or 0,
            model_field(call, "id") or "",
            getattr(getattr(call, "function", None), "name", None) or "",
            getattr(getattr(call, "function", None), "arguments", None) or "",
        )
        for call in model_field(delta, "tool_calls") or ()
    )


def _message(message: Any) -> dict[str, Any]:
    """The message as it comes back in the next request."""
    found: dict[str, Any] = {"role": message.role, "content": message.content}
    calls = getattr(message, "tool_calls", None)
    if calls:
        found["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.function.name, "arguments": call.function.arguments},
            }
            for call in calls
            if getattr(call, "function", None) is not None
        ]
    return found


# ---- responses -----------------------------------------------------------------------------------------------------


def _event(event: Any) -> Part:
    """One event of a responses stream; the first and the last carry the response, the others its text."""
    response = field_of(event, "response")
    if response is not None:
        report = _hidden(response).get(REPORTED)
        return _response(response, usage=report[0] if report else None, whole=False)
    delta = field_of(event, "delta")
    spoken = isinstance(delta, str) and "audio" not in event.type
    return Part(text=delta if spoken else "", said=delta if spoken and event.type == _SAYS else "")


def _response(response: Any, *, usage: Any, whole: bool) -> Part:
    """A response object; one in a stream had its text delivered before, and LiteLLM's own price stamped on it."""
    items = field_of(response, "output") or ()
    text = "".join(_item_text(item) for item in items)
    calls = [_call(item) for item in items if field_of(item, "type") == "function_call"]
    hidden = _hidden(response)
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = calls
    return Part(
        usage=_searched(_usage(usage, field_of(response, "model")), response, items),
        text=text + "".join(call["function"]["arguments"] for call in calls) if whole else "",
        model=field_of(response, "model"),
        response_id=field_of(response, "id"),
        finish_reason=_ending(response, calls=bool(calls)),
        service_tier=field_of(response, "service_tier"),
        stated_usd=_stated_usd(getattr(usage, "cost", None), hidden) if whole else None,
        cache_hit=bool(hidden.get("cache_hit")),
        reply=message if items else None,
    )


def _ending(response: Any, *, calls: bool) -> str | None:
    status = field_of(response, "status")
    if status == "completed":
        return "tool_calls" if calls else "stop"
    if status == "incomplete":
        reason = field_of(field_of(response, "incomplete_details"), "reason")
        return _ENDINGS.get(str(reason), str(reason))
    return "error" if status in {"failed", "cancelled"} else None


def _item_text(item: Any) -> str:
    parts = [*(field_of(item, "content") or ()), *(field_of(item, "summary") or ())]
    return "".join(field_of(part, "text") or field_of(part, "refusal") or "" for part in parts)


def _call(item: Any) -> dict[str, Any]:
    function = {"name": field_of(item, "name"), "arguments": field_of(item, "arguments") or ""}
    return {"id": field_of(item, "call_id"), "type": "function", "function": function}


def _searched(usage: dict[str, Any] | None, response: Any, items: Sequence[Any]) -> dict[str, Any] | None:
    """The usage with the searches that a response tells beside it, where the usage itself tells of none.

    `tool_usage` is the billed count of those who send one; else each search is an item of its own.
    """
    if usage is None or _tells_searches(usage):
        return usage
    billed = field_of(field_of(field_of(response, "tool_usage"), "web_search"), "num_requests")
    count = billed if type(billed) is int else sum(map(_is_search, items))
    return {**usage, "server_tool_use": {"web_search_requests": count}} if count else usage


def _tells_searches(usage: Mapping[str, Any]) -> bool:
    counts = [mapping_of(usage.get(name)).get("web_search_requests") for name in ("server_tool_use", *_DETAILS)]
    return any(counts) or bool(usage.get("server_side_tool_usage_details"))


def _is_search(item: Any) -> bool:
    if field_of(item, "type") != "web_search_call":
        return False
    return field_of(field_of(item, "action"), "type") not in _OPENS_PAGES


# ---- embeddings, and what all share --------------------------------------------------------------------------------


def _embedding(reply: Any) -> Part:
    usage = getattr(reply, "usage", None)
    hidden = _hidden(reply)
    return Part(
        usage=_usage(usage),
        model=getattr(reply, "model", None),
        stated_usd=_stated_usd(getattr(usage, "cost", None), hidden),
        cache_hit=bool(hidden.get("cache_hit")),
    )


def _hidden(reply: Any) -> Mapping[str, Any]:
    return getattr(reply, "_hidden_params", None) or {}


def _usage(usage: Any, model: str | None = None) -> dict[str, Any] | None:
    """The report as a plain mapping; None where there is none, or where every count is LiteLLM's placeholder zero."""
    if usage is None:
        return None
    found: dict[str, Any] = (
        dict(cast("dict[str, Any]", usage))
        if isinstance(usage, dict)
        else usage.model_dump(exclude_none=True, warnings=False)
    )
    # A cost is no quantity; whether it is believed is decided apart.
    found.pop("cost", None)
    if model is not None and billed_by_prompt(model):
        _count_once(found)
    return found if any(found.get(name) for name in _COUNTS) else None


def _count_once(usage: dict[str, Any]) -> None:
    """Several queries of one prompt are one search."""
    for name in _DETAILS:
        details = mapping_of(usage.get(name))
        if details.get("web_search_requests"):
            usage[name] = {**details, "web_search_requests": 1}


def _stated_usd(cost: Any, hidden: Mapping[str, Any]) -> str | None:
    """A cost that the provider states, in dollars, rounded up to a pico-dollar; zero is no statement."""
    if cost is None or hidden.get("custom_llm_provider") not in _STATES_COST:
        return None
    total = field_of(cost, "total_cost") or cost
    try:
        dollars = Decimal(str(total))
    except InvalidOperation:
        return None
    if not dollars.is_finite() or dollars <= 0:
        return None
    return f"{dollars.quantize(_PICO, rounding=ROUND_CEILING):f}"
