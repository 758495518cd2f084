"""What LiteLLM makes of hosted searches, going and coming: our holds and bookings rest on it."""

from __future__ import annotations

from typing import Any

import pytest

from tokenguard.backends.litellm import LiteLLMBackend
from tokenguard.backends.streams import LiteLLMStream
from tokenguard.core.ports import Part, Request
from tokenguard.pricing.searches import SIZED_SEARCHES
from tokenguard.pricing.shapes import split_usage
from tokenguard.testing.model_server import ModelServer, Reply

SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "cats"}}
OPEN = {**SEARCH, "id": "ws_2", "action": {"type": "open_page", "url": "https://example.org"}}
FIND = {**SEARCH, "id": "ws_3", "action": {"type": "find_in_page", "url": "https://example.org", "pattern": "cat"}}
WORDLESS = {"type": "web_search_call", "id": "ws_4", "status": "completed"}
ANSWER = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "four", "annotations": []}],
}
USAGE = {
    "input_tokens": 9_000,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 20,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 9_020,
}


def searches(part: Part, provider: str = "openai") -> int:
    """As they will be booked."""
    assert part.usage is not None
    return split_usage(part.usage, provider=provider).web_searches


def options_for(model: str, **options: Any) -> dict[str, Any]:
    """What LiteLLM sends to a provider for OpenAI's options."""
    from litellm.utils import get_optional_params  # noqa: PLC0415

    provider, _, name = model.partition("/")
    return get_optional_params(model=name, custom_llm_provider=provider, **options)


def response(*items: dict[str, Any], usage: dict[str, Any] | None = None, **more: Any) -> Any:
    """A response as LiteLLM makes it from what a provider sends."""
    from litellm.types.llms.openai import ResponsesAPIResponse  # noqa: PLC0415

    body = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "gpt-5"}
    return ResponsesAPIResponse(**{**body, "output": [*items], "usage": usage or USAGE, **more})


def answered(model: str, **usage: Any) -> Any:
    """A chat reply as LiteLLM makes it."""
    import litellm  # noqa: PLC0415

    return litellm.ModelResponse(
        model=model, choices=[{"message": {"role": "assistant", "content": "four"}}], usage=litellm.Usage(**usage)
    )


# ---- going ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("size", ["low", "medium", "high", None])
@pytest.mark.parametrize(
    "model", ["anthropic/claude-sonnet-4-5", "vertex_ai/claude-sonnet-4-5", "azure_ai/claude-opus-4-6"]
)
def test_claude_is_asked_for_as_many_searches_as_are_held(model: str, size: str | None) -> None:
    options = options_for(model, web_search_options={"search_context_size": size})

    assert [tool.get("max_uses") for tool in options["tools"]] == [SIZED_SEARCHES.get(size or "")]


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize(
    "options",
    [
        {"web_search_options": {"search_context_size": "low"}},
        {"tools": [{"type": "web_search", "max_uses": 1}]},
        {"tools": [{"type": "function", "googleSearch": {}}]},
    ],
)
def test_gemini_is_sent_no_limit_whatever_was_asked_for(options: dict[str, Any]) -> None:
    assert options_for("gemini/gemini-3-pro-preview", **options)["tools"] == [{"googleSearch": {}}]


@pytest.mark.parametrize("model", ["openai/gpt-4o", "hosted_vllm/some-model"])
def test_a_response_is_never_bounded_below_sixteen_tokens(
    server: ModelServer, backend: LiteLLMBackend, model: str
) -> None:
    arguments = {"input": "hi", "max_output_tokens": 5, "api_base": server.url, "api_key": "none"}

    backend.send(Request("responses", model, arguments))

    assert server.exchanges[-1].request.json["max_output_tokens"] == 16


def test_openai_is_sent_the_number_of_tool_calls(server: ModelServer, backend: LiteLLMBackend) -> None:
    arguments = {"input": "hi", "tools": [{"type": "web_search"}], "max_tool_calls": 3}

    backend.send(Request("responses", "openai/gpt-4o", {**arguments, "api_base": server.url, "api_key": "none"}))

    assert server.exchanges[-1].request.json["max_tool_calls"] == 3


# ---- coming --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("items", "count"),
    [
        ([SEARCH, OPEN, FIND, SEARCH, ANSWER], 2),
        ([OPEN, FIND, ANSWER], 0),
        ([WORDLESS, ANSWER], 1),
        ([ANSWER], 0),
    ],
    ids=["two of four", "only pages", "an item without its action", "none"],
)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_searches_of_a_response_are_counted_by_its_items(
    backend: LiteLLMBackend, items: list[dict[str, Any]], count: int, streamed: object
) -> None:
    told = last_event(response(*items)) if streamed else response(*items)

    assert searches(backend.read("responses", told)) == count


