from __future__ import annotations

import pickle
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenguard.core.price import TOML_KEYS, PriceCard, Rates, RateTable, Tier, toml_to_paste
from tokenguard.core.usage import METERS, Meter, Usage
from tokenguard.errors import BadAmount, Unpriceable

SMALL = {
    Meter.INPUT: 250_000,
    Meter.CACHE_READ: 25_000,
    Meter.CACHE_WRITE_5M: 312_500,
    Meter.CACHE_WRITE_1H: 500_000,
    Meter.OUTPUT: 2_000_000,
    Meter.REASONING: 3_000_000,
    Meter.REQUEST: 7,
}
LARGE = {meter: rate * 2 for meter, rate in SMALL.items()}


def card(**changes: object) -> PriceCard:
    fields: dict[str, object] = {
        "id": "acme/brain/2026-08-01.0",
        "model": "brain",
        "provider": "acme",
        "source": "override",
        "version": "test",
        "rates": Rates.of(SMALL),
        "tiers": (Tier(200_000, Rates.of(LARGE)),),
        "services": {
            "flex": RateTable(Rates.of({**SMALL, Meter.OUTPUT: 1_000_000})),
            "priority": RateTable(Rates.of({**SMALL, Meter.OUTPUT: 4_000_000})),
            "geo-eu": RateTable(Rates.of({**SMALL, Meter.OUTPUT: 9_000_000})),
        },
    }
    return PriceCard(**{**fields, **changes})  # type: ignore[arg-type]  # one literal for many tests


USAGES = st.builds(
    Usage,
    input_tokens=st.integers(0, 300_000),
    cache_read_tokens=st.integers(0, 300_000),
    cache_write_5m_tokens=st.integers(0, 10_000),
    cache_write_1h_tokens=st.integers(0, 10_000),
    output_tokens=st.integers(0, 100_000),
    reasoning_tokens=st.integers(0, 100_000),
)
SERVICES = st.sampled_from([None, "", "default", "auto", "flex", "priority", "fast", "batch", "scale", "geo-eu"])


def test_a_cost_is_the_sum_of_quantity_times_rate() -> None:
    usage = Usage(input_tokens=1_000, cache_read_tokens=500, output_tokens=300, reasoning_tokens=20)

    cost = card().cost(usage)

    assert cost == 1_000 * 250_000 + 500 * 25_000 + 300 * 2_000_000 + 20 * 3_000_000 + 7


@given(USAGES, SERVICES)
def test_lines_add_up_to_the_cost(usage: Usage, service: str | None) -> None:
    lines = card().lines(usage, service)

    assert sum(line.amount_pico for line in lines) == card().cost(usage, service)
    assert all(line.amount_pico == line.quantity * line.rate_pico for line in lines)


@given(USAGES, SERVICES, st.integers(0, 50_000))
def test_a_ceiling_is_never_below_the_cost_of_a_smaller_prompt(usage: Usage, service: str | None, slack: int) -> None:
    bound = usage.input_total + slack
    brain = card()

    ceiling = bound * brain.input_rate_max(bound, service_tier=service, cache_write="1h")
    ceiling += usage.output_total * brain.output_rate_max(bound, service_tier=service) + brain.request_fee_pico * 2

    assert brain.cost(usage, service) <= ceiling


@pytest.mark.parametrize(("prompt", "rate"), [(200_000, 250_000), (200_001, 500_000)])
def test_a_prompt_above_a_tier_reprices_the_whole_request(prompt: int, rate: int) -> None:
    usage = Usage(input_tokens=prompt - 100_000, cache_read_tokens=100_000, requests=0)

    assert card().cost(usage) == (prompt - 100_000) * rate + 100_000 * rate // 10


def test_an_unknown_rate_is_never_zero() -> None:
    with pytest.raises(Unpriceable, match="audio_input_tokens") as caught:
        card().cost(Usage(input_tokens=5, audio_input_tokens=1))

    assert (caught.value.model, caught.value.bucket) == ("brain", "audio_input_tokens")
    assert tomllib.loads(caught.value.toml)["prices"]["brain"] == {"like": "brain", "audio_input": "?"}


def test_lines_refuse_an_unknown_rate_as_the_cost_does() -> None:
    with pytest.raises(Unpriceable, match="web_searches"):
        card().lines(Usage(web_searches=1))


@pytest.mark.parametrize("name", [None, "", "standard", "default", "auto", "on_demand"])
def test_ordinary_tiers_go_by_many_names(name: str | None) -> None:
    assert card().cost(Usage(output_tokens=1, requests=0), name) == 2_000_000
    assert card().tier_note(name) is None


