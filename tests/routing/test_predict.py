"""Predictions: the formula, what outcomes teach, and how little is believed of stale signals."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from routing.fleets import calm, cloud, gpu

from tokenguard.routing import Prior, Signals
from tokenguard.routing.predict import (
    UNBOUNDED,
    Learned,
    Unread,
    fresh_forecast,
    learn,
    learned_of,
    stale_forecast,
)

PRIOR = Prior(ttft_s=0.2, prefill_tps=5_000.0, output_tps=50.0)
NEW = learned_of(PRIOR)


def taught(rounds: int, base_s: float, token_s: float, output_s: float = 0.01) -> Learned:
    """What a machine with a straight line teaches, over prompts of 500 to 8,000 tokens."""
    learned = NEW
    for number in range(rounds):
        prompt = 500 + number * 2_917 % 7_500
        ttft_s = base_s + prompt * token_s
        learned = learn(
            learned,
            ahead_tokens=prompt,
            prompt_tokens=prompt,
            output_tokens=101,
            ttft_s=ttft_s,
            total_s=ttft_s + 100 * output_s,
        )
    return learned


def test_before_anything_is_measured_the_prior_is_believed_and_not_known() -> None:
    forecast = fresh_forecast(gpu(prior=PRIOR), NEW, calm(), 0)

    assert forecast.ttft_s(1_000) == pytest.approx(0.2 + 1_000 / 5_000)
    assert forecast.finish_s(1_000, 100) == pytest.approx(0.4 + 100 / 50)
    assert not forecast.is_known


def test_requests_that_wait_and_calls_since_the_reading_are_ahead() -> None:
    forecast = fresh_forecast(gpu(prior=PRIOR), NEW, calm(waiting=3), 2)

    assert forecast.queued_tokens == 5_000
    assert forecast.ttft_s(1_000) == pytest.approx(0.2 + 6_000 / 5_000)


def test_own_prompts_count_by_their_size_and_only_strangers_as_mean_ones() -> None:
    small = fresh_forecast(gpu(prior=PRIOR), NEW, calm(waiting=3), 1, Unread(4, 900.0))
    strangers = fresh_forecast(gpu(prior=PRIOR), NEW, calm(waiting=5), 1, Unread(4, 900.0))

    assert small.queued_tokens == 900
    assert strangers.queued_tokens == 900 + 2 * 1_000


def test_what_the_prefix_cache_has_is_not_queued() -> None:
    forecast = fresh_forecast(gpu(prior=PRIOR), NEW, calm(waiting=10, hit_share=0.8), 0)

    assert forecast.queued_tokens == pytest.approx(2_000)


def test_a_measured_queue_counts_at_least_as_long_as_somebody_waits() -> None:
    waits = fresh_forecast(gpu(prior=PRIOR), NEW, calm(waiting=1, queue_s=4.0), 0)
    nobody = fresh_forecast(gpu(prior=PRIOR), NEW, calm(waiting=0, queue_s=4.0), 0)

    assert waits.wait_s == pytest.approx(4.2)
    assert nobody.wait_s == pytest.approx(0.2)


def test_until_outcomes_come_the_engines_own_mean_stands_for_the_residual() -> None:
    forecast = fresh_forecast(gpu(prior=PRIOR), NEW, calm(ttft_s=0.9, queue_s=0.3), 0)

    assert forecast.is_known
    assert forecast.ttft_s(1_000) == pytest.approx(0.6)
    assert fresh_forecast(gpu(), taught(5, 0.1, 0.001), calm(ttft_s=9.0), 0).wait_s < 2.0


def test_a_straight_line_is_learned_from_outcomes() -> None:
    learned = taught(60, base_s=0.5, token_s=0.0006, output_s=0.02)

    assert learned.is_known
    assert learned.prompt_token_s == pytest.approx(0.0006, rel=0.05)
    assert learned.base_s == pytest.approx(0.5, abs=0.15)
    assert learned.output_token_s == pytest.approx(0.02, rel=0.02)
    assert fresh_forecast(gpu(), learned, calm(), 0).ttft_s(4_000) == pytest.approx(2.9, rel=0.05)


def test_an_answer_that_was_not_streamed_teaches_only_its_speed() -> None:
    learned = learn(NEW, ahead_tokens=500, prompt_tokens=500, output_tokens=11, ttft_s=None, total_s=0.3 + 10 * 0.5)

    assert learned.output_token_s == pytest.approx(0.5)
    assert (learned.outcomes, learned.base_s, learned.prompt_token_s) == (0, NEW.base_s, NEW.prompt_token_s)


def test_one_token_teaches_no_speed() -> None:
    learned = learn(NEW, ahead_tokens=500, prompt_tokens=500, output_tokens=1, ttft_s=0.4, total_s=0.4)

    assert (learned.output_token_s, learned.outcomes) == (NEW.output_token_s, 1)


@given(
    outcomes=st.lists(
        st.tuples(
            st.floats(0, 1e6), st.integers(0, 200_000), st.integers(0, 5_000), st.floats(0, 500), st.floats(0, 900)
        ),
        max_size=40,
    )
)
def test_no_outcomes_make_a_prediction_negative_or_endless(
    outcomes: list[tuple[float, int, int, float, float]],
) -> None:
    learned = NEW
    for ahead, prompt, output, ttft_s, more_s in outcomes:
        learned = learn(
            learned,
            ahead_tokens=ahead,
            prompt_tokens=prompt,
            output_tokens=output,
            ttft_s=ttft_s,
            total_s=ttft_s + more_s,
        )

    forecast = fresh_forecast(gpu(), learned, calm(waiting=5), 1)

    assert 0 <= forecast.ttft_s(1_000) < 1e9
    assert forecast.ttft_s(2_000) > forecast.ttft_s(1_000), "a longer prompt is never predicted to be quicker"
    assert forecast.finish_s(1_000, 10) > forecast.ttft_s(1_000)


def test_head_room_is_what_the_cache_has_left_less_what_is_coming() -> None:
    forecast = fresh_forecast(gpu(), NEW, calm(kv_usage=0.5, kv_tokens=100_000, waiting=2), 1)

    assert forecast.room_tokens == 100_000 * 0.45 - 3 * 1_200
    assert fresh_forecast(gpu(), NEW, calm(kv_usage=0.99), 0).room_tokens == 0


def test_head_room_without_a_capacity_is_there_up_to_nine_tenths() -> None:
    def room(usage: float | None, declared: int | None = None) -> int:
        signals = calm(kv_usage=usage, kv_tokens=None)
        return fresh_forecast(gpu(kv_tokens=declared), NEW, signals, 0).room_tokens

    assert (room(0.9), room(0.91), room(None)) == (UNBOUNDED, 0, UNBOUNDED)
    assert room(0.5, declared=10_000) == 4_500


def test_stale_signals_leave_own_counters_and_the_last_average_with_caution() -> None:
    last = calm(ttft_s=3.0)

    idle = stale_forecast(gpu(prior=PRIOR), NEW, None, 0)
    busy = stale_forecast(gpu(prior=PRIOR), NEW, None, 10)
    known = stale_forecast(gpu(prior=PRIOR), NEW, last, 0)

    assert idle.ttft_s(1_000) == pytest.approx(1.5 * 0.4)
    assert busy.ttft_s(1_000) == pytest.approx(1.5 * (0.2 + 11_000 / 5_000))
    assert known.ttft_s(1_000) == pytest.approx(1.5 * 3.0)
    assert (idle.room_tokens, busy.room_tokens) == (UNBOUNDED, 0), "10 of 16 are more than half"


def test_a_cloud_shows_no_signals_and_is_taken_as_measured() -> None:
    learned = replace(taught(20, 0.4, 0.0001), prior=PRIOR)

    forecast = stale_forecast(cloud(), learned, None, 500)

    assert forecast.ttft_s(1_000) == pytest.approx(learned.base_s + 1_000 * learned.prompt_token_s)
    assert forecast.room_tokens == UNBOUNDED


def test_decoding_is_shared_by_the_batch() -> None:
    forecast = fresh_forecast(gpu(prior=PRIOR), NEW, Signals(at_s=0.0, running=10), 0)

    assert forecast.busy_s(1_000, 100) == pytest.approx(1_000 / 5_000 + 100 / 50 / 10)
