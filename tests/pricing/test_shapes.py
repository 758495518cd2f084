from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenguard.core.usage import METERS, Usage
from tokenguard.errors import BadAmount
from tokenguard.pricing.shapes import served_tier, split_usage


def leaves(raw: dict[str, Any], provider: str = "openai") -> dict[str, int]:
    """Leaves above zero, without the request itself."""
    usage = split_usage(raw, provider=provider)
    return {
        str(meter): count
        for meter, count in zip(METERS, usage.quantities(), strict=True)
        if count and meter != "requests"
    }


OPENAI_CHAT = {
    "prompt_tokens": 2006,
    "completion_tokens": 300,
    "total_tokens": 2306,
    "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0, "cache_write_tokens": 50},
    "completion_tokens_details": {
        "reasoning_tokens": 200,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 10,
        "rejected_prediction_tokens": 5,
    },
}
ANTHROPIC_BY_LITELLM = {
    "prompt_tokens": 3300,
    "completion_tokens": 500,
    "total_tokens": 3800,
    "cache_creation_input_tokens": 300,
    "cache_read_input_tokens": 2000,
    "prompt_tokens_details": {
        "cached_tokens": 2000,
        "cache_write_tokens": 300,
        "cache_creation_tokens": 300,
        "cache_creation_token_details": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
        "text_tokens": 1000,
    },
    "completion_tokens_details": {"reasoning_tokens": 120, "text_tokens": 380},
    "server_tool_use": {"web_search_requests": 2},
}
ANTHROPIC_RAW = {
    "input_tokens": 1000,
    "cache_read_input_tokens": 2000,
    "cache_creation_input_tokens": 300,
    "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
    "output_tokens": 500,
    "output_tokens_details": {"thinking_tokens": 120},
    "server_tool_use": {"web_search_requests": 2},
    "service_tier": "standard",
}
ANTHROPIC_LEAVES = {
    "input_tokens": 1000,
    "cache_read_tokens": 2000,
    "cache_write_5m_tokens": 100,
    "cache_write_1h_tokens": 200,
    "output_tokens": 380,
    "reasoning_tokens": 120,
    "web_searches": 2,
}
RESPONSES = {
    "input_tokens": 2000,
    "input_tokens_details": {"cached_tokens": 1500},
    "output_tokens": 700,
    "output_tokens_details": {"reasoning_tokens": 600},
    "total_tokens": 2700,
}
GEMINI_BY_LITELLM = {
    "prompt_tokens": 1500,
    "completion_tokens": 900,
    "total_tokens": 2400,
    "cache_read_input_tokens": 400,
    "prompt_tokens_details": {"cached_tokens": 400, "text_tokens": 700, "image_tokens": 258, "audio_tokens": 142},
    "completion_tokens_details": {"reasoning_tokens": 600, "text_tokens": 300},
}
GEMINI_RAW = {
    "promptTokenCount": 1500,
    "candidatesTokenCount": 300,
    "thoughtsTokenCount": 600,
    "cachedContentTokenCount": 400,
    "totalTokenCount": 2400,
    "promptTokensDetails": [
        {"modality": "TEXT", "tokenCount": 1100},
        {"modality": "IMAGE", "tokenCount": 258},
        {"modality": "AUDIO", "tokenCount": 142},
    ],
}
GEMINI_LEAVES = {
    "input_tokens": 700,
    "cache_read_tokens": 400,
    "image_input_tokens": 258,
    "audio_input_tokens": 142,
    "output_tokens": 300,
    "reasoning_tokens": 600,
}
BEDROCK_RAW = {
    "inputTokens": 1000,
    "outputTokens": 500,
    "totalTokens": 3800,
    "cacheReadInputTokens": 2000,
    "cacheWriteInputTokens": 300,
    "cacheDetails": [{"ttl": "5m", "inputTokens": 100}, {"ttl": "1h", "inputTokens": 200}],
}
VLLM = {
    "prompt_tokens": 12,
    "completion_tokens": 30,
    "total_tokens": 42,
    "prompt_tokens_details": None,
    "completion_tokens_details": None,
}
REALTIME = {
    "input_tokens": 300,
    "output_tokens": 200,
    "input_token_details": {
        "text_tokens": 100,
        "audio_tokens": 200,
        "cached_tokens": 120,
        "cached_tokens_details": {"text_tokens": 40, "audio_tokens": 80},
    },
    "output_token_details": {"text_tokens": 50, "audio_tokens": 150},
}


