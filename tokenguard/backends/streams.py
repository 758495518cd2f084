"""LiteLLM's streams, with a close that reaches the socket and an honest note about who counted the usage.

LiteLLM invents usage with its own token count when a provider sends none, and adds its own price to it; both look like
the provider's words. What the provider really sent shows only inside LiteLLM's iterators, so these look there and
leave a note for `replies.read` in `_hidden_params`, which is not part of a chunk's content.
"""

from __future__ import annotations

import inspect
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

from tokenguard.backends.once import once
from tokenguard.core.untrusted import mapping_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["REPORTED", "AsyncLiteLLMStream", "LiteLLMStream", "model_field"]

REPORTED: Final = "tokenguard_reported"
"""Key in `_hidden_params` of a chunk or response: (usage, cost) as the provider reported; None: LiteLLM made it up."""

_CACHED: Final = "cached_response"
_NOTHING: Final[dict[str, Any]] = {}
_ALREADY: Final = (OSError, RuntimeError, ValueError)
"""What closing raises where a socket is gone, or where another thread or task is inside the iterator."""


class LiteLLMStream:
    """An iterator over LiteLLM's chunks; every other attribute is LiteLLM's."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._turn = threading.Lock()
        """Held by who reads."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        with self._turn:
            return _noted(next(self._inner), self._inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def close(self) -> None:
        """Close the connection, so that the provider stops generating; idempotent, from any thread.

        Under a thread that waits for a chunk the connection is only ended. That thread hears of it, and its HTTP client
        closes the socket: closed here, its number could be another connection's by the time it is read from.
        """
        layers = list(_layers(self._inner))
        if not self._turn.acquire(blocking=False):
            for layer in layers:
                _hang_up(layer)
            return
        try:
            for layer in layers:
                close = getattr(layer, "close", None)
                if close is not None:
                    with suppress(*_ALREADY):
                        close()
        finally:
            self._turn.release()


class AsyncLiteLLMStream:
    """An async iterator over LiteLLM's chunks; every other attribute is LiteLLM's."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        # Some providers are asked only when the first chunk is.
        with once():
            return _noted(await anext(self._inner), self._inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def aclose(self) -> None:
        """Close the connection, so that the provider stops generating; idempotent."""
        for layer in list(_layers(self._inner)):
            close = getattr(layer, "aclose", None) or getattr(layer, "close", None)
            if close is not None:
                with suppress(*_ALREADY):
                    closing: Any = close()
                    if hasattr(closing, "__await__"):
                        await closing


def _hang_up(layer: Any) -> None:
    """End the TCP connection under a layer, if it has one that nobody else may have by now."""
    response = layer if hasattr(layer, "extensions") else getattr(layer, "response", None)
    network = mapping_of(getattr(response, "extensions", None)).get("network_stream")
    if network is None or getattr(response, "is_closed", False):
        return
    found: socket.socket = network.get_extra_info("socket")
    # Through a second handle, because a TLS socket that is shut down forgets its own state under the reader.
    with suppress(OSError), socket.fromfd(found.fileno(), found.family, found.type) as twin:
        twin.shutdown(socket.SHUT_RDWR)


def model_field(model: Any, name: str) -> Any:
    """A field of one of LiteLLM's pydantic models, declared or not, or None.

    `getattr` with a default costs 2 microseconds for a field that is not there: pydantic composes an error first.
    """
    fields = getattr(model, "__dict__", _NOTHING)
    if name in fields:
        return fields[name]
    extra = getattr(model, "__pydantic_extra__", None)
    return extra.get(name) if extra else None


def _noted(chunk: Any, stream: Any) -> Any:
    """Leave the provider's own report on a chunk or on a last event's response, and the mark of LiteLLM's cache."""
    usage = model_field(chunk, "usage")
    if usage is not None:
        chunk._hidden_params[REPORTED] = _chat_report(usage, stream)  # noqa: SLF001  # the place for notes
        return chunk
    response = model_field(chunk, "response")
    if getattr(response, "usage", None) is not None:
        response._hidden_params[REPORTED] = _response_report(response.usage, stream)  # noqa: SLF001  # the same
    elif getattr(stream, "custom_llm_provider", None) == _CACHED:
        chunk._hidden_params["cache_hit"] = True  # noqa: SLF001  # LiteLLM marks whole replies so, but not chunks
    return chunk


def _chat_report(usage: Any, stream: Any) -> tuple[Any, Any] | None:
    """Usage and cost from the raw chunks that LiteLLM keeps.

    One report is taken as it is. Providers that report piece by piece (Anthropic tells the prompt first and the answer
    last) need LiteLLM's sum, which is on the chunk.
    """
    reports = [found for one in getattr(stream, "chunks", ()) if (found := getattr(one, "usage", None)) is not None]
    if not reports:
        return None
    return (reports[0] if len(reports) == 1 else usage), getattr(reports[-1], "cost", None)


def _response_report(usage: Any, stream: Any) -> tuple[Any, Any] | None:
    """Usage of a responses stream's last event, without a cost: LiteLLM stamps its own on it.

    Where LiteLLM speaks chat underneath, the raw chunks tell. Else an invented usage is known by having no details,
    which every provider of this API sends.
    """
    bridged = getattr(stream, "litellm_custom_stream_wrapper", None)
    if bridged is not None:
        return None if _chat_report(usage, bridged) is None else (usage, None)
    detailed = getattr(usage, "input_tokens_details", None) or getattr(usage, "output_tokens_details", None)
    return (usage, None) if detailed is not None else None


def _layers(stream: Any) -> Iterator[Any]:
    """What holds the connection under one of LiteLLM's iterators; where it is differs by provider.

    Chat through OpenAI's client: its stream. Chat through LiteLLM's own HTTP client: a generator of lines, or beside it
    the response. Responses: the HTTP response, or the chat stream that they are translated from.
    """
    for name in ("litellm_custom_stream_wrapper", "completion_stream"):
        layer = getattr(stream, name, None)
        if layer is not None:
            yield from _layers(layer)
            yield layer
    found = (getattr(stream, name, None) for name in ("http_response", "response", "streaming_response"))
    holder = next((one for one in (*found, stream) if one is not None), None)
    yield _response_of(holder) if inspect.isgenerator(holder) else holder


def _response_of(lines: Any) -> Any:
    """The HTTP response whose lines a generator reads, or the generator.

    A generator that waits in another thread cannot be closed; its response can.
    """
    response = inspect.getgeneratorlocals(lines).get("self")
    return response if hasattr(response, "is_closed") and hasattr(response, "close") else lines
