"""What leaves through LiteLLM: one request per send, with the bytes that LiteLLM itself would send."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import Any

import pytest

from tokenguard.backends.litellm import LiteLLMBackend
from tokenguard.core.ports import Request
from tokenguard.errors import BackendError, UnsupportedOption
from tokenguard.testing.model_server import ModelServer, Reply

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]


@pytest.mark.parametrize(
    "reply",
    [Reply(status=429), Reply(status=500), Reply(cut="request"), Reply(cut="request", reset=True)],
    ids=["429", "500", "cut", "reset"],
)
def test_a_failing_call_is_requested_exactly_once(
    server: ModelServer, way: Any, run: Any, reply: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    import litellm  # noqa: PLC0415

    monkeypatch.setattr(litellm, "num_retries", 3)
    server.reset(reply)

    with pytest.raises(Exception):  # noqa: B017, PT011  # which one is test_failures' question
        run(way.request(server.url, num_retries=2, max_retries=2, fallbacks=["openai/other"]), way.asynchronous)

    assert server.count == 1


def test_bodies_are_byte_equal_to_bare_litellm(server: ModelServer, way: Any, run: Any, loop: asyncio.Runner) -> None:
    request = way.request(server.url, **({"temperature": 0.5, "tools": TOOLS} if way.operation == "chat" else {}))

    run(request, way.asynchronous)
    _bare(request, loop if way.asynchronous else None)

    ours, bare = server.requests
    assert ours.body == bare.body


def _bare(request: Request, loop: asyncio.Runner | None) -> None:
    import litellm  # noqa: PLC0415

    # A plain install of LiteLLM cannot send tools without this; it changes nothing on the wire.
    arguments = {**request.arguments, "model": request.model, "_skip_mcp_handler": True}
    name = {"chat": "completion", "responses": "responses", "embeddings": "embedding"}[request.operation]
    if loop is not None:
        loop.run(_abare(getattr(litellm, f"a{name}"), arguments))
        return
    reply = getattr(litellm, name)(**arguments)
    if request.stream:
        list(reply)


async def _abare(function: Any, arguments: dict[str, Any]) -> None:
    reply = await function(**arguments)
    if arguments.get("stream"):
        [chunk async for chunk in reply]


def test_a_callers_own_client_does_not_retry_and_is_left_as_it_is(server: ModelServer, backend: LiteLLMBackend) -> None:
    import openai  # noqa: PLC0415

    server.reset(Reply(status=500))
    client = openai.OpenAI(api_key="none", base_url=server.url, max_retries=2)

    with pytest.raises(openai.InternalServerError):
        backend.send(
            Request("chat", "openai/gpt-4o", {"messages": [{"role": "user", "content": "x"}], "client": client})
        )

    assert server.count == 1
    assert client.max_retries == 2


def test_callbacks_that_the_user_gave_litellm_go_on_working(
    server: ModelServer, backend: LiteLLMBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    import litellm  # noqa: PLC0415

    called = threading.Event()
    monkeypatch.setattr(litellm, "success_callback", [lambda *_: called.set()])

    backend.send(Request("chat", "openai/gpt-4o", {"messages": [], "api_base": server.url, "api_key": "none"}))

    assert called.wait(10)


def test_fallbacks_that_litellm_was_given_globally_are_refused(
    server: ModelServer, backend: LiteLLMBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    import litellm  # noqa: PLC0415

    monkeypatch.setattr(litellm, "model_fallbacks", ["openai/other"])

    with pytest.raises(UnsupportedOption, match="model_fallbacks"):
        backend.send(Request("chat", "openai/gpt-4o", {"messages": [], "api_base": server.url}))

    assert server.count == 0


def test_an_operation_that_nobody_can_price_is_refused(backend: LiteLLMBackend) -> None:
    with pytest.raises(BackendError, match="'speech'"):
        backend.send(Request("speech", "openai/tts-1", {}))


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        ("gpt-4o", {}, ("openai", None)),
        ("openai/anything", {"api_base": "http://here/v1"}, ("openai", "http://here/v1")),
        ("hosted_vllm/anything", {"base_url": "http://here/v1"}, ("hosted_vllm", "http://here/v1")),
        ("anything", {"custom_llm_provider": "azure"}, ("azure", None)),
        ("nobody-knows-this", {}, ("unknown", None)),
    ],
)
def test_a_model_name_leads_to_a_provider_and_an_endpoint(
    backend: LiteLLMBackend, model: str, options: dict[str, str], expected: tuple[str, str | None]
) -> None:
    assert backend.identity(model, options) == expected


def test_importing_the_backend_does_not_load_litellm() -> None:
    code = "import sys, tokenguard.backends.litellm; sys.exit('litellm' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