@pytest.mark.parametrize(
    ("raw", "provider", "expected"),
    [
        (
            OPENAI_CHAT,
            "openai",
            {
                "input_tokens": 36,
                "cache_read_tokens": 1920,
                "cache_write_5m_tokens": 50,
                "output_tokens": 100,
                "reasoning_tokens": 200,
            },
        ),
        (ANTHROPIC_BY_LITELLM, "anthropic", ANTHROPIC_LEAVES),
        (ANTHROPIC_RAW, "anthropic", ANTHROPIC_LEAVES),
        (
            RESPONSES,
            "openai",
            {"input_tokens": 500, "cache_read_tokens": 1500, "output_tokens": 100, "reasoning_tokens": 600},
        ),
        (GEMINI_BY_LITELLM, "gemini", GEMINI_LEAVES),
        (GEMINI_RAW, "gemini", GEMINI_LEAVES),
        (
            BEDROCK_RAW,
            "bedrock",
            {
                "input_tokens": 1000,
                "cache_read_tokens": 2000,
                "cache_write_5m_tokens": 100,
                "cache_write_1h_tokens": 200,
                "output_tokens": 500,
            },
        ),
        (VLLM, "hosted_vllm", {"input_tokens": 12, "output_tokens": 30}),
        (
            REALTIME,
            "openai",
            {
                "input_tokens": 60,
                "cache_read_tokens": 40,
                "audio_cache_read_tokens": 80,
                "audio_input_tokens": 120,
                "output_tokens": 50,
                "audio_output_tokens": 150,
            },
        ),
        ({"prompt_tokens": 8, "total_tokens": 8, "completion_tokens": 0}, "openai", {"input_tokens": 8}),
        ({"type": "duration", "seconds": 8.47}, "openai", {"input_milliseconds": 8470}),
        ({"input_tokens": 10, "output_tokens": 5}, "anthropic", {"input_tokens": 10, "output_tokens": 5}),
        ({"prompt_tokens": 12.0, "completion_tokens": 3.0}, "custom", {"input_tokens": 12, "output_tokens": 3}),
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 10,
                "prompt_cache_hit_tokens": 64,
                "prompt_cache_miss_tokens": 36,
            },
            "deepseek",
            {"input_tokens": 36, "cache_read_tokens": 64, "output_tokens": 10},
        ),
        ({}, "openai", {}),
    ],
    ids=[
        "openai chat",
        "anthropic by litellm",
        "anthropic raw",
        "responses",
        "gemini by litellm",
        "gemini raw",
        "bedrock raw",
        "vllm with null details",
        "realtime",
        "embeddings",
        "seconds",
        "anthropic without cache",
        "whole floats",
        "deepseek raw",
        "nothing",
    ],
)
def test_a_reported_usage_becomes_disjoint_leaves(raw: dict[str, Any], provider: str, expected: dict[str, int]) -> None:
    assert leaves(raw, provider) == expected


def test_reasoning_that_a_provider_counts_apart_is_added_once() -> None:
    apart = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 45}
    apart_details = {"completion_tokens_details": {"reasoning_tokens": 30}}

    assert leaves({**apart, **apart_details}, "xai") == {"input_tokens": 10, "output_tokens": 5, "reasoning_tokens": 30}


def test_reasoning_above_the_completion_without_a_total_is_counted_apart() -> None:
    raw = {"prompt_tokens": 10, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 30}}

    assert leaves(raw) == {"input_tokens": 10, "output_tokens": 5, "reasoning_tokens": 30}


def test_an_estimate_of_reasoning_cannot_exceed_the_completion_that_contains_it() -> None:
    raw = {
        "prompt_tokens": 10,
        "completion_tokens": 20,
        "total_tokens": 30,
        "completion_tokens_details": {"reasoning_tokens": 23},
    }

    assert leaves(raw, "anthropic") == {"input_tokens": 10, "reasoning_tokens": 20}


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"web_search_requests": 2}},
        {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 1},
    ],
    ids=["chat, where LiteLLM repeats the count", "responses"],
)
def test_xais_searches_of_the_web_and_of_x_are_counted_once_each(usage: dict[str, Any]) -> None:
    tools = {"web_search_calls": 2, "x_search_calls": 3, "code_interpreter_calls": 4}

    found = leaves({**usage, "server_side_tool_usage_details": tools}, "xai")

    assert found == {"input_tokens": 10, "output_tokens": 1, "web_searches": 5}


