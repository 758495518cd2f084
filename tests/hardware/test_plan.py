"""Plans against what real vLLM servers had left for their cache, and what holds for every plan."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hardware.shapes import shape_of, shapes
from hypothesis import given
from hypothesis import strategies as st

from tokenguard.errors import BadAmount, SettingsError
from tokenguard.hardware import GPUS, Cpu, Gpu, ModelShape, Overheads, Serving, find_gpu, memory_plan

GIB = 2**30
OLDER = Overheads(logit_bytes=38.2, runtime_bytes=int(0.13 * GIB), parallel_bytes=int(0.55 * GIB))
"""vLLM 0.11 on an H100, where CUDA graphs were not counted."""


def _h100(gib: float) -> Gpu:
    return replace(find_gpu("H100"), memory_bytes=int(gib * GIB))


# llm-d-incubation/llm-d-planner, docs/accuracy/vllm-v0.19.0-accuracy-report.md: an H100 of 79.19 GiB at 0.95.
@pytest.mark.parametrize(
    ("name", "kv_dtype", "tokens"),
    [
        ("Llama-3.1-8B", "auto", 476_016),
        ("Llama-3.1-8B", "fp8", 952_032),
        ("Qwen2.5-7B", "auto", 1_096_000),
        ("Qwen2.5-7B", "fp8", 2_192_000),
    ],
)
def test_the_cache_holds_as_many_tokens_as_vllm_0_19_said(name: str, kv_dtype: str, tokens: int) -> None:
    serving = Serving(kv_dtype=kv_dtype, context=32_768, utilisation=0.95, graphs_counted=False)

    assert memory_plan(shape_of(name), _h100(79.19), serving).kv_tokens == pytest.approx(tokens, rel=0.005)


def test_a_model_served_in_fp8_leaves_the_cache_what_vllm_said() -> None:
    # The same report: 64.61 GiB with --quantization fp8.
    serving = Serving("fp8", context=8_192, utilisation=0.95, graphs_counted=False)

    (stage,) = memory_plan(shape_of("Llama-3.1-8B"), _h100(79.19), serving).stages

    assert stage.kv_bytes / GIB == pytest.approx(64.61, rel=0.005)


# llm-d/llm-d-benchmark, config_explorer/empirical-vllm-memory-results.md: vLLM 0.11 on an H100 of 79.18 GiB at 0.9; the
# figures of gpt-oss-120b there (64.38 + 7.38 + 0.13 + 3.33) add up at 0.95.
@pytest.mark.parametrize(
    ("name", "quantization", "tensor_parallel", "gib"),
    [
        ("gpt-oss-20b", None, 1, 50.28),
        ("Llama-3.1-70B", "fp8", 2, 32.0),
        ("Llama-3.1-8B", None, 1, 51.38),
        ("Qwen3-0.6B", None, 1, 64.45),
        ("Qwen3-32B", None, 1, 4.45),
        ("Qwen3-32B", None, 2, 34.49),
    ],
)
def test_the_cache_gets_what_vllm_0_11_gave_it(
    name: str, quantization: str | None, tensor_parallel: int, gib: float
) -> None:
    serving = Serving(quantization, tensor_parallel, utilisation=0.9, graphs_counted=False, overheads=OLDER)

    (stage,) = memory_plan(shape_of(name), _h100(79.18), serving).stages

    assert stage.kv_bytes / GIB == pytest.approx(gib, rel=0.01)


def test_the_largest_open_model_that_one_h100_holds_is_met_within_a_quarter_gib() -> None:
    serving = Serving(context=16_000, utilisation=0.95, graphs_counted=False, overheads=OLDER)

    (stage,) = memory_plan(shape_of("gpt-oss-120b"), _h100(79.18), serving).stages

    assert stage.kv_bytes / GIB == pytest.approx(3.33, abs=0.25)


def test_what_vllm_could_not_start_does_not_fit() -> None:
    # The same report: Llama-3.3-70B in FP8 on one GPU, and Qwen3-32B with 32,000 tokens, had no room for their cache.
    serving = Serving(context=16_000, utilisation=0.9, graphs_counted=False, overheads=OLDER)

    assert not memory_plan(shape_of("Llama-3.1-70B"), _h100(79.18), replace(serving, quantization="fp8")).fits
    assert not memory_plan(shape_of("Qwen3-32B"), _h100(79.18), replace(serving, context=32_000)).fits
    assert memory_plan(shape_of("Qwen3-32B"), _h100(79.18), serving).fits


def test_a_card_with_a_screen_has_half_a_gib_less_than_the_plan() -> None:
    # LLMServingSim, bench/examples/RTX4090/Llama-3.1-8B/meta.json: vLLM 0.19, 41,408 tokens at 0.9.
    gpu = replace(find_gpu("RTX 4090"), memory_bytes=25_250_627_584)
    serving = Serving(context=32_768, utilisation=0.9, graphs_counted=False)

    plan = memory_plan(shape_of("Llama-3.1-8B"), gpu, serving)

    assert 0 <= (plan.kv_tokens - 41_408) * plan.kv_token_bytes < 0.5 * GIB


def test_a_plan_by_default_is_that_of_a_vllm_that_counts_its_graphs() -> None:
    plan = memory_plan(shape_of("Llama-3.1-8B"), "H100")
    (stage,) = plan.stages

    assert plan.usable_bytes == int(0.92 * find_gpu("H100").memory_bytes)
    assert stage.graph_bytes > GIB
    assert stage.kv_bytes == plan.usable_bytes - (stage.needed_bytes - stage.kv_needed_bytes)
    assert (plan.context, plan.devices, plan.quantization, plan.advice) == (131_072, 1, "16bit", None)


def test_without_graphs_their_room_is_the_caches() -> None:
    shape = shape_of("Llama-3.1-8B")
    (counted,) = memory_plan(shape, "H100").stages

    (eager,) = memory_plan(shape, "H100", Serving(eager=True)).stages

    assert eager.kv_bytes - counted.kv_bytes == counted.graph_bytes


def test_each_stage_of_a_pipeline_is_reckoned_by_itself_and_the_tightest_decides() -> None:
    plan = memory_plan(shape_of("Llama-3.1-70B"), "H100", Serving(tensor_parallel=2, pipeline_parallel=3))

    assert [stage.layers for stage in plan.stages] == [27, 27, 26]
    assert plan.devices == 6
    assert plan.tightest is plan.stages[0]
    assert plan.concurrency(8_192) == plan.tightest.blocks / (8_192 / 16)


def test_sequences_are_whole_and_no_more_than_vllm_admits() -> None:
    plan = memory_plan(shape_of("Llama-3.1-8B"), "H100", Serving(sequences_max=64, context=8_192))

    assert plan.sequences(8_192) == plan.tightest.kv_bytes // (8_192 * 131_072) == 55
    assert plan.sequences(16) == 64


def test_a_sequence_of_no_tokens_is_refused() -> None:
    with pytest.raises(BadAmount, match="context=0: give a number of tokens, 1 or more"):
        memory_plan(shape_of("Llama-3.1-8B"), "H100").concurrency(0)


@pytest.mark.parametrize(
    ("serving", "sentence"),
    [
        (Serving(tensor_parallel=3), "tensor_parallel=3 does not divide the 32 attention heads"),
        (Serving(pipeline_parallel=33), "pipeline_parallel=33 needs a layer for each stage, and the model has 32"),
        (Serving("int3"), "quantization 'int3' is not known"),
        (Serving(kv_dtype="int4"), "kv_dtype='int4' has no formula here"),
    ],
)
def test_what_vllm_would_refuse_is_refused_with_a_sentence(serving: Serving, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        memory_plan(shape_of("Llama-3.1-8B"), "H100", serving)


def test_on_a_cpu_the_cache_has_the_size_that_was_set() -> None:
    plan = memory_plan(shape_of("Llama-3.2-1B"), Cpu(kv_space_bytes=4 * GIB), Serving(context=8_192))
    (stage,) = plan.stages

    assert stage.blocks == 4 * GIB // (128 * 32_768)
    assert plan.kv_tokens == 131_072
    assert (stage.runtime_bytes, stage.graph_bytes, plan.usable_bytes, plan.fits) == (0, 0, None, True)


def test_on_a_cpu_the_whole_cache_has_to_fit_beside_the_weights() -> None:
    shape, serving = shape_of("Llama-3.2-1B"), Serving(context=8_192)

    assert memory_plan(shape, Cpu(4 * GIB, memory_bytes=8 * GIB), serving).fits
    assert not memory_plan(shape, Cpu(4 * GIB, memory_bytes=6 * GIB), serving).fits


def test_a_plan_is_json_with_every_number_and_what_follows_from_them() -> None:
    plan = memory_plan(shape_of("gpt-oss-20b"), "H100", Serving(context=8_192))

    read = json.loads(json.dumps(plan.json()))

    assert (read["fits"], read["kv_tokens"], read["sequences"]) == (True, plan.kv_tokens, plan.sequences(8_192))
    assert read["stages"][0]["layout"]["windows"] == [128, None]
    assert read["saved_share"] == pytest.approx(plan.saved_share, abs=1e-4)
    assert read["concurrency"] == pytest.approx(plan.concurrency(8_192), abs=1e-3)


def test_rows_say_it_in_words_for_a_table() -> None:
    rows = dict(memory_plan(shape_of("Llama-3.1-8B"), "H100", Serving("fp8", tensor_parallel=2, context=8_192)).rows())

    assert rows["served as"] == "fp8, 43 % less than 16 bit"
    assert rows["on"] == "2 × H100"
    assert rows["weights, on each"] == "4.23 GiB"
    assert rows["sequences of 8,192 tokens"] == "127.0"
    assert rows["fits"] == "yes"


def test_rows_leave_out_what_a_cpu_does_not_have() -> None:
    rows = dict(memory_plan(shape_of("Llama-3.1-8B"), Cpu(GIB), Serving(context=131_072)).rows())

    assert "CUDA graphs, on each" not in rows
    assert rows["vLLM may use, on each"] == "not known"
    assert rows["fits"].startswith("no: llama as 16bit needs 16.0 GiB")


SERVING = st.builds(
    Serving,
    quantization=st.sampled_from([None, "fp8", "awq", "nvfp4"]),
    tensor_parallel=st.sampled_from([1, 2, 4, 8, 16]),
    context=st.integers(1, 100_000),
    kv_dtype=st.sampled_from(["auto", "fp8"]),
    utilisation=st.floats(0.1, 1),
    eager=st.booleans(),
)
SMALL_GPUS = st.integers(2 * GIB, 30 * GIB).map(lambda size: Gpu("mine", "blackwell", size, 10**12, 100))


@given(shapes(), SMALL_GPUS, SERVING)
def test_a_model_fits_exactly_where_its_parts_add_up_to_no_more_than_the_memory(
    shape: ModelShape, gpu: Gpu, serving: Serving
) -> None:
    plan = memory_plan(shape, gpu, serving)
    assert plan.usable_bytes is not None

    added_up = all(stage.needed_bytes <= plan.usable_bytes <= gpu.memory_bytes for stage in plan.stages)

    assert plan.fits == added_up == (plan.advice is None)


@given(shapes(), SMALL_GPUS, SERVING, st.integers(1, 50_000))
def test_longer_sequences_are_never_more(shape: ModelShape, gpu: Gpu, serving: Serving, more: int) -> None:
    plan = memory_plan(shape, gpu, serving)
    assert serving.context is not None

    assert plan.concurrency(serving.context + more) <= plan.concurrency(serving.context)


@given(shapes(), SMALL_GPUS, SERVING)
def test_a_cache_never_holds_more_than_it_has_bytes(shape: ModelShape, gpu: Gpu, serving: Serving) -> None:
    plan = memory_plan(shape, gpu, serving)

    for stage in plan.stages:
        assert 0 <= stage.blocks * stage.layout.block_bytes <= stage.kv_bytes


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
def test_a_small_model_fits_on_every_gpu_of_the_table(gpu: Gpu) -> None:
    assert memory_plan(shape_of("Qwen2.5-0.5B"), gpu).fits
