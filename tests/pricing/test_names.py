"""Names that people really pass to `completion`: each has the right price or is refused with a line to paste."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime

import pytest

from tokenguard.core.usage import Meter
from tokenguard.errors import Unpriceable
from tokenguard.pricing.book import Book

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"
ARN = "arn:aws:bedrock:us-east-1:123456789012"


@pytest.fixture(scope="module")
def book() -> Book:
    return Book(
        {
            "alias": {"our-chat": "azure/gpt-4o", "azure/prod-chat": "azure/gpt-4o-mini"},
            "prices": {"hosted_vllm/qwen3": {"input": "0.20", "output": "0.60"}},
        }
    )


RESOLVED = [
    # asked                                              provider/model                     input   output  $/million
    ("gpt-5-mini", "openai/gpt-5-mini", "0.25", "2"),
    ("openai/gpt-5-mini", "openai/gpt-5-mini", "0.25", "2"),
    ("openai/gpt-5-mini-2025-08-07", "openai/gpt-5-mini", "0.25", "2"),
    ("gpt-4o", "openai/gpt-4o", "2.5", "10"),
    ("gpt-4o-2024-05-13", "openai/gpt-4o-2024-05-13", "5", "15"),
    ("gpt-4o-2024-08-06", "openai/gpt-4o", "2.5", "10"),
    ("o3-mini", "openai/o3-mini", "1.1", "4.4"),
    ("text-embedding-3-small", "openai/text-embedding-3-small", "0.02", "0"),
    ("openai/text-embedding-3-large", "openai/text-embedding-3-large", "0.13", "0"),
    ("gpt-5-mini-2099-01-01", "openai/gpt-5-mini", "0.25", "2"),
    ("ft:gpt-4o-mini-2024-07-18:acme::abc123", "openai/ft:gpt-4o-mini-2024-07-18", "0.3", "1.2"),
    ("openai/ft:gpt-4o-2024-08-06:acme:v2:id:ckpt-step-100", "openai/ft:gpt-4o-2024-08-06", "3.75", "15"),
    ("claude-sonnet-4-5", "anthropic/claude-sonnet-4-5", "3", "15"),
    ("anthropic/claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5", "3", "15"),
    ("anthropic/claude-haiku-4-5@20251001", "anthropic/claude-haiku-4-5", "1", "5"),
    ("azure/gpt-4o", "azure/gpt-4o", "2.5", "10"),
    ("azure/gpt-4o-mini", "azure/gpt-4o-mini", "0.15", "0.6"),
    ("azure/eu/gpt-4o-2024-08-06", "azure/eu/gpt-4o-2024-08-06", "2.75", "11"),
    ("azure/us/gpt-4o-2024-08-06", "azure/us/gpt-4o-2024-08-06", "2.75", "11"),
    ("azure/prod-chat", "azure/gpt-4o-mini", "0.15", "0.6"),
    ("our-chat", "azure/gpt-4o", "2.5", "10"),
    ("azure_ai/claude-haiku-4-5", "azure_ai/claude-haiku-4-5", "1", "5"),
    (f"bedrock/us.{HAIKU}", f"bedrock/us.{HAIKU}", "1.1", "5.5"),
    (f"bedrock/eu.{HAIKU}", f"bedrock/eu.{HAIKU}", "1.1", "5.5"),
    (f"us.{HAIKU}", f"bedrock/us.{HAIKU}", "1.1", "5.5"),
    (f"bedrock/global.{HAIKU}", f"bedrock/global.{HAIKU}", "1", "5"),
    (f"bedrock/converse/us.{HAIKU}", f"bedrock/us.{HAIKU}", "1.1", "5.5"),
    (f"bedrock/us-east-1/{HAIKU}", f"bedrock/{HAIKU}", "1", "5"),
    (f"bedrock/us-gov-west-1/{HAIKU}", f"bedrock/us-gov-west-1/{HAIKU}", "1.2", "6"),
    (f"bedrock/ap-south-1/{HAIKU}", f"bedrock/apac.{HAIKU}", "1.1", "5.5"),
    (f"bedrock/ca.{HAIKU}", f"bedrock/apac.{HAIKU}", "1.1", "5.5"),
    (f"{ARN}:inference-profile/us.{HAIKU}", f"bedrock/us.{HAIKU}", "1.1", "5.5"),
    (f"bedrock/{ARN}:inference-profile/eu.{HAIKU}", f"bedrock/eu.{HAIKU}", "1.1", "5.5"),
    (
        "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
        "bedrock/amazon.nova-lite-v1:0",
        "0.06",
        "0.24",
    ),
    ("amazon.nova-lite-v1:0", "bedrock/amazon.nova-lite-v1:0", "0.06", "0.24"),
    ("bedrock/amazon.titan-embed-text-v2:0", "bedrock/amazon.titan-embed-text-v2:0", "0.02", "0"),
    ("gemini/gemini-2.5-flash", "gemini/gemini-2.5-flash", "0.3", "2.5"),
    ("gemini-2.5-flash", "vertex_ai/gemini-2.5-flash", "0.3", "2.5"),
    ("vertex_ai/gemini-2.5-flash", "vertex_ai/gemini-2.5-flash", "0.3", "2.5"),
    ("gemini/gemini-2.5-pro", "gemini/gemini-2.5-pro", "1.25", "10"),
    ("vertex_ai/claude-haiku-4-5@20251001", "vertex_ai/claude-haiku-4-5@20251001", "1", "5"),
    ("vertex_ai/claude-haiku-4-5@default", "vertex_ai/claude-haiku-4-5", "1", "5"),
    ("openrouter/anthropic/claude-sonnet-4.5", "openrouter/anthropic/claude-sonnet-4.5", "3", "15"),
    ("openrouter/openai/gpt-5-mini", "openrouter/openai/gpt-5-mini", "0.25", "2"),
    ("openrouter/deepseek/deepseek-r1:free", "openrouter/deepseek/deepseek-r1:free", "0", "0"),
    ("litellm_proxy/gpt-5-mini", "openai/gpt-5-mini", "0.25", "2"),
    ("litellm_proxy/azure/gpt-4o", "azure/gpt-4o", "2.5", "10"),
    ("hosted_vllm/qwen3", "hosted_vllm/qwen3", "0.2", "0.6"),
    ("litellm_proxy/hosted_vllm/qwen3", "hosted_vllm/qwen3", "0.2", "0.6"),
    ("groq/openai/gpt-oss-120b", "groq/openai/gpt-oss-120b", "0.15", "0.6"),
    ("mistral/mistral-small-latest", "mistral/mistral-small-latest", "0.15", "0.6"),
    ("fireworks_ai/deepseek-v3", "fireworks_ai/accounts/fireworks/models/deepseek-v3", "0.9", "0.9"),
    ("cohere/command-r-plus", "cohere/command-r-plus", "2.5", "10"),
    ("perplexity/sonar-pro", "perplexity/sonar-pro", "3", "15"),
    ("voyage/voyage-3", "voyage/voyage-3", "0.06", "0"),
]

REFUSED = [
    ("claude-imaginary-9", 'input = "?"'),
    ("anthropic/claude-opus-99-20990101", 'input = "?"'),
    ("openai/claude-sonnet-4-5", 'input = "?"'),
    ("gpt-5-mini-turbo", 'input = "?"'),
    ("gpt-4o-2099-01-01", 'input = "?"'),
    ("ft:gpt-5-mini:acme::abc", 'input = "?"'),
    ("openai/served-by-a-stranger", 'input = "?"'),
    ("gemini/gemini-2.5-flash-ultra", 'input = "?"'),
    ("azure/my-deployment", '"azure/my-deployment" = "?"'),
    (f"bedrock/{ARN}:application-inference-profile/a1b2c3d4", "application-inference-profile"),
    (f"bedrock/{ARN}:provisioned-model/xyz", "provisioned-model"),
    ("openrouter/nobody/nothing", 'input = "?"'),
    ("openrouter/openai/gpt-5-mini:nitro", 'input = "?"'),
    ("litellm_proxy/team-gpt", 'input = "?"'),
    ("hosted_vllm/llama-3", "free = true"),
    ("ollama/llama3", "free = true"),
    ("github_copilot/gpt-4o", 'input = "?"'),
    ("meta-llama/Llama-3-8B", 'input = "?"'),
    ("", 'input = "?"'),
]


@pytest.mark.parametrize(("asked", "found", "inbound", "outbound"), RESOLVED, ids=[row[0] for row in RESOLVED])
def test_a_known_name_has_its_price(book: Book, asked: str, found: str, inbound: str, outbound: str) -> None:
    card = book.card(asked, at=AT)

    rates = [card.rates[meter] for meter in (Meter.INPUT, Meter.OUTPUT)]
    assert f"{card.provider}/{card.model}" == found
    assert rates == [round(float(dollars) * 10**6) for dollars in (inbound, outbound)]
    assert card.id.startswith(f"{found}/")


@pytest.mark.parametrize(("asked", "line"), REFUSED, ids=[row[0] for row in REFUSED])
def test_an_unknown_name_is_refused_with_the_line_to_paste(book: Book, asked: str, line: str) -> None:
    with pytest.raises(Unpriceable, match="has no price") as caught:
        book.card(asked, at=AT)

    assert line in caught.value.toml
    assert caught.value.toml in caught.value.sentence
    assert caught.value.model == asked
    tomllib.loads(caught.value.toml)


def test_the_table_is_as_long_as_it_says() -> None:
    assert len(RESOLVED) + len(REFUSED) >= 60


@pytest.mark.parametrize(
    ("asked", "base", "found"),
    [
        ("azure/my-deployment", "gpt-4o", "azure/gpt-4o"),
        ("azure/my-deployment", "azure/gpt-4o-mini", "azure/gpt-4o-mini"),
        (f"bedrock/{ARN}:application-inference-profile/a1b2", f"us.{HAIKU}", f"bedrock/us.{HAIKU}"),
        ("litellm_proxy/team-gpt", "gpt-5-mini", "openai/gpt-5-mini"),
    ],
)
def test_a_base_model_says_what_a_deployment_is(book: Book, asked: str, base: str, found: str) -> None:
    card = book.card(asked, at=AT, base_model=base)

    assert f"{card.provider}/{card.model}" == found


def test_a_date_that_is_priced_as_its_family_says_so(book: Book) -> None:
    assert book.card("gpt-5-mini-2099-01-01", at=AT).notes[0] == (
        "gpt-5-mini-2099-01-01 is not listed; priced as gpt-5-mini."
    )


def test_a_place_without_a_price_takes_the_dearest_listed_place_and_says_so(book: Book) -> None:
    notes = book.card(f"bedrock/ap-south-1/{HAIKU}", at=AT).notes

    assert notes[0].startswith("no price is listed for ap-south-1; the dearest listed place was taken")
