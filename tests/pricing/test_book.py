from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import genai_prices
import pytest

from tokenguard.core.clock import Clock
from tokenguard.core.money import Money
from tokenguard.core.ports import PriceBook
from tokenguard.core.price import PriceCard
from tokenguard.core.usage import Meter, Usage
from tokenguard.errors import Unpriceable
from tokenguard.pricing.book import Book
from tokenguard.pricing.compare import differences
from tokenguard.pricing.genai import GENAI_PROVIDERS

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


class StillClock:
    def __init__(self, now: datetime) -> None:
        self.instant = now

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture(scope="module")
def book() -> Book:
    clock: Clock = StillClock(AT)
    return Book(clock=clock)


def mapped(folder: Path, **entries: dict[str, object]) -> Book:
    """A book over a map with these entries, for providers that genai-prices does not know."""
    path = folder / "map.json"
    path.write_text(json.dumps({"sample_spec": {}, **entries}), encoding="utf-8")
    return Book(litellm_map=path)


def test_a_book_is_a_price_book(book: Book) -> None:
    prices: PriceBook = book

    card: PriceCard = prices.card("gpt-5-mini", at=AT, base_model=None)

    assert card.cost(Usage(input_tokens=1_000, cache_read_tokens=500, output_tokens=300), "default") == 862_500_000


def test_importing_prices_imports_no_price_data() -> None:
    heavy = "litellm genai_prices pydantic typer httpx"
    code = f"import sys, tokenguard.pricing.book as b; assert not set('{heavy}'.split()) & set(sys.modules); "
    code += "b.Book().card('gpt-5-mini'); assert 'litellm' not in sys.modules"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_every_model_of_litellms_map_has_a_card_or_a_reason(book: Book) -> None:
    reasons: dict[str, int] = {}
    cards = 0
    for name in book.models():
        if book.mode(name) in ("chat", "responses", "completion", "embedding"):
            try:
                card = book.card(name)
            except Unpriceable as gap:
                reason = gap.sentence.partition("has no price: ")[2].partition(". Put")[0]
                reasons[reason] = reasons.get(reason, 0) + 1
            else:
                assert any(card.rates.known().values()), name
                cards += 1

    assert len(book.models()) > 4_000
    assert cards >= 3_100
    assert set(reasons) == {
        "LiteLLM lists it without a price that tokenguard meters; zero there means unknown",
        "it runs on a server of your own, and no list knows what that costs",
    }


def test_no_model_with_a_token_price_in_litellms_map_is_left_out(book: Book) -> None:
    left_out = []
    for name in book.models():
        _, listed = book.quotes(name, AT)
        if book.mode(name) in ("chat", "responses", "completion", "embedding") and listed is not None:
            card = book.card(name)
            left_out += [name] if card.rates[Meter.INPUT] is None and listed.base.get(Meter.INPUT) else []

    assert left_out == []


def test_a_repeated_lookup_gives_the_same_card(book: Book) -> None:
    assert book.card("gpt-5-mini") is book.card("gpt-5-mini")
    assert book.card("gpt-5-mini", at=AT) is book.card("gpt-5-mini", at=AT)


def test_the_same_rates_have_the_same_id_in_another_book(book: Book) -> None:
    assert Book().card("claude-sonnet-4-5", at=AT).id == book.card("claude-sonnet-4-5", at=AT).id


def test_a_price_that_begins_on_a_day_is_not_charged_before_it(book: Book) -> None:
    before = book.card("mistral/mistral-small-latest", at=datetime(2026, 3, 15, 23, tzinfo=UTC))
    after = book.card("mistral/mistral-small-latest", at=datetime(2026, 3, 16, tzinfo=UTC))

    assert before.id != after.id
    assert after.valid_from == datetime(2026, 3, 16, tzinfo=UTC)


def test_a_price_that_depends_on_the_hour_follows_the_clock() -> None:
    clock = StillClock(datetime(2026, 11, 20, 2, tzinfo=UTC))
    book = Book(clock=clock)
    peak = book.card("deepseek/deepseek-v4-pro")

    clock.instant = datetime(2026, 11, 20, 12, tzinfo=UTC)
    off_peak = book.card("deepseek/deepseek-v4-pro")

    assert peak.rates[Meter.INPUT] == 2 * (off_peak.rates[Meter.INPUT] or 0)


def test_every_card_says_where_its_rates_come_from(book: Book) -> None:
    card = book.card("gpt-5-mini")

    assert card.source == "genai-prices"
    assert card.version.startswith("genai-prices ")
    assert " + litellm " in card.version
    assert len(book.versions) == 3


def test_zero_from_litellm_is_unknown(tmp_path: Path) -> None:
    free = {"litellm_provider": "acme", "mode": "chat", "input_cost_per_token": 0, "output_cost_per_token": 0.0}

    with pytest.raises(Unpriceable, match="zero there means unknown"):
        mapped(tmp_path, **{"acme/brain": free}).card("acme/brain")


