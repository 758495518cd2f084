"""OpenAI's wire format: an `Answer` as whole bodies and as server-sent events. Pure: nothing here knows a socket."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

from tokenguard.core.untrusted import list_of
from tokenguard.testing.model_server.requests import RecordedRequest
from tokenguard.testing.model_server.script import Reply
from tokenguard.testing.model_server.writing import Answer, endless_words

__all__ = ["DONE", "error_body", "event", "stream_of", "whole"]

DONE = b"data: [DONE]\n\n"

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_DIMENSIONS = 8
_SERVER_ERROR = 500


def whole(request: RecordedRequest, answer: Answer, created: int) -> dict[str, Any]:
    """The body of an answer that is not streamed."""
    if request.operation == "embeddings":
        return _embeddings(request, answer)
    if request.operation == "responses":
        return _response(request, answer, created, status="done")
    return _completion(request, answer, created)


def stream_of(request: RecordedRequest, answer: Answer, created: int) -> Iterator[bytes]:
    """The events of a streamed answer, each as it goes out; `DONE`, where the operation has it, is not among them."""
    return (
        _response_events(request, answer, created)
        if request.operation == "responses"
        else _chunks(request, answer, created)
    )


def error_body(reply: Reply) -> dict[str, Any]:
    """OpenAI's error object."""
    message = reply.error or f"scripted status {reply.status}"
    kind = _ERROR_TYPES.get(reply.status)
    kind = kind or ("server_error" if reply.status >= _SERVER_ERROR else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": reply.error_code}}


def event(payload: dict[str, Any]) -> bytes:
    """One server-sent event; the responses API names its events."""
    name = payload.get("type")
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(payload, separators=(',', ':'))}\n\n".encode()


def _identity(request: RecordedRequest, answer: Answer, created: int, kind: str, prefix: str) -> dict[str, Any]:
    """The fields that every body and chunk begins with."""
    body = {
        "id": f"{prefix}-{request.index}",
        "object": kind,
        "created": created,
        "model": answer.reply.model or request.model,
    }
    if answer.reply.service_tier:
        body["service_tier"] = answer.reply.service_tier
    return body


# ---- chat completions ----------------------------------------------------------------------------------------------


def _completion(request: RecordedRequest, answer: Answer, created: int) -> dict[str, Any]:
    body = _identity(request, answer, created, "chat.completion", "chatcmpl")
    message: dict[str, Any] = {
        "role": "assistant",
        "content": answer.text or None if answer.tool_calls else answer.text,
    }
    if answer.reply.reasoning:
        message["reasoning_content"] = answer.reply.reasoning
    if answer.tool_calls:
        message["tool_calls"] = _tool_calls(answer)
    body["choices"] = [
        {"index": at, "message": message, "finish_reason": answer.finish_reason, "logprobs": None}
        for at in range(answer.answers)
    ]
    if answer.reply.usage_mode != "never":
        body["usage"] = answer.chat_usage()
    return body


