"""The scripted backend: answers in order, in the shapes that agents read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tokenguard.backends.scripted import ScriptedBackend, ScriptedCall, ScriptedReply
from tokenguard.core.ports import Failure, Request
from tokenguard.errors import BackendError

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "prompt_tokens_details": {"cached_tokens": 2}}


def _request(operation: str = "chat", **options: Any) -> Request:
    return Request(operation, "openai/gpt-4o", {"messages": [], **options})


def test_replies_come_in_order_with_attributes_and_with_brackets() -> None:
    backend = ScriptedBackend(["one", ScriptedReply("two", usage=USAGE, model="echo")])

    first, second = backend.send(_request()), backend.send(_request())

    assert first.choices[0].message.content == "one"
    assert second["choices"][0]["message"]["content"] == "two"
    assert second.model == "echo"
    assert second.usage.prompt_tokens_details.cached_tokens == 2


def test_a_reply_is_read_as_the_guard_needs_it() -> None:
    backend = ScriptedBackend([ScriptedReply("two", usage=USAGE, stated_usd="0.5")])

    part = backend.read("chat", backend.send(_request()))

    assert (part.text, part.finish_reason, part.stated_usd) == ("two", "stop", "0.5")
    assert part.usage == USAGE
    assert part.reply == {"role": "assistant", "content": "two"}


def test_tool_calls_are_asked_for() -> None:
    backend = ScriptedBackend([ScriptedReply(tool_calls=[ScriptedCall("search", '{"q": 1}', id="c1")])])

    part = backend.read("chat", backend.send(_request()))

    assert part.finish_reason == "tool_calls"
    assert part.reply is not None
    assert part.reply["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "search", "arguments": '{"q": 1}'}}
    ]


def test_a_stream_delivers_the_text_and_then_the_usage_that_was_asked_for() -> None:
    backend = ScriptedBackend([ScriptedReply("four is the answer", usage=USAGE)])

    chunks = list(backend.send(_request(stream=True, stream_options={"include_usage": True})))

    parts = [backend.read("chat", chunk) for chunk in chunks]
    assert "".join(part.text for part in parts) == "four is the answer"
    assert [part.finish_reason for part in parts][-2:] == ["stop", None]
    assert [part.usage for part in parts] == [None] * (len(parts) - 1) + [USAGE]


def test_a_stream_that_was_not_asked_reports_nothing() -> None:
    backend = ScriptedBackend(["four"])

    parts = [backend.read("chat", chunk) for chunk in backend.send(_request(stream=True))]

    assert all(part.usage is None for part in parts)


def test_an_async_stream_can_be_left_and_is_counted() -> None:
    backend = ScriptedBackend(["four is the answer"])

    async def leave() -> list[str]:
        stream = await backend.asend(_request(stream=True))
        texts = [backend.read("chat", await anext(stream)).text for _ in range(2)]
        await backend.aclose_stream(stream)
        return [*texts, *[backend.read("chat", chunk).text async for chunk in stream]]

    assert asyncio.run(leave()) == ["", "four"]
    assert backend.closed_streams == 1


def test_embeddings_have_one_vector_for_each_text() -> None:
    backend = ScriptedBackend(["unused"])

    reply = backend.send(Request("embeddings", "e", {"input": ["a", "b"]}))

    assert len(reply.data) == 2


def test_a_function_answers_every_request() -> None:
    backend = ScriptedBackend(lambda request: f"to {request.model}")

    texts = [backend.send(_request()).choices[0].message.content for _ in range(3)]

    assert texts == ["to openai/gpt-4o"] * 3
    assert backend.count == 3


def test_functions_can_stand_in_a_list() -> None:
    backend = ScriptedBackend(["one", lambda _: ScriptedReply("two")])

    backend.send(_request())

    assert backend.send(_request()).choices[0].message.content == "two"


def test_a_script_that_is_over_says_so() -> None:
    backend = ScriptedBackend(["one"])
    backend.send(_request())

    with pytest.raises(BackendError, match="has 1 replies and this is request 2") as caught:
        backend.send(_request())

    assert backend.failure(caught.value).billed is False


def test_an_error_is_raised_with_what_the_script_says_about_money() -> None:
    overloaded = Failure(billed=False, retryable=True, error_class="Overloaded", status=529)
    backend = ScriptedBackend(
        [
            ScriptedReply(error=TimeoutError("slow")),
            ScriptedReply(error=ConnectionError("busy"), failure=overloaded),
        ]
    )

    with pytest.raises(TimeoutError) as slow:
        backend.send(_request())
    with pytest.raises(ConnectionError) as busy:
        backend.send(_request())

    assert backend.failure(slow.value).billed is True
    assert backend.failure(busy.value) == overloaded


def test_the_provider_is_what_the_name_begins_with() -> None:
    backend = ScriptedBackend([])

    assert backend.identity("openai/gpt-4o", {}) == ("openai", None)
    assert backend.identity("gpt-4o", {}) == ("scripted", None)


def test_a_reply_can_be_dumped_like_pydantics() -> None:
    backend = ScriptedBackend([ScriptedReply("one", usage=USAGE)])

    dumped = backend.send(_request()).model_dump()

    assert type(dumped["choices"][0]) is dict
    assert dumped["usage"] == USAGE