def test_a_zero_output_rate_is_unknown_but_for_models_without_answers(tmp_path: Path) -> None:
    entry = {"litellm_provider": "acme", "input_cost_per_token": 1e-6, "output_cost_per_token": 0.0}
    book = mapped(tmp_path, **{"acme/chat": {**entry, "mode": "chat"}, "acme/embed": {**entry, "mode": "embedding"}})

    assert book.card("acme/embed").output_rate_max(10) == 0
    with pytest.raises(Unpriceable, match="output_tokens"):
        book.card("acme/chat").output_rate_max(10)


def test_a_tier_that_lists_less_than_its_base_scales_the_rest(tmp_path: Path) -> None:
    entry = {
        "litellm_provider": "acme",
        "mode": "chat",
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 4e-6,
        "output_cost_per_reasoning_token": 5e-6,
        "cache_read_input_token_cost": 1e-7,
        "input_cost_per_token_above_200k_tokens": 2e-6,
        "output_cost_per_token_above_200k_tokens": 6e-6,
        "input_cost_per_token_priority": 3e-6,
        "output_cost_per_token_priority": 12e-6,
        "input_cost_per_token_batches": 5e-7,
        "output_cost_per_token_batches": 2e-6,
    }
    card = mapped(tmp_path, **{"acme/brain": entry}).card("acme/brain")

    large, priority, batch = card.tiers[0].rates, card.services["priority"], card.services["batch"]

    assert (large[Meter.CACHE_READ], large[Meter.REASONING]) == (200_000, 7_500_000)
    assert (priority.rates[Meter.CACHE_READ], priority.rates[Meter.REASONING]) == (300_000, 15_000_000)
    assert priority.at(200_001)[Meter.INPUT] == 3_000_000
    assert (batch.rates[Meter.CACHE_READ], batch.rates[Meter.REASONING]) == (100_000, 5_000_000)
    assert batch.at(200_001)[Meter.INPUT] == 2_000_000


def test_claude_writes_to_caches_at_anthropics_prices_wherever_it_is_sold(tmp_path: Path) -> None:
    entry = {"litellm_provider": "acme", "mode": "chat", "input_cost_per_token": 3e-6, "output_cost_per_token": 15e-6}
    book = mapped(tmp_path, **{"acme/claude-x": entry, "acme/brain": entry})

    claude, brain = book.card("acme/claude-x").rates, book.card("acme/brain").rates

    assert (claude[Meter.CACHE_WRITE_5M], claude[Meter.CACHE_WRITE_1H]) == (3_750_000, 6_000_000)
    assert (brain[Meter.CACHE_WRITE_5M], brain[Meter.CACHE_WRITE_1H]) == (3_000_000, 3_000_000)
    assert claude[Meter.CACHE_READ] == brain[Meter.CACHE_READ] == 3_000_000
    assert brain[Meter.IMAGE_INPUT] == 3_000_000
    assert brain[Meter.AUDIO_INPUT] is None


def test_a_model_that_writes_to_its_cache_unasked_is_reserved_for(book: Book) -> None:
    openai, anthropic = book.card("gpt-6-astra"), book.card("claude-sonnet-4-5")

    assert openai.input_rate_max(1_000) == openai.rates[Meter.CACHE_WRITE_5M]
    assert anthropic.input_rate_max(1_000) == anthropic.rates[Meter.INPUT]
    assert anthropic.input_rate_max(1_000, cache_write="1h") == anthropic.rates[Meter.CACHE_WRITE_1H]


def test_places_and_modes_have_tables_of_their_own(book: Book) -> None:
    card = book.card("gpt-6-astra")

    assert card.services["geo-eu"].rates[Meter.OUTPUT] == 55_000_000
    assert card.services["ultrafast"].rates[Meter.OUTPUT] == 300_000_000
    assert card.cost(Usage(output_tokens=1, requests=0), "geo-eu") == 55_000_000


def test_tiers_written_as_a_list_of_ranges_are_read(book: Book) -> None:
    card = book.card("dashscope/qwen-flash")

    assert card.cost(Usage(input_tokens=256_000, requests=0)) == 256_000 * 50_000
    assert card.cost(Usage(input_tokens=256_001, requests=0)) == 256_001 * 250_000


def test_audio_is_priced_by_the_second_where_it_is_listed_so(book: Book) -> None:
    assert book.card("whisper-1").cost(Usage(input_milliseconds=60_000, requests=0)) == 6_000_000_000


@pytest.mark.parametrize(
    ("model", "fee_pico"),
    [
        ("gpt-4o-search-preview", 25_000_000_000),
        ("openai/gpt-4o-mini-search-preview-2025-03-11", 25_000_000_000),  # genai-prices files it under gpt-4o-mini
        ("gpt-5-search-api", 10_000_000_000),
        ("gpt-4o", 0),
    ],
)
def test_the_search_that_every_request_makes_is_in_its_fee(book: Book, model: str, fee_pico: int) -> None:
    card = book.card(model)

    assert card.request_fee_pico == fee_pico
    assert card.cost(Usage()) == fee_pico
    assert ("every request searches the web once, which its fee contains." in card.notes) == bool(fee_pico)


