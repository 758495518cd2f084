"""A backend that answers from a list: for tests of agents and their budgets, without HTTP and without LiteLLM.

`Guard(backend=ScriptedBackend(["first answer", ScriptedReply("second", usage={...})]))`. Replies look like OpenAI's and
LiteLLM's: `reply.choices[0].message.content`, and the same with brackets.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias, cast

from tokenguard.core.ports import CallPiece, Failure, Part, Request
from tokenguard.core.untrusted import list_of, mapping_of
from tokenguard.errors import BackendError

__all__ = ["Scripted", "ScriptedBackend", "ScriptedCall", "ScriptedObject", "ScriptedReply"]

_DEFAULT_USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
_VECTOR = (0.5, 0.5)


@dataclass(frozen=True, slots=True)
class ScriptedCall:
    """One tool call of a scripted answer; `arguments` is JSON text."""

    name: str
    arguments: str = "{}"
    id: str = "call_0"


@dataclass(frozen=True, slots=True)
class ScriptedReply:
    """One answer.

    Attributes:
        text: What the model says.
        usage: As a provider reports it, in OpenAI's shape; None: the provider reports none.
        model: The name that is echoed; None: the request's.
        finish_reason: None: `tool_calls` where there are any, else `stop`.
        tool_calls: What the model asks to call.
        error: Raised instead of answering.
        failure: What the error says about money; None: that it may have been billed, and is not to be tried again.
        stated_usd: A cost that the provider states, in dollars.
    """

    text: str = ""
    usage: Mapping[str, Any] | None = field(default_factory=lambda: dict(_DEFAULT_USAGE))
    model: str | None = None
    finish_reason: str | None = None
    tool_calls: Sequence[ScriptedCall] = ()
    error: BaseException | None = None
    failure: Failure | None = None
    stated_usd: str | None = None


Scripted: TypeAlias = str | ScriptedReply | Callable[[Request], "str | ScriptedReply"]


class ScriptedObject(dict[str, Any]):
    """A dict whose keys are attributes too, like the objects of LiteLLM."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"this scripted reply has no {name!r}") from None

    def model_dump(self) -> dict[str, Any]:
        """Plain dicts and lists, as pydantic's objects give them."""
        return {name: _plain(value) for name, value in self.items()}


class ScriptedBackend:
    """Answers each request with the next reply of a script; safe in threads and tasks.

    Args:
        replies: Texts, `ScriptedReply`s or functions of the request, in order. A single function answers every request.
    """

    name = "scripted"

    def __init__(self, replies: Sequence[Scripted] | Callable[[Request], str | ScriptedReply]) -> None:
        self._always = replies if callable(replies) else None
        self._replies: tuple[Scripted, ...] = () if callable(replies) else tuple(replies)
        self._requests: list[Request] = []
        self._failures: dict[int, tuple[BaseException, Failure]] = {}
        self._lock = threading.Lock()
        self.closed_streams = 0
        """Streams that were closed before their end."""

    @property
    def requests(self) -> tuple[Request, ...]:
        """Every request that arrived, in order."""
        return tuple(self._requests)

    @property
    def count(self) -> int:
        """How many requests arrived."""
        return len(self._requests)

    def warm(self) -> None:
        """Nothing is to be loaded."""

    def identity(self, model: str, arguments: Mapping[str, Any]) -> tuple[str, str | None]:
        """The provider that the model's name begins with, or `scripted`."""
        del arguments
        provider, slash, _ = model.partition("/")
        return (provider if slash else self.name), None

    def send(self, request: Request) -> Any:
        """Answer; an iterator of chunks where `request.stream`.

        Raises:
            BackendError: the script is over.
            BaseException: the reply's own error.
        """
        reply = self._next(request)
        if request.stream and request.operation != "embeddings":
            return ScriptedStream(_chunks(request, reply), self)
        return _whole(request, reply)

    async def asend(self, request: Request) -> Any:
        """The same for asyncio."""
        return self.send(request)

    def read(self, operation: str, reply: Any) -> Part:
        """What a reply or chunk says."""
        del operation
        usage = reply.get("usage")
        choice = (reply.get("choices") or [ScriptedObject()])[0]
        message = choice.get("message")
        spoken = mapping_of(choice.get("delta") or message)
        calls = list_of(spoken.get("tool_calls"))
        return Part(
            usage=None if usage is None else usage.model_dump(),
            text=(spoken.get("content") or "") + "".join(call["function"]["arguments"] for call in calls),
            said=spoken.get("content") or "",
            calls=tuple(_piece(place, call) for place, call in enumerate(calls)) if message is None else (),
            model=reply.get("model"),
            response_id=reply.get("id"),
            finish_reason=choice.get("finish_reason"),
            stated_usd=reply.get("stated_usd"),
            reply=None if message is None else message.model_dump(),
        )

    def failure(self, error: BaseException, *, handling: BaseException | None = None) -> Failure:  # noqa: ARG002  # the port's
        """What the script says about this error; our own errors were never sent."""
        with self._lock:
            known = self._failures.get(id(error))
        if known is not None:
            return known[1]
        return Failure(billed=not isinstance(error, BackendError), retryable=False, error_class=type(error).__name__)

    def close_stream(self, stream: Any) -> None:
        """Stop a stream; idempotent."""
        stream.close()

    async def aclose_stream(self, stream: Any) -> None:
        """Stop a stream; idempotent."""
        stream.close()

    def _next(self, request: Request) -> ScriptedReply:
        with self._lock:
            self._requests.append(request)
            number = len(self._requests)
            if self._always is None and number > len(self._replies):
                raise BackendError(
                    f"the script has {len(self._replies)} replies and this is request {number}. "
                    "Give ScriptedBackend more of them, or one function that answers every request.",
                    replies=len(self._replies),
                    request=number,
                )
        chosen = self._always or self._replies[number - 1]
        found = chosen(request) if callable(chosen) else chosen
        reply = ScriptedReply(text=found) if isinstance(found, str) else found
        if reply.error is not None:
            if reply.failure is not None:
                with self._lock:
                    # The error is kept beside its verdict, so that no other can get the same id.
                    self._failures[id(reply.error)] = (reply.error, reply.failure)
            raise reply.error
        return reply


