"""What the model server answers: a `Reply` is a value, a script chooses one for each request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

from tokenguard.core.untrusted import list_of
from tokenguard.errors import SettingsError
from tokenguard.testing.model_server.requests import RecordedRequest

__all__ = ["Place", "Reply", "Script", "ToolCall", "UsageMode", "chooser"]

Place: TypeAlias = Literal["request", "headers", "body"] | int
"""Where an answer breaks off: after reading the request, after the headers, in the middle of the body, or after k
chunks."""

UsageMode: TypeAlias = Literal["asked", "always", "never", "with_finish"]
"""When a stream tells its usage: only for `stream_options.include_usage` (as OpenAI does), in a chunk of its own
always, never (as many compatible servers do), or on the chunk that carries `finish_reason`."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One function call in an answer; `arguments` is the JSON text exactly as it goes out."""

    name: str
    arguments: str = "{}"
    id: str = ""
    """Empty: `call_<index>`."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the model server.

    How much is written: `completion_tokens` or `share_of_max` if given, else the words of `text`; never more than the
    request's own maximum, and then `finish_reason` is `length`. One token is one whitespace-separated word, reasoning
    included. Without `text` the words are filler.

    Attributes:
        text: What the model says.
        completion_tokens: How many tokens it would like to write, >= 0, reasoning included.
        share_of_max: Instead: this part of the request's maximum, 0..1.
        prompt_tokens: Reported as such; None: counted (see `RecordedRequest.prompt_tokens`).
        cached_tokens: Part of the prompt that was read from the provider's cache.
        cache_write_tokens: Part of the prompt that was written to it.
        reasoning_tokens: Part of the answer that nobody sees.
        reasoning: Visible reasoning, sent as `reasoning_content`.
        usage: The whole usage object, sent as it is, whatever was written.
        cost_usd: A cost the provider states itself in `usage.cost`, in dollars.
        usage_mode: When a stream reports usage. `never` leaves it out of whole answers as well.
        tool_calls: Function calls to ask for; `finish_reason` is then `tool_calls`.
        finish_reason: Instead of the natural one.
        model: The name that is echoed; None: the request's.
        service_tier: Echoed where given.
        latency_s: Wait before the first byte.
        pace_s: Wait before each chunk of a stream.
        chunks: In how many pieces the text is streamed; None: one for each word.
        endless: The stream never ends and asks nobody for a maximum.
        status: HTTP status; from 400 on the body is an error.
        error: The error's message.
        error_code: The error's code, such as `context_length_exceeded`.
        retry_after: The `Retry-After` header, in seconds or as an HTTP date.
        headers: More response headers.
        cut: Where the connection is closed on the client.
        stall: Where the server falls silent and keeps the connection.
        reset: `cut` resets the connection (RST) instead of ending it (FIN).
    """

    text: str = ""
    completion_tokens: int | None = None
    share_of_max: float | None = None
    prompt_tokens: int | None = None
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    reasoning: str = ""
    usage: Mapping[str, Any] | None = None
    cost_usd: str | None = None
    usage_mode: UsageMode = "asked"
    tool_calls: Sequence[ToolCall] = ()
    finish_reason: str | None = None
    model: str | None = None
    service_tier: str | None = None
    latency_s: float = 0.0
    pace_s: float = 0.0
    chunks: int | None = None
    endless: bool = False
    status: int = 200
    error: str = ""
    error_code: str | None = None
    retry_after: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    cut: Place | None = None
    stall: Place | None = None
    reset: bool = False


Script: TypeAlias = Reply | str | Sequence[Reply | str] | Callable[[RecordedRequest], Reply | str]
"""One reply for all requests, replies in order of arrival (the last one stays), or a function of the request."""


def chooser(script: Script) -> Callable[[RecordedRequest], Reply]:
    """Make a function that picks the reply for a request.

    Raises:
        SettingsError: an empty sequence, or something that is neither a reply, a text nor a function.
    """
    if isinstance(script, (Reply, str)):
        only = _reply(script)
        return lambda _: only
    if isinstance(script, Sequence):
        replies = [_reply(one) for one in list_of(cast("object", script))]
        if not replies:
            raise SettingsError("a script without replies cannot answer. Give at least one Reply(...).", path=None)
        return lambda request: replies[min(request.index, len(replies) - 1)]
    choose: Callable[[RecordedRequest], Any] = script
    return lambda request: _reply(choose(request))


def _reply(one: Any) -> Reply:
    """A text is an answer; everything else must be a `Reply` already."""
    if isinstance(one, Reply):
        return one
    if isinstance(one, str):
        return Reply(text=one)
    raise SettingsError(f"a script gave {type(one).__name__}; it must give Reply(...) or a text.", path=None)