def test_every_search_model_that_openai_sells_has_its_search_in_the_fee(book: Book) -> None:
    names = [name for name in book.models() if "-search-" in name and "/" not in name and name.startswith("gpt-")]

    assert len(names) >= 5
    assert [name for name in names if not book.card(name).request_fee_pico] == []


def test_a_search_model_keeps_a_fee_that_is_listed_besides(tmp_path: Path) -> None:
    entry: dict[str, object] = {
        "litellm_provider": "azure",
        "mode": "chat",
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 2e-6,
    }
    searching = {"search_context_cost_per_query": {"search_context_size_medium": 0.02}}
    book = mapped(
        tmp_path,
        **{
            "azure/one-search-api": {**entry, **searching, "input_cost_per_request": 0.01},
            "azure/other-search-api": entry,
        },
    )

    assert book.card("azure/one-search-api").request_fee_pico == 30_000_000_000
    assert book.card("azure/other-search-api").request_fee_pico == 0


def test_a_search_has_one_price_with_every_model_of_xai(book: Book) -> None:
    names = [name for name in book.models() if name.startswith("xai/grok") and book.mode(name) == "chat"]

    assert len(names) >= 3
    assert {book.card(name).web_search_pico for name in names} == {5_000_000_000}


def test_sources_that_disagree_are_listed_and_one_of_them_stands(tmp_path: Path) -> None:
    entry = {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 9e-6, "output_cost_per_token": 2e-6}
    book = mapped(tmp_path, **{"gpt-5-mini": entry})

    found = list(differences(book, book.models(), AT))

    assert [(one.model, one.meter, one.genai_pico, one.litellm_pico) for one in found] == [
        ("gpt-5-mini", "input_tokens", 250_000, 9_000_000)
    ]
    assert book.card("gpt-5-mini").rates[Meter.INPUT] == 250_000
    assert book.card("gpt-5-mini").notes == ("litellm has other rates for input_tokens; they were not used.",)


def test_without_litellm_genai_prices_still_answers(tmp_path: Path) -> None:
    book = mapped(tmp_path)

    assert book.card("openai/gpt-5-mini", at=AT).rates[Meter.OUTPUT] == 2_000_000
    assert book.card("gpt-5-mini", at=AT).provider == "openai"


@pytest.mark.parametrize("prompt", [1_000, 250_000])
@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini", "mistral", "groq"])
def test_costs_equal_those_of_genai_prices_where_its_rates_stand(book: Book, provider: str, prompt: int) -> None:
    # Without the request's fee: ours contains the search of models that always search, which theirs leave out.
    usages = [
        Usage(input_tokens=prompt - cached, cache_read_tokens=cached, output_tokens=300, requests=0)
        for cached in (0, 400)
    ]
    theirs = [
        genai_prices.Usage(input_tokens=prompt, cache_read_tokens=cached, output_tokens=300) for cached in (0, 400)
    ]
    compared = 0

    for name in (name for name in book.models() if book.mode(name) == "chat"):
        quote, _ = book.quotes(name, AT)
        if quote is not None and quote.source == "genai-prices" and quote.provider == provider and not quote.free:
            # Where genai-prices lists no price for cached tokens, LiteLLM's may stand: such usages are left out.
            which = Meter.CACHE_READ in quote.base
            price = genai_prices.calc_price(
                theirs[which],
                name.rpartition("/")[2] if provider != "groq" else name.partition("/")[2],
                provider_id=GENAI_PROVIDERS[provider],
                genai_request_timestamp=AT,
            )
            ours = book.card(name, at=AT).cost(usages[which])
            assert Money.from_pico(ours).usd == price.total_price, name
            compared += 1

    assert compared >= 5


def test_a_card_says_whether_a_source_prices_cached_tokens_and_from_which_size_on(tmp_path: Path, book: Book) -> None:
    base = {"litellm_provider": "acme", "mode": "chat", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
    cached = {**base, "cache_read_input_token_cost": 1e-7, "prompt_cache_min_tokens": 4096.0}
    mapped_book = mapped(tmp_path, **{"acme/plain": base, "acme/cached": cached})

    plain, priced = mapped_book.card("acme/plain"), mapped_book.card("acme/cached")

    assert (plain.has_cache_rates, plain.cache_minimum_tokens) == (False, None)
    assert (priced.has_cache_rates, priced.cache_minimum_tokens) == (True, 4_096)
    assert book.card("claude-sonnet-4-5").cache_minimum_tokens == 1_024


def test_prices_by_comparison_keep_the_cache_minimum_and_say_what_they_state() -> None:
    listed = {"prices": {"mine": {"input": "1", "output": "2"}, "other": {"like": "claude-haiku-4-5"}}}
    book = Book(listed)

    assert not book.card("mine").has_cache_rates
    assert book.card("other").cache_minimum_tokens == 4_096
    assert book.card("other").has_cache_rates