def test_a_listed_service_tier_has_its_own_rates() -> None:
    usage = Usage(output_tokens=1, requests=0)

    assert card().cost(usage, "flex") == 1_000_000
    assert card().cost(usage, "PRIORITY") == card().cost(usage, "fast") == 4_000_000
    assert card().cost(usage, "geo-eu") == 9_000_000


def test_a_discount_that_is_not_listed_is_not_given() -> None:
    assert card().cost(Usage(output_tokens=1, requests=0), "batch") == 2_000_000
    assert "standard one" in str(card().tier_note("batch"))


def test_an_unknown_service_tier_costs_the_dearest_listed_but_for_places() -> None:
    assert card().cost(Usage(output_tokens=1, requests=0), "scale") == 4_000_000
    assert card().output_rate_max(10, service_tier="scale") == 4_000_000
    assert "dearest of 3" in str(card().tier_note("scale"))


def test_an_unknown_service_tier_of_a_card_with_one_table_is_the_standard_one() -> None:
    plain = card(services={})

    assert plain.cost(Usage(output_tokens=1, requests=0), "scale") == 2_000_000
    assert "standard one" in str(plain.tier_note("scale"))


def test_cache_marks_raise_the_dearest_input_rate() -> None:
    assert card().input_rate_max(1_000) == 250_000
    assert card().input_rate_max(1_000, cache_write="5m") == 312_500
    assert card().input_rate_max(1_000, cache_write="1h") == 500_000
    assert card().input_rate_max(200_001, cache_write="1h") == 1_000_000


def test_a_provider_that_writes_to_its_cache_unasked_is_reserved_for() -> None:
    assert card(writes_cache_unasked=True).input_rate_max(1_000) == 312_500


def test_a_bucket_that_a_call_may_fill_needs_a_rate() -> None:
    bare = card(rates=Rates.of({Meter.INPUT: 1, Meter.OUTPUT: 2}), tiers=(), services={})

    with pytest.raises(Unpriceable, match="cache_write_5m"):
        bare.input_rate_max(10, cache_write="5m")
    with pytest.raises(Unpriceable, match="audio_output"):
        bare.output_rate_max(10, audio=True)
    with pytest.raises(Unpriceable, match="image_input"):
        bare.input_rate_max(10, image=True)
    assert bare.output_rate_max(10) == 2
    assert bare.web_search_pico is None
    assert bare.request_fee_pico == 0


def test_a_free_card_costs_nothing_and_still_lists_what_was_used() -> None:
    gratis = card(rates=Rates.free(), tiers=(), services={}, free=True)

    lines = gratis.lines(Usage(input_tokens=5, audio_output_tokens=2))

    assert [(line.meter, line.quantity, line.amount_pico) for line in lines] == [
        (Meter.INPUT, 5, 0),
        (Meter.AUDIO_OUTPUT, 2, 0),
    ]
    assert gratis.cost(Usage(input_tokens=5, web_searches=3)) == 0


@pytest.mark.parametrize("rate", [-1, 1.0, True])
def test_a_rate_is_a_whole_number_of_pico_dollars(rate: int) -> None:
    with pytest.raises(BadAmount, match="input_tokens"):
        Rates.of({Meter.INPUT: rate})


def test_rates_are_read_by_meter() -> None:
    rates = Rates.of(SMALL)

    assert rates[Meter.OUTPUT] == 2_000_000
    assert rates[Meter.AUDIO_OUTPUT] is None
    assert rates.known() == SMALL


def test_cards_survive_a_pickle() -> None:
    copied = pickle.loads(pickle.dumps(card()))

    assert copied == card()
    assert copied.cost(Usage(output_tokens=1), "flex") == card().cost(Usage(output_tokens=1), "flex")


def test_a_line_to_paste_is_toml_whatever_the_name() -> None:
    text = toml_to_paste('odd"name\\here', *TOML_KEYS.values())

    assert set(tomllib.loads(text)["prices"]['odd"name\\here']) == set(TOML_KEYS.values())
    assert set(TOML_KEYS) == set(METERS)


def test_names_of_service_tiers_that_callers_invent_are_not_all_remembered() -> None:
    brain = card()

    rates = {brain.input_rate_max(1_000, service_tier=f"tier-{number}") for number in range(200)}

    assert len(rates) == 1
    assert len(brain._worst) <= 64
