"""As much of HTTP/1.1 as model clients speak: requests with a length or in chunks, whole responses, chunked streams."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LAST_CHUNK", "Parser", "chunk", "response", "stream_head"]

LAST_CHUNK = b"0\r\n\r\n"

_HEAD_MAX_BYTES = 64 * 1024


class Parser:
    """Collects bytes and hands out complete requests."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: tuple[str, str, dict[str, str]] | None = None

    def feed(self, content: bytes) -> None:
        """Take bytes as they came."""
        self._buffer += content

    def next_request(self) -> tuple[str, str, dict[str, str], bytes] | None:
        """The next complete request as method, path, headers (lower case) and body; None: not all here yet.

        Raises:
            ValueError: this is not HTTP/1.1.
        """
        if self._head is None:
            self._head = self._take_head()
            if self._head is None:
                return None
        method, path, headers = self._head
        chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        body = self._take_chunked() if chunked else self._take(int(headers.get("content-length", "0")))
        if body is None:
            return None
        self._head = None
        return method, path, headers, body

    def _take_head(self) -> tuple[str, str, dict[str, str]] | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _HEAD_MAX_BYTES or not _looks_like_http(self._buffer):
                raise ValueError("this is not an HTTP request")
            return None
        first, *rest = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):  # noqa: PLR2004  # method, path, version
            raise ValueError(f"this is not an HTTP/1.1 request line: {first[:80]!r}")
        pairs = (line.partition(":") for line in rest)
        return words[0], words[1], {name.strip().lower(): value.strip() for name, _, value in pairs}

    def _take(self, size: int) -> bytes | None:
        if len(self._buffer) < size:
            return None
        body = bytes(self._buffer[:size])
        del self._buffer[:size]
        return body

    def _take_chunked(self) -> bytes | None:
        """A chunked body, once its last chunk is here; until then nothing is consumed."""
        body = bytearray()
        at = 0
        while True:
            line = self._buffer.find(b"\r\n", at)
            if line < 0:
                return None
            size = int(bytes(self._buffer[at:line]).split(b";")[0], 16)
            end = line + 2 + size
            if len(self._buffer) < end + 2:
                return None
            body += self._buffer[line + 2 : end]
            at = end + 2
            if size == 0:
                del self._buffer[:at]
                return bytes(body)


def response(status: int, body: bytes, *, headers: Mapping[str, str] | None = None, close: bool = False) -> bytes:
    """A whole JSON response in one piece, because header and body apart would meet Nagle and delayed ACKs."""
    lines = [_status_line(status), "content-type: application/json", f"content-length: {len(body)}"]
    if close:
        lines.append("connection: close")
    return _head(lines, headers) + body


def stream_head(headers: Mapping[str, str] | None = None) -> bytes:
    """The head of a response of server-sent events."""
    lines = [_status_line(200), "content-type: text/event-stream; charset=utf-8", "transfer-encoding: chunked"]
    return _head(lines, headers)


def chunk(content: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(content), content)


def _head(lines: list[str], headers: Mapping[str, str] | None) -> bytes:
    extra = [f"{name}: {value}" for name, value in (headers or {}).items()]
    return ("\r\n".join([*lines, *extra]) + "\r\n\r\n").encode("latin-1")


def _status_line(status: int) -> str:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Status"  # 529 is nobody's standard, and providers send it
    return f"HTTP/1.1 {status} {phrase}"


def _looks_like_http(start: bytearray) -> bool:
    """Whether the first bytes can be a method; a TLS client's hello is not."""
    return not start or start[:1].isalpha()
