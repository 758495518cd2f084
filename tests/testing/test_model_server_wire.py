"""OpenAI's own client understands the model server, strictly."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI, RateLimitError
from openai.types.responses import ResponseCompletedEvent, ResponseTextDeltaEvent

from tokenguard.testing.model_server import ModelServer, Reply, ToolCall

MESSAGES = [{"role": "user", "content": "hello there"}]


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as found:
        yield found


@pytest.fixture
def client(server: ModelServer) -> Iterator[OpenAI]:
    # Strict: a body that does not match the client's own types is an error, not a guess.
    with OpenAI(base_url=server.url, api_key="none", max_retries=0, _strict_response_validation=True) as found:
        yield found


def test_chat_completions(server: ModelServer, client: OpenAI) -> None:
    server.reset(Reply("four", reasoning_tokens=2, tool_calls=[ToolCall("f", '{"a": 1}')]))

    found = client.chat.completions.create(model="m", messages=MESSAGES)  # type: ignore[arg-type]  # plain dicts

    assert found.choices[0].message.content == "four"
    assert found.choices[0].message.tool_calls is not None
    assert found.usage is not None
    assert found.usage.completion_tokens_details is not None
    assert found.usage.completion_tokens_details.reasoning_tokens == 2


def test_chat_streams(server: ModelServer, client: OpenAI) -> None:
    server.reset(Reply("four is the answer", tool_calls=[ToolCall("f"), ToolCall("g")]))

    stream = client.chat.completions.create(
        model="m",
        messages=MESSAGES,  # type: ignore[arg-type]  # plain dicts
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)

    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == "four is the answer"
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].choices == []


def test_responses(server: ModelServer, client: OpenAI) -> None:
    server.reset(Reply("four", cached_tokens=1, tool_calls=[ToolCall("f", '{"a": 1}')]))

    found = client.responses.create(model="m", input="hello there", max_output_tokens=20)

    assert found.output_text == "four"
    assert found.output[1].type == "function_call"
    assert found.usage is not None
    assert found.usage.input_tokens_details.cached_tokens == 1


def test_responses_that_are_cut_are_incomplete(server: ModelServer, client: OpenAI) -> None:
    server.reset(Reply(completion_tokens=30))

    found = client.responses.create(model="m", input="hello there", max_output_tokens=20)

    assert found.status == "incomplete"
    assert found.incomplete_details is not None
    assert found.incomplete_details.reason == "max_output_tokens"


def test_responses_streams(server: ModelServer, client: OpenAI) -> None:
    server.reset(Reply("four is the answer", tool_calls=[ToolCall("f")]))

    events = list(client.responses.create(model="m", input="hello there", stream=True))

    assert "".join(event.delta for event in events if isinstance(event, ResponseTextDeltaEvent)) == "four is the answer"
    assert isinstance(events[-1], ResponseCompletedEvent)
    assert events[-1].response.usage is not None
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_embeddings(client: OpenAI) -> None:
    # Asked for numbers, because the strict client refuses the packed form that it asks for by default.
    found = client.embeddings.create(model="m", input=["hello there", "you"], dimensions=4, encoding_format="float")

    assert [len(one.embedding) for one in found.data] == [4, 4]
    assert found.usage.prompt_tokens == 3


def test_errors(server: ModelServer, client: OpenAI) -> None:
    server.reset(Reply(status=429, error="slow down", error_code="rate"))

    with pytest.raises(RateLimitError, match="slow down") as caught:
        client.embeddings.create(model="m", input="x")

    assert caught.value.code == "rate"


def test_packed_embeddings(server: ModelServer) -> None:
    with OpenAI(base_url=server.url, api_key="none") as client:
        found = client.embeddings.create(model="m", input="hello there", dimensions=4)

    assert found.data[0].embedding == [0.5] * 4