def test_a_usage_that_reports_no_searches_of_xai_has_none() -> None:
    raw = {"prompt_tokens": 10, "completion_tokens": 1, "server_side_tool_usage_details": {"web_search_calls": 0}}

    assert leaves(raw, "xai") == {"input_tokens": 10, "output_tokens": 1}


def test_writes_without_a_life_are_five_minute_writes() -> None:
    raw = {"input_tokens": 1, "cache_creation_input_tokens": 300, "cache_read_input_tokens": 0, "output_tokens": 1}

    assert leaves(raw, "anthropic")["cache_write_5m_tokens"] == 300


def test_compaction_rounds_of_anthropic_are_all_counted() -> None:
    raw = {
        "input_tokens": 10,
        "output_tokens": 5,
        "cache_read_input_tokens": 0,
        "iterations": [
            {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500},
            {"type": "message", "input_tokens": 10, "output_tokens": 5},
        ],
    }

    assert leaves(raw, "anthropic") == {"input_tokens": 180_010, "output_tokens": 3_505}


def test_cached_pictures_that_are_counted_twice_are_resolved_to_the_dear_side() -> None:
    raw = {
        "prompt_tokens": 1000,
        "completion_tokens": 1,
        "prompt_tokens_details": {"cached_tokens": 900, "image_tokens": 300, "audio_tokens": 500},
    }

    found = leaves(raw, "gemini")

    assert found == {
        "cache_read_tokens": 500,
        "audio_cache_read_tokens": 400,
        "audio_input_tokens": 100,
        "output_tokens": 1,
    }
    assert split_usage(raw, provider="gemini").input_total == 1000


@pytest.mark.parametrize("count", [-1, 0.5, math.nan, math.inf, "12", True, [1]])
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens"])
def test_a_count_that_cannot_be_meant_is_refused(name: str, count: object) -> None:
    with pytest.raises(BadAmount, match=name):
        split_usage({"prompt_tokens": 1, "completion_tokens": 1, name: count}, provider="openai")


@pytest.mark.parametrize("seconds", [-0.1, math.nan, math.inf, "8", True])
def test_seconds_that_cannot_be_meant_are_refused(seconds: object) -> None:
    with pytest.raises(BadAmount, match="seconds"):
        split_usage({"seconds": seconds}, provider="openai")


def test_parts_above_their_total_are_refused_with_the_shape() -> None:
    raw = {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 11}}

    with pytest.raises(BadAmount, match="completion_tokens, prompt_tokens, prompt_tokens_details"):
        split_usage(raw, provider="openai")


COUNT = st.integers(0, 10**6)


@given(plain=COUNT, cached=COUNT, written=COUNT, audio=COUNT, image=COUNT, text=COUNT, reasoning=COUNT)
def test_splitting_loses_no_token_and_makes_none(
    *, plain: int, cached: int, written: int, audio: int, image: int, text: int, reasoning: int
) -> None:
    prompt, completion = plain + cached + written + audio + image, text + reasoning
    raw = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {
            "cached_tokens": cached,
            "cache_write_tokens": written,
            "audio_tokens": audio,
            "image_tokens": image,
        },
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }

    usage = split_usage(raw, provider="openai")

    assert usage == Usage(
        input_tokens=plain,
        cache_read_tokens=cached,
        cache_write_5m_tokens=written,
        audio_input_tokens=audio,
        image_input_tokens=image,
        output_tokens=text,
        reasoning_tokens=reasoning,
    )


@pytest.mark.parametrize(
    ("raw", "served", "tier"),
    [
        ({}, None, None),
        ({}, "priority", "priority"),
        ({}, "default", "default"),
        ({"service_tier": "standard", "speed": "fast"}, None, "fast"),
        ({"service_tier": "standard", "inference_geo": "us"}, None, "geo-us"),
        ({"inference_geo": "global"}, None, None),
        ({"service_tier": "batch"}, None, "batch"),
    ],
)
def test_the_served_tier_is_read_from_the_reply_and_its_usage(
    raw: dict[str, Any], served: str | None, tier: str | None
) -> None:
    assert served_tier(raw, served) == tier
