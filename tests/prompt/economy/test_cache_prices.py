from __future__ import annotations

import pytest
from prompt.economy.rates import INPUT, card, rates, stepped

from tokenguard.core.price import Rates, RateTable, Tier
from tokenguard.core.usage import Meter
from tokenguard.pricing.book import Book
from tokenguard.prompt.economy import cache_prices, cache_rules


@pytest.fixture(scope="module")
def book() -> Book:
    return Book()


def test_a_card_says_what_a_token_costs_by_where_it_comes_from() -> None:
    prices = cache_prices(card())

    assert (prices.input, prices.write, prices.write_1h, prices.read, prices.output) == (
        INPUT,
        1_250_000,
        2_000_000,
        100_000,
        5_000_000,
    )
    assert (prices.minimum, prices.life_s, prices.marked, prices.dialect) == (1_024, 300, "marks", "cache_control")
    assert prices.known
    assert prices.caches


def test_a_minimum_that_a_source_lists_goes_before_the_table() -> None:
    assert cache_prices(card(cache_minimum_tokens=2_048)).minimum == 2_048


@pytest.mark.parametrize(
    "changes",
    [{"has_cache_rates": False}, {"source": "assumed"}, {"rates": Rates.of({Meter.INPUT: INPUT, Meter.OUTPUT: INPUT})}],
)
def test_rates_that_somebody_assumed_are_not_known(changes: dict[str, object]) -> None:
    prices = cache_prices(card(**changes))

    assert not prices.known


def test_an_unknown_rate_is_the_input_rate_and_never_free() -> None:
    prices = cache_prices(card(rates=Rates.of({Meter.INPUT: INPUT, Meter.OUTPUT: INPUT})))
    nothing = cache_prices(card(rates=Rates.of({})))

    assert (prices.write, prices.read) == (INPUT, INPUT)
    assert not nothing.known


def test_a_larger_prompt_has_the_rates_of_its_tier_and_a_smaller_one_the_base() -> None:
    double = {meter: 2 * rate for meter, rate in card().rates.known().items()}
    tiered = card(tiers=(Tier(200_000, Rates.of(double)),))

    large = cache_prices(tiered, input_tokens=200_001)

    assert large.input == 2 * INPUT
    assert large.at(200_000).input == INPUT
    assert large.at(200_000).at(300_000).input == 2 * INPUT
    assert [above for above, _ in large.steps] == [0, 200_000]
    assert cache_prices(card()).steps == ()


