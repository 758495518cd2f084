from __future__ import annotations

from datetime import UTC, datetime
from decimal import localcontext
from pathlib import Path
from typing import Any

import pytest

from tokenguard.core.price import toml_to_paste
from tokenguard.core.usage import Meter, Usage
from tokenguard.errors import SettingsError, Unpriceable
from tokenguard.pricing.book import Book

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


def written(folder: Path, text: str) -> Path:
    path = folder / "prices.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_price_file_prices_a_model_of_your_own(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        [prices."hosted_vllm/qwen3"]
        input = "0.20"
        output = "0.60"
        cache_read = "0.02"
        per_request = "0.0001"
        web_search = "0.01"
        input_second = "0.0001"
        context_tokens = 131072
        output_tokens_max = 8192
        reasoning_model = true
        tiers = [{ above_input_tokens = 32000, input = "0.40" }]
        flex = { input = "0.10", output = "0.30" }
        """,
    )

    card = Book(path).card("hosted_vllm/qwen3")

    assert (card.source, card.provider, card.model) == ("override", "hosted_vllm", "qwen3")
    assert (card.context_tokens, card.output_tokens_max, card.has_reasoning) == (131072, 8192, True)
    assert card.rates[Meter.CACHE_READ] == 20_000
    assert card.rates[Meter.REASONING] == card.rates[Meter.OUTPUT] == 600_000
    assert card.request_fee_pico == 100_000_000
    assert card.web_search_pico == 10_000_000_000
    assert card.rates[Meter.INPUT_TIME] == 100_000
    assert card.tiers[0].rates[Meter.INPUT] == 400_000
    assert card.cost(Usage(input_tokens=10, output_tokens=10, requests=0), "flex") == 10 * 100_000 + 10 * 300_000


def test_an_override_wins_under_every_name_of_the_same_model() -> None:
    book = Book({"prices": {"gpt-4o": {"input": "1", "output": "2"}}})

    assert book.card("openai/gpt-4o").rates[Meter.INPUT] == 1_000_000
    assert book.card("litellm_proxy/gpt-4o").rates[Meter.INPUT] == 1_000_000
    assert book.card("azure/gpt-4o").rates[Meter.INPUT] == 2_500_000


def test_a_model_that_is_like_another_with_a_negotiated_factor() -> None:
    book = Book({"prices": {"gpt-5-mini": {"like": "gpt-5-mini", "times": "0.9", "web_search": "0.02"}}})

    card, listed = book.card("openai/gpt-5-mini", at=AT), Book().card("openai/gpt-5-mini", at=AT)

    assert card.source == "override"
    assert card.rates[Meter.INPUT] == 225_000
    assert card.services["priority"].rates[Meter.OUTPUT] == 3_240_000
    assert card.web_search_pico == 20_000_000_000
    assert card.context_tokens == listed.context_tokens
    assert card.notes[0] == "like gpt-5-mini times 0.9."


def test_a_missing_meter_can_be_pasted_as_the_error_says() -> None:
    with pytest.raises(Unpriceable) as caught:
        Book().card("gpt-5-mini", at=AT).cost(Usage(audio_input_tokens=1))

    book = Book({"prices": {"gpt-5-mini": {"like": "gpt-5-mini", "audio_input": "10"}}})

    assert 'like = "gpt-5-mini"' in caught.value.toml
    assert book.card("gpt-5-mini", at=AT).cost(Usage(audio_input_tokens=1, requests=0)) == 10_000_000


def test_a_free_model_costs_nothing() -> None:
    card = Book({"prices": {"ollama/llama3": {"free": True}}}).card("ollama/llama3")

    assert card.free
    assert card.cost(Usage(input_tokens=10**6, output_tokens=10**6, web_searches=1)) == 0


def test_a_zero_that_a_person_wrote_is_believed() -> None:
    card = Book({"prices": {"local/embed": {"input": "0.01", "output": "0"}}}).card("local/embed")

    assert card.output_rate_max(10) == 0


def test_dated_prices_change_at_midnight_utc(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        [[prices."acme/brain"]]
        valid_from = 2026-01-01
        input = "1"
        output = "2"
        [[prices."acme/brain"]]
        valid_from = "2026-08-01"
        input = "3"
        output = "4"
        """,
    )
    book = Book(path)

    early = book.card("acme/brain", at=datetime(2026, 7, 31, 23, 59, tzinfo=UTC))
    late = book.card("acme/brain", at=datetime(2026, 8, 1, tzinfo=UTC))
    again = book.card("acme/brain", at=datetime(2026, 2, 1, tzinfo=UTC))

    assert early.rates[Meter.INPUT] == again.rates[Meter.INPUT] == 1_000_000
    assert late.rates[Meter.INPUT] == 3_000_000
    assert late.id.startswith("acme/brain/2026-08-01.")
    with pytest.raises(Unpriceable):
        book.card("acme/brain", at=datetime(2025, 12, 31, tzinfo=UTC))


def test_a_price_that_begins_later_takes_over_from_the_packages_on_its_day() -> None:
    book = Book({"prices": {"gpt-5-mini": {"like": "gpt-5-mini", "times": "2", "valid_from": "2027-01-01"}}})

    before = book.card("openai/gpt-5-mini", at=AT)
    after = book.card("openai/gpt-5-mini", at=datetime(2027, 1, 1, tzinfo=UTC))

    assert (before.source, before.rates[Meter.INPUT]) == ("genai-prices", 250_000)
    assert (after.source, after.rates[Meter.INPUT]) == ("override", 500_000)


