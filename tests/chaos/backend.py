"""A backend that speaks plain HTTP: it starts in no time, and says at each point of a call where it is."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from typing import Any, Final

from tokenguard.backends.scripted import ScriptedObject
from tokenguard.core.ports import Failure, Part, Request

__all__ = ["BrokenCall", "PlainBackend"]

_UNBILLED: Final = frozenset({400, 429, 500, 502, 503, 529})
_OK: Final = 200


class BrokenCall(Exception):  # noqa: N818  # a provider's error, as this backend raises it
    """An error answer, or no answer."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.error_class} (status {failure.status})")
        self.failure = failure


class PlainBackend:
    """Sends chats to a server that speaks OpenAI's format.

    Args:
        host: Where it listens.
        port: Its port.
        reach: Called with the name of each place that a call comes to.
    """

    def __init__(self, host: str, port: int, reach: Callable[[str], object] = str) -> None:
        self._host, self._port, self._reach = host, port, reach

    def warm(self) -> None:
        """Nothing is to be loaded."""

    def identity(self, model: str, arguments: Mapping[str, Any]) -> tuple[str, str | None]:
        del model, arguments
        return "plain", None

    def send(self, request: Request) -> Any:
        self._reach("before sending")
        timeout_s = request.arguments.get("timeout", 5.0)
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        try:
            connection.connect()
        except OSError as error:
            raise _broken(error, billed=False) from error
        try:
            connection.request("POST", "/v1/chat/completions", _body(request), {"Content-Type": "application/json"})
            self._reach("after sending")
            response = connection.getresponse()
            _check_status(response.status)
            if request.stream:
                return _Chunks(connection, response)
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _broken(error, billed=True) from error
        except BaseException:
            connection.close()
            raise
        connection.close()
        self._reach("after the answer")
        return _object(json.loads(answer))

    async def asend(self, request: Request) -> Any:
        """Whole answers only."""
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port)
        except OSError as error:
            raise _broken(error, billed=False) from error
        body = _body(request)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {len(body)}\r\n\r\n"
        try:
            writer.write(head.encode() + body)
            status, _, headers = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
            _check_status(int(status.split()[1]))
            length = int(http.client.parse_headers(BytesIO(headers))["Content-Length"])
            return _object(json.loads(await reader.readexactly(length)))
        except (OSError, EOFError) as error:
            raise _broken(error, billed=True) from error
        finally:
            writer.close()

    def read(self, operation: str, reply: Any) -> Part:
        del operation
        choice = (reply.get("choices") or [ScriptedObject()])[0]
        message = choice.get("message")
        spoken = choice.get("delta") or message or {}
        return Part(
            usage=reply.get("usage"),
            text=spoken.get("content") or "",
            model=reply.get("model"),
            response_id=reply.get("id"),
            finish_reason=choice.get("finish_reason"),
            reply=None if message is None else message.model_dump(),
        )

    def failure(self, error: BaseException, *, handling: BaseException | None = None) -> Failure:
        del handling
        if isinstance(error, BrokenCall):
            return error.failure
        return Failure(billed=True, retryable=False, error_class=type(error).__name__)

    def close_stream(self, stream: Any) -> None:
        stream.close()

    async def aclose_stream(self, stream: Any) -> None:
        stream.close()


class _Chunks:
    """Server-sent events, one by one."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection, self._response = connection, response

    def __iter__(self) -> Iterator[ScriptedObject]:
        return self

    def __next__(self) -> ScriptedObject:
        try:
            while line := self._response.readline():
                if line.startswith(b"data: [DONE]"):
                    break
                if line.startswith(b"data: "):
                    return _object(json.loads(line[6:]))
            else:
                raise _broken(http.client.IncompleteRead(b""), billed=True)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _broken(error, billed=True) from error
        raise StopIteration

    def close(self) -> None:
        self._connection.close()


def _body(request: Request) -> bytes:
    sent = {name: value for name, value in request.arguments.items() if name not in ("timeout", "num_retries")}
    return json.dumps({"model": request.model, **sent}).encode()


def _check_status(status: int) -> None:
    if status != _OK:
        billed = status not in _UNBILLED
        raise BrokenCall(Failure(billed=billed, retryable=False, error_class="ErrorAnswer", status=status))


def _broken(error: BaseException, *, billed: bool) -> BrokenCall:
    return BrokenCall(Failure(billed=billed, retryable=False, error_class=type(error).__name__))


def _object(value: Any) -> Any:
    """JSON as objects whose keys are attributes."""
    if isinstance(value, dict):
        return ScriptedObject({name: _object(one) for name, one in value.items()})
    return [_object(one) for one in value] if isinstance(value, list) else value
