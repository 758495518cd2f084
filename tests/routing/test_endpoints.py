"""Endpoints, needs and schedules say what is wrong with them, and what to write instead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from routing.fleets import call, cloud, gpu

from tokenguard.core.ladder import Rung
from tokenguard.errors import BadAmount, SettingsError, TokenguardError
from tokenguard.routing import (
    FREE,
    BreakerRule,
    Endpoint,
    Fleet,
    Need,
    Policy,
    Prior,
    Rates,
    SloWindow,
    SpillRule,
    counterfactual,
    minute_of_week,
    read_schedule,
)

MADE_WRONG = {
    "has no name": lambda: gpu(""),
    "is not own and has no rates; unknown is not free": lambda: Endpoint("x", "openai/gpt-5-mini"),
    "has a rate below zero": lambda: cloud(rates=Rates(-1, 0)),
    "has weight=0; give at least 1": lambda: gpu(weight=0),
    "has context_tokens=0; give at least 1": lambda: gpu(context_tokens=0),
    "has a prior that is not above zero": lambda: gpu(prior=Prior(ttft_s=0)),
    "cannot need -1 prompt": lambda: call(prompt=-1),
    "2000 warm tokens do not fit a prompt of 1000": lambda: call(warm_tokens=2_000),
    "leave must be above 0 and below enter": lambda: SpillRule(enter=0.5, leave=0.5),
    "a spill budget of \\$0.00 spends nothing": lambda: SpillRule(cap_pico=0),
    "a window of 0 s": lambda: SpillRule(window_s=0),
    "cannot open at 0 failures in a row": lambda: BreakerRule(in_a_row=0),
    "cannot pause 9.0 s up to 3.0 s": lambda: BreakerRule(pause_s=9.0, pause_s_max=3.0),
    "cannot hold a TTFT of 0 s": lambda: Policy(ttft_s=0),
    "give a window above 0": lambda: SloWindow(0),
    "There is no endpoint to route to": lambda: Fleet([]),
    "2 endpoints are named 'gpu-a'": lambda: Fleet([gpu(), cloud(), gpu()]),
}


@pytest.mark.parametrize("sentence", MADE_WRONG)
def test_what_cannot_be_meant_is_refused_with_the_number_and_the_fix(sentence: str) -> None:
    with pytest.raises((BadAmount, SettingsError), match=f"(?i){sentence}") as caught:
        MADE_WRONG[sentence]()

    assert isinstance(caught.value, TokenguardError)
    assert caught.value.sentence.endswith(".")


def test_own_hardware_costs_nothing_more_and_keeps_its_internal_rate_beside() -> None:
    owned = gpu(internal=Rates(300_000, 900_000))

    assert (owned.billed, owned.effective) == (FREE, Rates(300_000, 900_000))
    assert cloud().effective == cloud().billed
    assert Rates(2, 3).cost_pico(10, 100) == 320


def test_an_endpoint_says_what_to_put_over_a_calls_arguments() -> None:
    assert cloud().options == {"model": "openai/gpt-5-mini"}
    assert gpu(api_base="http://h/v1").options == {"model": "hosted_vllm/llama", "api_base": "http://h/v1"}


def test_a_cloud_that_nobody_measured_is_believed_to_read_faster_than_own_hardware() -> None:
    assert cloud().speed.prefill_tps > gpu().speed.prefill_tps
    assert cloud(prior=Prior(ttft_s=9.0)).speed.ttft_s == 9.0


def test_own_hardware_is_not_local_unless_somebody_says_so() -> None:
    assert not Endpoint("rented", "hosted_vllm/llama", own=True).local


def test_a_need_knows_its_bound_its_thrift_and_its_warmth() -> None:
    assert call(output=200).output_bound == 200
    assert call(output=200, output_tokens_max=900).output_bound == 900
    assert [call(rung=one).is_thrifty for one in (None, Rung.STEER, Rung.REROUTE, Rung.FINAL)] == [
        False,
        False,
        True,
        True,
    ]
    assert [call(warm_tokens=one).is_warm for one in (0, 499, 500)] == [False, False, True]
    assert not Need("empty", 0, 0).is_warm


def test_a_schedule_holds_inside_its_windows_and_over_midnight() -> None:
    work, night = read_schedule("Mon-Fri 08:00-18:00"), read_schedule("sun 22:00-06:00")
    always = read_schedule("00:00-00:00")

    assert work.holds(8 * 60)
    assert not work.holds(18 * 60)
    assert not work.holds(5 * 1440 + 9 * 60)
    assert night.holds(6 * 1440 + 23 * 60)
    assert night.holds(5 * 60)  # Monday: the week goes on at its beginning.
    assert not night.holds(6 * 60)
    assert all(always.holds(minute) for minute in range(0, 10_080, 7))
    assert read_schedule("sat-mon 08:00-09:00").holds(0 * 1440 + 8 * 60)
    assert read_schedule("tue 10:00-24:00; thu 00:00-01:00").windows == ((2_040, 2_880), (4_320, 4_380))


@pytest.mark.parametrize("text", ["", "noon", "mon 8-18", "xyz 08:00-18:00", "mon-xyz 08:00-18:00", "25:00-26:00"])
def test_a_schedule_that_cannot_be_read_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SettingsError, match="no window of the week; write days and times in UTC, as in"):
        read_schedule(text)


@pytest.mark.parametrize("text", ["08:00-24:01", "08:61-09:00", "08:00-09:61"])
def test_a_time_that_no_clock_shows_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="no window of the week"):
        read_schedule(text)


def test_the_minute_of_the_week_is_counted_in_utc() -> None:
    monday = datetime(2026, 11, 30, 0, 30, tzinfo=timezone(timedelta(hours=1)))

    assert minute_of_week(datetime(2026, 11, 30, 8, 5, tzinfo=UTC)) == 485
    assert minute_of_week(monday) == 6 * 1440 + 23 * 60 + 30


def test_the_counterfactual_is_the_cheapest_cloud_that_is_able_even_for_a_private_call() -> None:
    fleet = Fleet(
        [
            gpu(),
            cloud("dear", Rates(9, 9)),
            cloud("cheap", Rates(2, 2)),
            cloud("blind", Rates(1, 1), can=frozenset()),
            cloud("small", Rates(1, 1), tier="small"),
        ]
    )
    need = call(prompt=10, output=10, uses=frozenset({"tools"}), tier="large", private=True)

    assert counterfactual(need, fleet) == ("cheap", 40)
    assert counterfactual(need, Fleet([gpu()])) is None