class ScriptedStream:
    """Chunks for both worlds: `for` and `async for`."""

    def __init__(self, chunks: Iterator[ScriptedObject], backend: ScriptedBackend) -> None:
        self._chunks = chunks
        self._backend = backend
        self._open = True

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ScriptedObject:
        if not self._open:
            raise StopIteration
        try:
            return next(self._chunks)
        except StopIteration:
            self._open = False
            raise

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ScriptedObject:
        try:
            return next(self)
        except StopIteration:
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Deliver nothing more; counted by the backend where chunks were left."""
        if self._open:
            self._open = False
            self._backend.closed_streams += 1


def _whole(request: Request, reply: ScriptedReply) -> ScriptedObject:
    body = _base(request, reply)
    if request.operation == "embeddings":
        given = request.arguments.get("input")
        count = len(list_of(given)) or 1
        body["data"] = [ScriptedObject(index=at, embedding=list(_VECTOR)) for at in range(count)]
    else:
        message = ScriptedObject(role="assistant", content=reply.text)
        if reply.tool_calls:
            message["tool_calls"] = _calls(reply)
        body["choices"] = [ScriptedObject(index=0, message=message, finish_reason=_finish(reply))]
    body["usage"] = None if reply.usage is None else _object(reply.usage)
    return body


def _chunks(request: Request, reply: ScriptedReply) -> Iterator[ScriptedObject]:
    """A role, one chunk for each word, tool calls, the finish, and the usage where the request asks for it."""

    def chunk(finish: str | None = None, **delta: Any) -> ScriptedObject:
        choice = ScriptedObject(index=0, delta=ScriptedObject(delta), finish_reason=finish)
        return ScriptedObject({**_base(request, reply), "choices": [choice]})

    yield chunk(role="assistant", content="")
    for at, word in enumerate(reply.text.split(" ") if reply.text else ()):
        yield chunk(content=f" {word}" if at else word)
    if reply.tool_calls:
        yield chunk(tool_calls=_calls(reply))
    yield chunk(_finish(reply))
    asked = mapping_of(request.arguments.get("stream_options")).get("include_usage")
    if reply.usage is not None and (asked or request.operation == "responses"):
        yield ScriptedObject({**chunk(), "usage": _object(reply.usage)})


def _base(request: Request, reply: ScriptedReply) -> ScriptedObject:
    base = ScriptedObject(id="scripted", object=request.operation, model=reply.model or request.model)
    if reply.stated_usd is not None:
        base["stated_usd"] = reply.stated_usd
    return base


def _piece(place: int, call: Mapping[str, Any]) -> CallPiece:
    """A whole call as the only piece of it."""
    function = call["function"]
    return CallPiece(place, call["id"], function["name"], function["arguments"])


def _calls(reply: ScriptedReply) -> list[ScriptedObject]:
    return [
        ScriptedObject(id=call.id, type="function", function=ScriptedObject(name=call.name, arguments=call.arguments))
        for call in reply.tool_calls
    ]


def _finish(reply: ScriptedReply) -> str:
    return reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")


def _object(value: Mapping[str, Any]) -> ScriptedObject:
    nested = {
        name: _object(mapping_of(cast("object", one))) if isinstance(one, Mapping) else one
        for name, one in value.items()
    }
    return ScriptedObject(nested)


def _plain(value: Any) -> Any:
    if isinstance(value, ScriptedObject):
        return value.model_dump()
    items = list_of(value)
    return [_plain(one) for one in items] if items else value