def test_a_service_tier_has_rates_of_its_own_and_an_unknown_one_the_dearest() -> None:
    half = RateTable(Rates.of({meter: rate // 2 for meter, rate in card().rates.known().items()}))
    double = RateTable(Rates.of({meter: rate * 2 for meter, rate in card().rates.known().items()}))
    tiers = card(services={"batch": half, "priority": double})

    assert cache_prices(tiers, service_tier="batch").input == INPUT // 2
    assert cache_prices(tiers, service_tier="scale").input == 2 * INPUT


def test_an_hour_is_written_at_its_own_rate_in_every_tier() -> None:
    double = {meter: 2 * rate for meter, rate in card().rates.known().items()}
    hour = cache_prices(card(tiers=(Tier(200_000, Rates.of(double)),))).hourly()

    assert (hour.write, hour.life_s, hour.gone_s) == (2_000_000, 3_600, 3_660)
    assert hour.at(300_000).write == 4_000_000
    assert rates().hourly() == rates()
    assert rates(write_1h=2 * INPUT).hourly().gone_s is None


def test_where_nobody_states_a_minimum_both_doubts_are_kept() -> None:
    unknown, none = rates(minimum=None), rates(marked="none")

    assert unknown.maybe_cached(1)
    assert not unknown.surely_cached(6_143)
    assert unknown.surely_cached(6_144)
    assert not none.maybe_cached(10_000)
    assert not none.surely_cached(10_000)
    assert not none.caches


def test_a_step_changes_all_rates_at_once() -> None:
    assert stepped(8_000).at(8_001).output == 2 * rates().output


@pytest.mark.parametrize(
    ("provider", "model", "rules"),
    [
        ("anthropic", "claude-sonnet-4-5", ("marks", "cache_control", 1_024, 300)),
        ("anthropic", "claude-opus-5", ("marks", "cache_control", 512, 300)),
        ("anthropic", "claude-sonnet-5", ("marks", "cache_control", 1_024, 300)),
        ("anthropic", "claude-opus-4-8", ("marks", "cache_control", 1_024, 300)),
        ("anthropic", "claude-unheard-of", ("marks", "cache_control", None, 300)),
        ("bedrock", "anthropic.claude-haiku-4-5-20251001-v1:0", ("marks", "cache_control", 4_096, 300)),
        ("vertex_ai", "claude-opus-4-7", ("marks", "cache_control", 2_048, 300)),
        ("openrouter", "anthropic/claude-opus-4.6", ("marks", "cache_control", 4_096, 300)),
        ("replicate", "anthropic/claude-4-sonnet", ("none", None, None, None)),
        ("openai", "gpt-4o-2024-08-06", ("automatic", None, 1_024, 300)),
        ("openai", "gpt-4.1-mini", ("automatic", None, 1_024, 300)),
        ("openai", "o3", ("automatic", None, 1_024, 300)),
        ("azure", "gpt-5", ("automatic", None, 1_024, 300)),
        ("openai", "gpt-5.5", ("automatic", None, 1_024, 300)),
        ("openai", "gpt-5.6-sol", ("automatic", "prompt_cache_breakpoint", 1_024, 1_800)),
        ("openai", "gpt-6-astra", ("automatic", "prompt_cache_breakpoint", 1_024, 1_800)),
        ("azure", "gpt-5.6", ("automatic", None, 1_024, 1_800)),
        ("openai", "gpt-4", ("none", None, None, None)),
        ("gemini", "gemini-2.5-pro", ("automatic", None, 2_048, None)),
        ("vertex_ai", "gemini-3.5-flash", ("automatic", None, 4_096, None)),
        ("hosted_vllm", "qwen3", ("automatic", None, 16, None)),
        ("groq", "llama-3.3-70b-versatile", ("none", None, None, None)),
    ],
)
def test_providers_cache_as_their_pages_say(
    provider: str, model: str, rules: tuple[str, str | None, int | None, int | None]
) -> None:
    found = cache_rules(provider, model, discounted=False)

    assert (found.marked, found.dialect, found.minimum, found.life_s) == rules


def test_a_discount_on_the_card_is_a_sign_that_a_provider_caches() -> None:
    assert cache_rules("deepseek", "deepseek-chat", discounted=True).marked == "automatic"


@pytest.mark.parametrize(
    ("model", "write_percent", "read_permille", "minimum"),
    [
        ("claude-sonnet-4-5", 125, 100, 1_024),
        ("claude-opus-5-5", 125, 50, 512),
        ("gpt-5.6", 125, 100, 1_024),
        ("gpt-4.1", 100, 250, 1_024),
        ("gpt-4o", 100, 500, 1_024),
        ("gemini/gemini-2.5-pro", 100, 100, 2_048),
    ],
)
def test_the_multipliers_of_todays_cards_are_those_on_the_providers_pages(
    book: Book, model: str, write_percent: int, read_permille: int, minimum: int
) -> None:
    prices = cache_prices(book.card(model))

    assert prices.write * 100 == prices.input * write_percent
    assert prices.read * 1_000 == prices.input * read_permille
    assert prices.minimum == minimum
    assert prices.known


def test_a_model_without_a_price_for_cached_tokens_is_not_known(book: Book) -> None:
    assert not cache_prices(book.card("groq/llama-3.3-70b-versatile")).known
