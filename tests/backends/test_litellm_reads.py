"""What LiteLLM's replies and chunks really say about usage, text, identity and cost."""

from __future__ import annotations

from typing import Any

import pytest

from tokenguard.backends.litellm import LiteLLMBackend
from tokenguard.core.ports import Request
from tokenguard.testing.model_server import ModelServer, Reply, ToolCall

ASKED = {"stream_options": {"include_usage": True}}


def _options(way: Any) -> dict[str, Any]:
    return ASKED if way.stream and way.operation == "chat" else {}


def test_usage_that_the_provider_reported_is_read(
    server: ModelServer, backend: LiteLLMBackend, way: Any, run: Any
) -> None:
    server.reset(Reply(prompt_tokens=77, cached_tokens=5, completion_tokens=3))

    parts = [
        backend.read(way.operation, one) for one in run(way.request(server.url, **_options(way)), way.asynchronous)
    ]

    reported = [part.usage for part in parts if part.usage is not None]
    assert len(reported) == 1
    assert 77 in (reported[0].get("prompt_tokens"), reported[0].get("input_tokens"))
    assert "cost" not in reported[0]


def test_usage_that_litellm_made_up_is_not_read(
    server: ModelServer, backend: LiteLLMBackend, way: Any, run: Any
) -> None:
    server.reset(Reply(completion_tokens=3, usage_mode="never"))

    parts = [
        backend.read(way.operation, one) for one in run(way.request(server.url, **_options(way)), way.asynchronous)
    ]

    assert [part.usage for part in parts] == [None] * len(parts)


def test_usage_on_the_finish_chunk_is_read(server: ModelServer, backend: LiteLLMBackend, way: Any, run: Any) -> None:
    server.reset(Reply(prompt_tokens=77, completion_tokens=3, usage_mode="with_finish"))

    parts = [
        backend.read(way.operation, one) for one in run(way.request(server.url, **_options(way)), way.asynchronous)
    ]

    assert any(part.usage is not None for part in parts)


def test_text_is_read_whole_and_in_pieces(server: ModelServer, backend: LiteLLMBackend, way: Any, run: Any) -> None:
    server.reset(Reply("four is the answer"))

    parts = [backend.read(way.operation, one) for one in run(way.request(server.url), way.asynchronous)]

    assert "".join(part.text for part in parts) == ("" if way.operation == "embeddings" else "four is the answer")


@pytest.mark.parametrize(("limit", "ending"), [(20, "length"), (50, "stop")])
def test_the_ending_is_read(  # noqa: PLR0917  # fixtures and a matrix
    server: ModelServer, backend: LiteLLMBackend, spoken_way: Any, run: Any, limit: int, ending: str
) -> None:
    option = "max_output_tokens" if spoken_way.operation == "responses" else "max_tokens"
    server.reset(Reply(completion_tokens=30))

    parts = [
        backend.read(spoken_way.operation, one)
        for one in run(spoken_way.request(server.url, **{option: limit}), spoken_way.asynchronous)
    ]

    assert [part.finish_reason for part in parts if part.finish_reason] == [ending]


def test_tool_calls_are_text_and_come_back_in_the_message(
    server: ModelServer, backend: LiteLLMBackend, run: Any, spoken_way: Any
) -> None:
    server.reset(Reply(tool_calls=[ToolCall("search", '{"q": "cats"}', id="call_7")]))

    parts = [
        backend.read(spoken_way.operation, one) for one in run(spoken_way.request(server.url), spoken_way.asynchronous)
    ]

    assert "".join(part.text for part in parts) == '{"q": "cats"}'
    if not spoken_way.stream:
        call = {"id": "call_7", "type": "function", "function": {"name": "search", "arguments": '{"q": "cats"}'}}
        assert parts[0].reply is not None
        assert parts[0].reply["tool_calls"] == [call]


def test_visible_reasoning_is_text(server: ModelServer, backend: LiteLLMBackend, run: Any, chat_way: Any) -> None:
    server.reset(Reply("so four", reasoning="two and two"))

    parts = [backend.read(chat_way.operation, one) for one in run(chat_way.request(server.url), chat_way.asynchronous)]

    assert "".join(part.text for part in parts) == "two and twoso four"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "cost_usd", "stated"),
    [
        ("openrouter/openai/gpt-4o", "0.0123", "0.012300000000"),
        ("openrouter/openai/gpt-4o", "0.0000000000001", "0.000000000001"),
        ("openrouter/openai/gpt-4o", "0", None),
        ("openrouter/openai/gpt-4o", None, None),
        ("openai/gpt-4o", "0.0123", None),
        ("openai/gpt-4o", None, None),
    ],
)
def test_only_a_cost_that_the_provider_states_is_stated(  # noqa: PLR0917  # fixtures and a matrix
    server: ModelServer, backend: LiteLLMBackend, run: Any, model: str, cost_usd: str, stated: str, stream: object
) -> None:
    server.reset(Reply(completion_tokens=3, cost_usd=cost_usd))

    parts = [
        backend.read("chat", one) for one in run(_chat(server.url, model, stream=bool(stream)), asynchronous=False)
    ]

    assert [part.stated_usd for part in parts if part.usage is not None] == [stated]


def _chat(url: str, model: str, *, stream: bool) -> Request:
    streamed = {"stream": True, **ASKED} if stream else {}
    messages = [{"role": "user", "content": "hello there"}]
    return Request("chat", model, {"messages": messages, "api_base": url, "api_key": "none", **streamed})