def _tool_calls(answer: Answer) -> list[dict[str, Any]]:
    return [
        {
            "id": call.id or f"call_{at}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for at, call in enumerate(answer.tool_calls)
    ]


def _chunks(request: RecordedRequest, answer: Answer, created: int) -> Iterator[bytes]:
    """A role, the text piece by piece, tool calls, the finish, and the usage where it is due."""
    base = _identity(request, answer, created, "chat.completion.chunk", "chatcmpl")
    reply = answer.reply
    asked = request.usage_asked

    def chunk(choice: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        one = {**base, "choices": [{"index": choice, "delta": delta, "finish_reason": finish, "logprobs": None}]}
        if asked and reply.usage_mode == "asked":
            # OpenAI sends `usage: null` on every chunk but the last when usage was asked for.
            one["usage"] = None
        return one

    for at in range(answer.answers):
        yield event(chunk(at, {"role": "assistant", "content": ""}))
        if reply.reasoning:
            yield event(chunk(at, {"reasoning_content": reply.reasoning}))
        for piece in _texts(answer):
            yield event(chunk(at, {"content": piece}))
        for number, call in enumerate(_tool_calls(answer)):
            yield event(chunk(at, {"tool_calls": [{"index": number, **call}]}))
        last = chunk(at, {}, answer.finish_reason)
        if reply.usage_mode == "with_finish" and at == answer.answers - 1:
            last["usage"] = answer.chat_usage()
        yield event(last)
    if reply.usage_mode == "always" or (reply.usage_mode == "asked" and asked):
        yield event({**base, "choices": [], "usage": answer.chat_usage()})


def _texts(answer: Answer) -> Iterator[str]:
    """The pieces of the text, or filler for ever."""
    if answer.reply.endless:
        yield from (f"{word} " for word in endless_words())
    yield from answer.pieces


# ---- responses -----------------------------------------------------------------------------------------------------


def _response(request: RecordedRequest, answer: Answer, created: int, *, status: str) -> dict[str, Any]:
    """A response object; `status` is `in_progress` or `done`, which means completed or incomplete."""
    done = status == "done"
    cut = done and answer.finish_reason == "length"
    asked = request.json
    return {
        "id": f"resp_{request.index}",
        "object": "response",
        "created_at": created,
        "status": "incomplete" if cut else "completed" if done else status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": asked.get("instructions"),
        "max_output_tokens": asked.get("max_output_tokens"),
        "model": answer.reply.model or request.model,
        "output": _output(answer) if done else [],
        "parallel_tool_calls": asked.get("parallel_tool_calls", True),
        "previous_response_id": asked.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "service_tier": answer.reply.service_tier or "default",
        "store": asked.get("store", True),
        "temperature": asked.get("temperature", 1.0),
        "text": {"format": {"type": "text"}},
        "tool_choice": asked.get("tool_choice", "auto"),
        "tools": asked.get("tools", []),
        "top_p": asked.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": answer.responses_usage() if done and answer.reply.usage_mode != "never" else None,
        "user": asked.get("user"),
        "metadata": asked.get("metadata") or {},
    }


def _output(answer: Answer) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if answer.text or not answer.tool_calls:
        part: dict[str, Any] = {"type": "output_text", "text": answer.text, "annotations": []}
        items.append({"type": "message", "id": "msg_0", "status": "completed", "role": "assistant", "content": [part]})
    items += [
        {
            "type": "function_call",
            "id": f"fc_{at}",
            "call_id": call.id or f"call_{at}",
            "name": call.name,
            "arguments": call.arguments,
            "status": "completed",
        }
        for at, call in enumerate(answer.tool_calls)
    ]
    return items


def _response_events(request: RecordedRequest, answer: Answer, created: int) -> Iterator[bytes]:
    """Numbered events: created, each output item as it grows, and at last the whole response with its usage."""
    for number, payload in enumerate(_response_payloads(request, answer, created)):
        yield event({**payload, "sequence_number": number})


def _response_payloads(request: RecordedRequest, answer: Answer, created: int) -> Iterator[dict[str, Any]]:
    begun = _response(request, answer, created, status="in_progress")
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for at, item in enumerate([] if answer.reply.endless else _output(answer)):
        yield from _message_events(at, item, answer) if item["type"] == "message" else _call_events(at, item)
    if answer.reply.endless:
        endless: dict[str, Any] = {"type": "message", "id": "msg_0", "role": "assistant", "content": []}
        yield from _message_events(0, endless, answer)
    done = _response(request, answer, created, status="done")
    yield {"type": f"response.{done['status']}", "response": done}


def _message_events(at: int, item: dict[str, Any], answer: Answer) -> Iterator[dict[str, Any]]:
    part: dict[str, Any] = {"type": "output_text", "text": "", "annotations": []}
    place = {"item_id": item["id"], "output_index": at, "content_index": 0}
    added: dict[str, Any] = {**item, "status": "in_progress", "content": []}
    yield {"type": "response.output_item.added", "output_index": at, "item": added}
    yield {"type": "response.content_part.added", **place, "part": part}
    for piece in _texts(answer):
        yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": answer.text, "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": {**part, "text": answer.text}}
    yield {"type": "response.output_item.done", "output_index": at, "item": item}


def _call_events(at: int, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    place = {"item_id": item["id"], "output_index": at}
    added: dict[str, Any] = {**item, "status": "in_progress", "arguments": ""}
    yield {"type": "response.output_item.added", "output_index": at, "item": added}
    yield {"type": "response.function_call_arguments.delta", **place, "delta": item["arguments"]}
    yield {
        "type": "response.function_call_arguments.done",
        **place,
        "name": item["name"],
        "arguments": item["arguments"],
    }
    yield {"type": "response.output_item.done", "output_index": at, "item": item}


# ---- embeddings ----------------------------------------------------------------------------------------------------


def _embeddings(request: RecordedRequest, answer: Answer) -> dict[str, Any]:
    asked = request.json
    given = list_of(asked.get("input"))
    # A list of numbers is one text in tokens; a list of texts, or of such lists, is several.
    count = len(given) if given and not isinstance(given[0], int) else 1
    vector = [0.5] * int(asked.get("dimensions") or _DIMENSIONS)
    packed = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    embedding = packed if asked.get("encoding_format") == "base64" else vector
    body: dict[str, Any] = {
        "object": "list",
        "data": [{"object": "embedding", "index": at, "embedding": embedding} for at in range(count)],
        "model": answer.reply.model or request.model,
    }
    if answer.reply.usage_mode != "never":
        body["usage"] = answer.embedding_usage()
    return body