def test_a_price_finer_than_a_pico_dollar_is_rounded_up_and_says_so() -> None:
    card = Book({"prices": {"a/b": {"input": "0.0000001", "output": "1"}}}).card("a/b")

    assert card.rates[Meter.INPUT] == 1
    assert card.notes == ("rounded up to whole pico-dollars: input_tokens.",)


def test_a_factor_that_makes_a_rate_finer_than_a_pico_dollar_rounds_it_up_and_says_so() -> None:
    prices = {
        "a/b": {"input": "1", "output": "2", "web_search": "0.01"},
        "a/c": {"like": "a/b", "times": "0.3333333"},
    }

    card = Book({"prices": prices}).card("a/c")

    assert (card.rates[Meter.INPUT], card.rates[Meter.OUTPUT]) == (333_334, 666_667)
    assert card.notes == (
        "like a/b times 0.3333333.",
        "rounded up to whole pico-dollars: input_tokens, output_tokens.",
    )


def test_a_rate_that_the_table_gives_itself_is_not_called_rounded() -> None:
    prices = {
        "a/b": {"input": "1", "output": "2"},
        "a/c": {"like": "a/b", "times": "0.3333333", "input": "0.30"},
    }

    card = Book({"prices": prices}).card("a/c")

    assert card.rates[Meter.INPUT] == 300_000
    assert card.notes[1:] == ("rounded up to whole pico-dollars: output_tokens.",)


def test_a_rate_that_a_rule_derives_is_rounded_up_and_says_so() -> None:
    card = Book({"prices": {"acme/claude-odd": {"input": "0.000002", "output": "1"}}}).card("acme/claude-odd")

    assert card.rates[Meter.CACHE_WRITE_5M] == 3
    assert card.notes == ("rounded up to whole pico-dollars: cache_write_5m_tokens.",)


def test_a_callers_decimal_context_does_not_change_a_price() -> None:
    with localcontext() as context:
        context.prec = 2
        card = Book({"prices": {"a/b": {"input": "1.234567", "output": "1"}}}).card("a/b")

    assert card.rates[Meter.INPUT] == 1_234_567
    assert card.notes == ()


def test_aliases_that_lead_in_a_circle_are_refused() -> None:
    book = Book({"alias": {"a": "b", "b": "a"}})

    with pytest.raises(Unpriceable, match="circle"):
        book.card("a")


ONE = '[prices."m/x"]\n'


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        (ONE + "input = 0.2\noutput = '1'", 2, 'Write "0.2"'),
        (ONE + "input = '?'\noutput = '1'", None, "still"),
        (ONE + "inptu = '1'\noutput = '1'", 2, "Did you mean 'input'"),
        (ONE + "input = '1'", 1, "needs output too"),
        (ONE + "input = '-1'\noutput = '1'", 2, "0 or more"),
        (ONE + "input = 'NaN'\noutput = '1'", 2, "0 or more"),
        (ONE + "input = 'cheap'\noutput = '1'", 2, "not US dollars"),
        (ONE + "input = true\noutput = '1'", 2, "text of US dollars"),
        (ONE + "input = '1e9'\noutput = '1'", 2, "dollar per token"),
        (ONE + "context_tokens = 5", 1, "has no price"),
        (ONE + "free = true\ninput = '1'\noutput = '1'", 1, "cannot be free and have prices"),
        (ONE + "free = 'yes'", 2, "true or false"),
        (ONE + "free = true\ncontext_tokens = 0", 3, "1 or more"),
        (ONE + "input = '1'\noutput = '1'\ntimes = '2'", 4, "needs like"),
        (ONE + "like = 'gpt-4o'\ntimes = '0'", 3, "above 0"),
        (ONE + "like = 5", 2, "name of a model"),
        (ONE + "free = true\nvalid_from = 'soon'", 3, "a day such as"),
        (ONE + "input = '1'\noutput = '1'\ntiers = [{input = '2'}]", 4, "above_input_tokens"),
        (ONE + "input = '1'\noutput = '1'\ntiers = 3", 4, "list of tables"),
        (ONE + "input = '1'\noutput = '1'\nflex = {inpt = '1'}", 4, "Did you mean 'input'"),
        ("[price.'m/x']\ninput = '1'", 1, "Did you mean 'prices'"),
        ("prices = 3", 1, "must be a table"),
        ("[prices]\n'm/x' = 3", 2, "must be a table"),
        ("[alias]\n'a' = '?'", 2, "name of a model"),
        ("[alias\na = 'b'", 1, "not TOML"),
    ],
)
def test_a_price_file_that_cannot_be_meant_is_refused_by_line(
    tmp_path: Path, text: str, line: int | None, sentence: str
) -> None:
    path = written(tmp_path, text)

    with pytest.raises(SettingsError, match=sentence) as caught:
        Book(path)

    facts: dict[str, Any] = caught.value.facts
    assert facts["path"] == str(path)
    assert str(path) in caught.value.sentence
    assert line is None or facts["line"] == line


def test_what_an_error_says_to_paste_is_refused_until_it_is_filled_in(tmp_path: Path) -> None:
    path = written(tmp_path, toml_to_paste("m/x", "input", "output"))

    with pytest.raises(SettingsError, match="write the price in US dollars"):
        Book(path)


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_price_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "prices.toml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(SettingsError, match="cannot be read"):
        Book(path)
