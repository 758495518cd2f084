"""What went wrong, told from real sockets: was anything billed, and may it be tried again?"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tokenguard.backends.failures import failure
from tokenguard.backends.litellm import LiteLLMBackend
from tokenguard.core.ports import Failure, Request
from tokenguard.errors import BackendError
from tokenguard.testing import FakeClock
from tokenguard.testing.model_server import ModelServer, Reply


def _caught(backend: LiteLLMBackend, run: Any, way: Any, url: str, **options: Any) -> Failure:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # which one differs by way; what it means does not
        run(way.request(url, **options), way.asynchronous)
    return backend.failure(caught.value)


@pytest.mark.parametrize(
    ("status", "billed", "retryable"),
    [
        (400, False, False),
        (401, False, False),
        (403, False, False),
        (404, False, False),
        (408, True, True),
        (429, False, True),
        (500, False, True),
        (502, False, True),
        (503, False, True),
        (504, True, True),
        (524, True, True),
        (529, False, True),
    ],
)
def test_a_complete_error_answer_is_told_by_its_status(  # noqa: PLR0917  # fixtures and a matrix
    server: ModelServer, backend: LiteLLMBackend, run: Any, way: Any, status: int, billed: object, retryable: object
) -> None:
    server.reset(Reply(status=status))

    found = _caught(backend, run, way, server.url)

    assert (found.status, found.billed, found.retryable) == (status, billed, retryable)
    assert found.request_id == "req_0"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(cut="request"),
        Reply(cut="request", reset=True),
        Reply(cut="headers"),
        Reply(cut="body"),
        Reply(cut="body", reset=True),
    ],
    ids=["cut", "reset", "cut-after-headers", "cut-in-body", "reset-in-body"],
)
def test_a_connection_cut_after_sending_may_have_been_billed(
    server: ModelServer, backend: LiteLLMBackend, run: Any, way: Any, reply: Reply
) -> None:
    server.reset(reply)

    found = _caught(backend, run, way, server.url)

    assert (found.status, found.billed, found.retryable) == (None, True, True)


def test_a_stream_cut_between_chunks_may_have_been_billed(
    server: ModelServer, backend: LiteLLMBackend, run: Any, stream_way: Any
) -> None:
    server.reset(Reply(cut=3))

    found = _caught(backend, run, stream_way, server.url)

    assert (found.status, found.billed) == (None, True)


@pytest.mark.parametrize("place", ["request", "headers", "body"])
def test_silence_after_sending_may_have_been_billed(
    server: ModelServer, backend: LiteLLMBackend, run: Any, way: Any, place: Any
) -> None:
    server.reset(Reply(stall=place))

    found = _caught(backend, run, way, server.url, timeout=0.1)

    assert (found.status, found.billed) == (None, True)


def test_a_refused_connection_was_not_billed(backend: LiteLLMBackend, run: Any, way: Any, free_port: int) -> None:
    found = _caught(backend, run, way, f"http://127.0.0.1:{free_port}/v1")

    assert (found.status, found.billed, found.retryable) == (None, False, True)


def test_a_host_that_does_not_resolve_was_not_billed(backend: LiteLLMBackend, run: Any, way: Any) -> None:
    found = _caught(backend, run, way, "http://no-such-host.invalid/v1")

    assert (found.status, found.billed, found.retryable) == (None, False, True)


def test_a_failed_tls_handshake_was_not_billed(
    server: ModelServer, backend: LiteLLMBackend, run: Any, way: Any
) -> None:
    found = _caught(backend, run, way, server.url.replace("http:", "https:"))

    assert (found.status, found.billed, found.retryable) == (None, False, True)
    assert server.count == 0


def test_a_server_that_accepts_and_closes_may_have_billed(
    backend: LiteLLMBackend, run: Any, way: Any, closing_port: int
) -> None:
    found = _caught(backend, run, way, f"http://127.0.0.1:{closing_port}/v1")

    assert (found.status, found.billed, found.retryable) == (None, True, True)


def test_a_request_that_litellm_refuses_itself_was_not_billed(server: ModelServer, backend: LiteLLMBackend) -> None:
    arguments = {"messages": [{"role": "user", "content": "x"}], "api_base": server.url, "api_key": "none"}

    with pytest.raises(Exception) as caught:  # noqa: PT011  # LiteLLM's own
        backend.send(Request("chat", "no-provider-knows-this", arguments))

    found = backend.failure(caught.value)
    assert (found.status, found.billed, found.retryable) == (400, False, False)
    assert server.count == 0


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("7", 7.0),
        ("0.25", 0.25),
        ("Thu, 20 Nov 2025 12:00:30 GMT", 30.0),
        ("Thu, 20 Nov 2025 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-3", None),
        ("nan", None),
    ],
)
def test_retry_after_is_read_in_seconds_and_as_a_date(
    server: ModelServer, run: Any, way: Any, retry_after: str, seconds: float | None
) -> None:
    backend = LiteLLMBackend(clock=FakeClock(datetime(2025, 11, 20, 12, tzinfo=UTC)))
    server.reset(Reply(status=429, retry_after=retry_after))

    found = _caught(backend, run, way, server.url)

    assert found.retry_after_s == seconds


def test_milliseconds_win_over_seconds(server: ModelServer, backend: LiteLLMBackend, run: Any, chat_way: Any) -> None:
    server.reset(Reply(status=429, retry_after="2", headers={"retry-after-ms": "1500"}))

    assert _caught(backend, run, chat_way, server.url).retry_after_s == 1.5


def test_a_spent_quota_is_not_tried_again(
    server: ModelServer, backend: LiteLLMBackend, run: Any, chat_way: Any
) -> None:
    server.reset(Reply(status=429, error_code="insufficient_quota"))

    found = _caught(backend, run, chat_way, server.url)

    assert (found.billed, found.retryable) == (False, False)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_a_cancelled_call_may_have_been_billed(error: BaseException) -> None:
    found = failure(error, FakeClock())

    assert (found.billed, found.retryable, found.error_class) == (True, False, type(error).__name__)


def test_an_error_nobody_knows_may_have_been_billed() -> None:
    found = failure(ValueError("what is this"), FakeClock())

    assert (found.billed, found.retryable) == (True, False)


@pytest.mark.parametrize("error", [BackendError("ours"), ModuleNotFoundError("No module named 'boto3'")], ids=repr)
def test_what_failed_before_sending_was_not_billed(error: Exception) -> None:
    found = failure(error, FakeClock())

    assert (found.billed, found.retryable) == (False, False)


def test_an_error_that_the_caller_was_handling_does_not_speak_for_this_call() -> None:
    try:
        try:
            raise httpx.ConnectTimeout("the caller's own, long ago")
        except httpx.HTTPError:
            raise httpx.ReadTimeout("ours")  # noqa: B904  # LiteLLM chains by context, so the test does
    except httpx.ReadTimeout as error:
        inner = error
    wrapped = RuntimeError("as a framework wraps it")
    wrapped.__context__ = inner

    found = failure(wrapped, FakeClock())

    assert found.billed
