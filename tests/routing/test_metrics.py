"""vLLM's metrics as signals: what is there is added up, what is not stays unknown, and nothing raises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenguard.routing import read_metrics, read_signals
from tokenguard.routing.metrics import Histogram

TWO_ENGINES = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="llama"} 3.0
vllm:num_requests_running{engine="1",model_name="llama"} 4.0
vllm:num_requests_waiting{engine="0",model_name="llama"} 1.0
vllm:num_requests_waiting{engine="1",model_name="llama"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="llama"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="llama"} 0.75
vllm:gpu_cache_usage_perc{engine="0",model_name="llama"} 0.99
vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="1000"} 1.0
vllm:cache_config_info{block_size="16",engine="1",num_gpu_blocks="1000"} 1.0
vllm:prefix_cache_queries_total{engine="0"} 1000.0
vllm:prefix_cache_hits_total{engine="0"} 400.0
vllm:generation_tokens_total{engine="0"} 5000.0
vllm:admission_rejections_total{engine="0"} 2.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1"} 2.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.2"} 6.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf"} 8.0
vllm:time_to_first_token_seconds_sum{engine="0"} 1.6
vllm:time_to_first_token_seconds_count{engine="0"} 8.0
vllm:inter_token_latency_seconds_sum{engine="0"} 2.0
vllm:inter_token_latency_seconds_count{engine="0"} 100.0
vllm:request_queue_time_seconds_sum{engine="0"} 0.8
vllm:request_queue_time_seconds_count{engine="0"} 8.0
vllm:engine_sleep_state{engine="0",sleep_state="awake"} 1.0
vllm:engine_sleep_state{engine="0",sleep_state="weights_offloaded"} 0.0
"""
LATER = """\
vllm:num_requests_running{engine="0"} 1.0
vllm:generation_tokens_total{engine="0"} 5400.0
vllm:admission_rejections_total{engine="0"} 5.0
vllm:prefix_cache_queries_total{engine="0"} 1100.0
vllm:prefix_cache_hits_total{engine="0"} 490.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1"} 2.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.2"} 6.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.4"} 4.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf"} 12.0
vllm:time_to_first_token_seconds_sum{engine="0"} 3.6
vllm:time_to_first_token_seconds_count{engine="0"} 12.0
"""


def test_several_engines_are_summed_and_the_cache_is_their_mean() -> None:
    signals = read_signals(TWO_ENGINES, at_s=10.0).signals

    assert (signals.running, signals.waiting) == (7, 3)
    assert (signals.kv_usage, signals.kv_tokens) == (0.5, 32_000)
    assert signals.hit_share == 0.4
    assert signals.ttft_s == pytest.approx(0.2)
    assert signals.ttft_s_p50 == pytest.approx(0.15)
    assert signals.ttft_s_p95 == 0.2, "beyond the last bound nobody knows more"
    assert signals.token_s == pytest.approx(0.02)
    assert signals.queue_s == pytest.approx(0.1)
    assert (signals.output_tps, signals.rejections, signals.asleep) == (None, 0, False)


def test_a_second_reading_counts_what_came_since_the_first() -> None:
    first = read_signals(TWO_ENGINES, at_s=10.0)

    signals = read_signals(LATER, at_s=12.0, before=first).signals

    assert signals.output_tps == 200.0
    assert signals.rejections == 3
    assert signals.hit_share == 0.9
    assert signals.ttft_s == pytest.approx(0.2 + 0.3 * (0.5 - 0.2))
    assert signals.token_s == pytest.approx(0.02), "an average stands until something new comes"
    assert signals.queue_s is None
    assert signals.kv_usage is None


def test_a_counter_that_began_anew_counts_from_zero() -> None:
    first = read_signals(LATER, at_s=10.0)

    signals = read_signals("vllm:generation_tokens_total 90\n" + TWO_ENGINES, at_s=11.0, before=first).signals

    assert signals.output_tps == 5_090.0
    assert signals.ttft_s_p50 == pytest.approx(0.15)


def test_two_readings_of_one_instant_have_no_rate() -> None:
    first = read_signals(TWO_ENGINES, at_s=10.0)

    assert read_signals(LATER, at_s=10.0, before=first).signals.output_tps is None


def test_names_of_older_versions_are_understood() -> None:
    text = (
        "vllm:gpu_cache_usage_perc 0.5\n"
        "vllm:time_per_output_token_seconds_sum 1.0\n"
        "vllm:time_per_output_token_seconds_count 10\n"
    )

    signals = read_signals(text, at_s=0.0).signals

    assert (signals.kv_usage, signals.token_s) == (0.5, 0.1)


def test_a_sleeping_engine_is_asleep_only_where_all_of_them_sleep() -> None:
    asleep = 'vllm:engine_sleep_state{engine="0",sleep_state="awake"} 0.0\n'
    awake = 'vllm:engine_sleep_state{engine="1",sleep_state="awake"} 1.0\n'

    assert read_signals(asleep, at_s=0.0).signals.asleep
    assert not read_signals(asleep + awake, at_s=0.0).signals.asleep


@pytest.mark.parametrize(
    "line",
    [
        "vllm:num_requests_running",
        "vllm:num_requests_running NaN",
        "vllm:num_requests_running +Inf",
        "vllm:num_requests_running -3",
        "vllm:num_requests_running three",
        "vllm:num_requests_running{engine= 3",
        "vllm:num_requests_running 3 then more",
        "VLLM:num_requests_running 3",
        'vllm:num_requests_running{x="' + "y" * 9_000 + '"} 3',
        "vllm:unheard_of 3",
        "process_cpu_seconds_total 3",
        'vllm:time_to_first_token_seconds_bucket{engine="0"} 3',
        'vllm:time_to_first_token_seconds_bucket{le="wide"} 3',
        'vllm:cache_config_info{num_gpu_blocks="None",block_size="16"} 1',
        'vllm:cache_config_info{num_gpu_blocks="inf",block_size="16"} 1',
        "vllm:cache_config_info 1",
    ],
)
def test_a_line_that_cannot_be_read_is_passed_over(line: str) -> None:
    signals = read_signals(f"{line}\nvllm:num_requests_waiting 2\n", at_s=0.0).signals

    assert (signals.running, signals.waiting, signals.kv_tokens, signals.ttft_s) == (0, 2, None, None)


def test_a_timestamp_after_the_value_is_no_error() -> None:
    assert read_metrics("vllm:num_requests_running 3 1700000000000").numbers == {"running": 3.0}


def test_an_empty_histogram_has_no_mean_and_no_quantile() -> None:
    nothing = Histogram()

    assert (nothing.mean, nothing.quantile(0.5)) == (None, None)
    assert Histogram({float("inf"): 3.0}, 9.0, 3.0).quantile(0.5) is None


@given(text=st.text(alphabet=st.sampled_from('vllm:num_requests_running{}="le01.+-Infa \n'), max_size=300))
def test_no_text_raises(text: str) -> None:
    reading = read_signals("vllm:" + text, at_s=1.0)

    assert read_signals(text, at_s=2.0, before=reading).signals.running >= 0


@given(
    usage=st.floats(allow_nan=True, allow_infinity=True),
    blocks=st.text(max_size=8).filter(lambda one: '"' not in one),
)
def test_any_number_gives_a_share_within_its_bounds(usage: float, blocks: str) -> None:
    text = f'vllm:kv_cache_usage_perc {usage}\nvllm:cache_config_info{{num_gpu_blocks="{blocks}",block_size="16"}} 1\n'

    found = read_signals(text, at_s=0.0).signals.kv_usage

    assert found is None or 0.0 <= found <= 1.0