def last_event(told: Any) -> Any:
    """The last event of a stream, as the backend's stream hands it out."""
    from litellm.types.llms.openai import ResponseCompletedEvent  # noqa: PLC0415

    return next(LiteLLMStream(iter([ResponseCompletedEvent(type="response.completed", response=told)])))


def test_a_billed_count_beside_the_items_is_believed(backend: LiteLLMBackend) -> None:
    told = response(SEARCH, OPEN, SEARCH, tool_usage={"web_search": {"num_requests": 1}})

    assert searches(backend.read("responses", told)) == 1


@pytest.mark.parametrize(
    "report",
    [
        {"server_tool_use": {"web_search_requests": 1}},
        {"input_tokens_details": {"cached_tokens": 0, "web_search_requests": 1}},
        {"server_side_tool_usage_details": {"web_search_calls": 1}},
    ],
    ids=["anthropic", "gemini", "xai"],
)
def test_a_count_in_the_usage_is_not_counted_again(backend: LiteLLMBackend, report: dict[str, Any]) -> None:
    told = response(SEARCH, SEARCH, usage={**USAGE, **report})

    assert searches(backend.read("responses", told)) == 1


def test_claudes_searches_in_a_response_are_counted(backend: LiteLLMBackend) -> None:
    from litellm.types.responses.main import build_web_search_call  # noqa: PLC0415

    told = response(build_web_search_call("toolu_1", {"query": "cats"}, {}).model_dump())

    assert searches(backend.read("responses", told), "anthropic") == 1


def test_a_response_without_usage_reports_no_searches_either(backend: LiteLLMBackend) -> None:
    told = response(SEARCH)
    told.usage = None

    assert backend.read("responses", told).usage is None


@pytest.mark.parametrize(("model", "count"), [("gemini-2.5-flash", 1), ("gemini-3-pro-preview", 3)])
def test_gemini_2_is_billed_by_the_prompt_and_later_ones_by_the_query(
    backend: LiteLLMBackend, model: str, count: int
) -> None:
    reply = answered(
        model,
        prompt_tokens=50,
        completion_tokens=5,
        total_tokens=55,
        prompt_tokens_details={"text_tokens": 50, "web_search_requests": 3},
    )

    part = backend.read("chat", reply)

    assert searches(part, "gemini") == count
    assert split_usage(part.usage or {}, provider="gemini").input_tokens == 50


def test_gemini_2_without_a_search_is_billed_for_none(backend: LiteLLMBackend) -> None:
    reply = answered("gemini-2.5-flash", prompt_tokens=50, completion_tokens=5, total_tokens=55)

    assert searches(backend.read("chat", reply), "gemini") == 0


def test_gemini_2_in_a_stream_and_in_a_response_is_billed_by_the_prompt_as_well(backend: LiteLLMBackend) -> None:
    details = {"cached_tokens": 0, "web_search_requests": 3}
    told = response(ANSWER, usage={**USAGE, "input_tokens_details": details}, model="gemini-2.5-flash")

    assert searches(backend.read("responses", told), "gemini") == 1
    assert searches(backend.read("chat", _usage_chunk("gemini-2.5-flash", details)), "gemini") == 1


def _usage_chunk(model: str, details: dict[str, Any]) -> Any:
    import litellm  # noqa: PLC0415
    from litellm.types.utils import ModelResponseStream  # noqa: PLC0415

    usage = litellm.Usage(prompt_tokens=50, completion_tokens=5, total_tokens=55, prompt_tokens_details=details)
    chunk = ModelResponseStream(model=model, choices=[], usage=usage)
    upstream = _Chunks([chunk])
    return next(LiteLLMStream(upstream))


class _Chunks:
    """An iterator that keeps the raw chunks, as LiteLLM's does."""

    def __init__(self, chunks: list[Any]) -> None:
        self.chunks = chunks

    def __next__(self) -> Any:
        return self.chunks[0]


def test_xais_searches_are_counted_as_litellm_leaves_them(backend: LiteLLMBackend) -> None:
    from litellm.llms.xai.cost_calculator import apply_server_side_tool_usage_details_to_usage  # noqa: PLC0415

    reply = answered("grok-4", prompt_tokens=50, completion_tokens=5, total_tokens=55)
    apply_server_side_tool_usage_details_to_usage(reply.usage, {"web_search_calls": 2, "x_search_calls": 1})

    assert searches(backend.read("chat", reply), "xai") == 3


def test_a_search_model_is_answered_without_a_count(server: ModelServer, backend: LiteLLMBackend) -> None:
    server.reset(Reply("four", prompt_tokens=50))
    arguments = {"messages": [{"role": "user", "content": "hi"}], "web_search_options": {}, "api_base": server.url}

    reply = backend.send(Request("chat", "openai/gpt-4o-search-preview", {**arguments, "api_key": "none"}))

    assert server.exchanges[-1].request.path.endswith("/chat/completions")
    assert searches(backend.read("chat", reply)) == 0
