"""Parameters and bytes against published figures, and what holds for every shape and every cut."""

from __future__ import annotations

import pytest
from hardware.configs import AWQ
from hardware.shapes import shape_of, shapes
from hypothesis import given
from hypothesis import strategies as st

from tokenguard.errors import SettingsError
from tokenguard.hardware import (
    QUANTIZATIONS,
    ModelShape,
    checkpoint_bytes,
    count_parameters,
    split_layers,
    stage_bytes,
)

GIB = 2**30

# The number of parameters that the Hugging Face hub shows for a repository, from its safetensors headers; where the
# checkpoint has the tied output layer twice, once; of DeepSeek-V3 without the module that predicts further tokens.
EXACT = {
    "Llama-3.2-1B": 1_235_814_400,
    "Llama-3.1-8B": 8_030_261_248,
    "Llama-3.1-70B": 70_553_706_496,
    "Llama-3.1-405B": 405_853_388_800,
    "Qwen2.5-0.5B": 494_032_768,
    "Qwen2.5-7B": 7_615_616_512,
    "Qwen3-8B": 8_190_735_360,
    "Qwen3-32B": 32_762_123_264,
    "Qwen3-30B-A3B": 30_532_122_624,
    "Mistral-7B-v0.1": 7_241_732_096,
    "Mixtral-8x7B-v0.1": 46_702_792_704,
    "gemma-2-2b": 2_614_341_888,
    "gemma-2-9b": 9_241_705_984,
    "gemma-2-27b": 27_227_128_320,
    "Phi-3-mini-4k-instruct": 3_821_079_552,
    "phi-4": 14_659_507_200,
    "DeepSeek-V2-Lite": 15_706_484_224,
    "DeepSeek-V3": 671_026_419_200,
}


@pytest.mark.parametrize(("name", "parameters"), EXACT.items())
def test_parameters_are_counted_to_the_last_one(name: str, parameters: int) -> None:
    assert count_parameters(shape_of(name)).total == parameters


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        # DeepSeek-V3 Technical Report (arXiv 2412.19437), abstract.
        ("DeepSeek-V3", 671),
        # gpt-oss model card (OpenAI, 2025-08), table 1.
        ("gpt-oss-120b", 116.83),
        ("gpt-oss-20b", 20.91),
        # Gemma 3 Technical Report (arXiv 2503.19786), table 1: vision 417 M + embedding + the rest.
        ("gemma-3-27b-it", 0.417 + 1.416 + 25.6),
        ("gemma-3-4b-it", 0.417 + 0.675 + 3.209),
        # Code Llama (arXiv 2308.12950): 7B; 6.74 on the hub.
        ("CodeLlama-7b-hf", 6.74),
        # Model card of Mistral Small 3.1: 24 billion.
        ("Mistral-Small-3.1-24B-Instruct-2503", 24.0),
    ],
)
def test_parameters_are_those_of_the_report(name: str, billions: float) -> None:
    assert count_parameters(shape_of(name)).total / 1e9 == pytest.approx(billions, rel=0.005)


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        # Model card of Qwen3-30B-A3B: 3.3 B activated. Mixtral of Experts (arXiv 2401.04088): 12.9 B.
        ("Qwen3-30B-A3B", 3.3),
        ("Mixtral-8x7B-v0.1", 12.9),
        # DeepSeek-V3 Technical Report: 37 B.
        ("DeepSeek-V3", 37),
    ],
)
def test_active_parameters_are_those_that_one_token_meets(name: str, billions: float) -> None:
    assert count_parameters(shape_of(name)).active / 1e9 == pytest.approx(billions, rel=0.02)


# gpt-oss model card, table 1, which leaves the embedding table out of the active ones; DeepSeek-V2 (arXiv 2405.04434,
# appendix B) says 2.4 B of V2-Lite in the same way.
@pytest.mark.parametrize(
    ("name", "billions"), [("gpt-oss-120b", 5.13), ("gpt-oss-20b", 3.61), ("DeepSeek-V2-Lite", 2.4)]
)
def test_multiplied_parameters_leave_the_looked_up_table_out(name: str, billions: float) -> None:
    assert count_parameters(shape_of(name)).multiplied / 1e9 == pytest.approx(billions, rel=0.03)


def test_parameters_of_each_part_are_those_of_the_report() -> None:
    # gpt-oss model card, table 1: MLP 114.71 B, attention 0.96 B, embedding and unembedding 1.16 B.
    parts = count_parameters(shape_of("gpt-oss-120b")).parts

    assert parts["experts"] / 1e9 == pytest.approx(114.71, rel=0.005)
    assert parts["attention"] / 1e9 == pytest.approx(0.96, rel=0.01)
    assert (parts["embeddings"] + parts["lm_head"]) / 1e9 == pytest.approx(1.16, rel=0.005)


def test_embeddings_are_those_of_the_report() -> None:
    # Gemma 2 (arXiv 2408.00118), table 1: 590, 918 and 1,180 million; Gemma 3: 417 million for the image encoder.
    found = {name: count_parameters(shape_of(f"gemma-{name}")).parts for name in ("2-2b", "2-9b", "2-27b", "3-27b-it")}

    assert found["2-2b"]["embeddings"] / 1e6 == pytest.approx(590, abs=1)
    assert found["2-9b"]["embeddings"] / 1e6 == pytest.approx(918, abs=1)
    assert found["2-27b"]["embeddings"] / 1e6 == pytest.approx(1_180, abs=1)
    assert found["3-27b-it"]["vision"] / 1e6 == pytest.approx(417, rel=0.02)
    assert "lm_head" not in found["2-2b"]


def test_every_bias_counts() -> None:
    plain, biased = shape_of("Llama-3.1-8B"), shape_of("Llama-3.1-8B", attention_bias=True, mlp_bias=True)
    per_layer = (4_096 + 2 * 1_024) + 4_096 + 2 * 14_336 + 4_096

    more = count_parameters(biased).total - count_parameters(plain).total

    assert more == 32 * per_layer == count_parameters(biased).parts["biases"]


@pytest.mark.parametrize(
    ("name", "stored", "gigabytes"),
    [
        # File lists on the hub: thesven/Meta-Llama-3.1-8B-Instruct-AWQ, 4.68 + 1.05 GB, and
        # hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4, 4.97 + 6 × 4.89 + 3.36 + 2.10 GB.
        ("Llama-3.1-8B", AWQ, 5.73),
        ("Llama-3.1-70B", AWQ, 39.77),
    ],
)
def test_a_quantized_checkpoint_is_as_large_as_its_files(name: str, stored: object, gigabytes: float) -> None:
    shape = shape_of(name, quantization_config=stored)

    assert shape.stored is not None
    assert sum(checkpoint_bytes(shape, shape.stored).values()) / 1e9 == pytest.approx(gigabytes, rel=0.005)


@pytest.mark.parametrize(("name", "gib"), [("gpt-oss-120b", 60.8), ("gpt-oss-20b", 12.8)])
def test_the_checkpoints_of_gpt_oss_are_as_large_as_their_card_says(name: str, gib: float) -> None:
    # gpt-oss model card, table 1: checkpoint size.
    assert sum(checkpoint_bytes(shape_of(name), QUANTIZATIONS["mxfp4"]).values()) / GIB == pytest.approx(gib, rel=0.005)


# What vLLM logs as "Model loading took". vLLM 0.11 (FP8 of Llama-3.3-70B, whose shape is that of 3.1; gpt-oss; Qwen3)
# from llm-d/llm-d-benchmark, config_explorer/empirical-vllm-memory-results.md; vLLM 0.19 (the others) from
# llm-d-incubation/llm-d-planner, docs/accuracy/vllm-v0.19.0-accuracy-report.md.
LOADED = [
    ("Llama-3.1-70B", "fp8", 1, 67.72),
    ("Llama-3.1-70B", "fp8", 2, 33.88),
    ("gpt-oss-20b", "mxfp4", 1, 13.47),
    ("gpt-oss-120b", "mxfp4", 1, 64.38),
    ("Qwen3-0.6B", "16bit", 1, 1.12),
    ("Qwen3-32B", "16bit", 1, 61.03),
    ("Qwen3-32B", "16bit", 2, 30.59),
    ("Mistral-Small-3.1-24B-Instruct-2503", "16bit", 1, 44.76),
    ("Llama-3.1-8B", "fp8", 1, 8.49),
    ("Llama-3.1-8B", "16bit", 1, 14.99),
    ("Llama-3.1-8B", "16bit", 2, 7.51),
    ("Llama-3.1-8B", "16bit", 4, 3.77),
    ("Qwen2.5-7B", "16bit", 1, 14.25),
    ("Qwen2.5-7B", "16bit", 2, 7.12),
    ("Qwen2.5-7B", "16bit", 4, 3.55),
]


@pytest.mark.parametrize(("name", "quantization", "tensor_parallel", "gib"), LOADED)
def test_weights_on_a_gpu_are_what_vllm_loads(name: str, quantization: str, tensor_parallel: int, gib: float) -> None:
    shape = shape_of(name)

    found = stage_bytes(shape, QUANTIZATIONS[quantization], range(shape.layers), tensor_parallel)

    assert sum(found.values()) / GIB == pytest.approx(gib, rel=0.01)


# The same report: the larger of the stages of a pipeline.
@pytest.mark.parametrize(
    ("name", "pipeline_parallel", "gib"), [("Llama-3.1-8B", 2, 7.51), ("Llama-3.1-8B", 4, 4.26), ("Qwen3-8B", 3, 5.48)]
)
def test_weights_of_a_pipeline_stage_are_what_vllm_loads(name: str, pipeline_parallel: int, gib: float) -> None:
    shape = shape_of(name)
    stages = split_layers(shape.layers, pipeline_parallel)

    found = [sum(stage_bytes(shape, QUANTIZATIONS["16bit"], layers).values()) for layers in stages]

    assert max(found) / GIB == pytest.approx(gib, rel=0.01)


def test_layers_that_are_left_over_go_to_the_stages_before_the_last() -> None:
    assert [len(layers) for layers in split_layers(32, 4)] == [8, 8, 8, 8]
    assert [len(layers) for layers in split_layers(61, 4)] == [15, 15, 16, 15]
    assert [len(layers) for layers in split_layers(62, 4)] == [15, 16, 16, 15]
    assert [len(layers) for layers in split_layers(63, 4)] == [16, 16, 16, 15]


def test_more_stages_than_layers_are_refused() -> None:
    with pytest.raises(SettingsError, match="pipeline_parallel=33 needs a layer for each stage, and the model has 32"):
        split_layers(32, 33)


def test_norms_and_routers_are_on_every_gpu_and_matrices_are_cut() -> None:
    shape, bf16 = shape_of("Mixtral-8x7B-v0.1"), QUANTIZATIONS["16bit"]
    whole, half = (stage_bytes(shape, bf16, range(32), size) for size in (1, 2))

    assert half["norms"] == whole["norms"]
    assert half["router"] == whole["router"]
    assert 2 * half["experts"] == whole["experts"]
    assert 2 * half["attention"] == whole["attention"]


def test_key_value_heads_are_copied_where_there_are_more_gpus_than_heads() -> None:
    shape, bf16 = shape_of("Qwen2.5-0.5B"), QUANTIZATIONS["16bit"]
    query, key = 896 * 896, 896 * 128

    # Two key/value heads of 64: from two GPUs on each has one.
    seven = stage_bytes(shape, bf16, range(1), 7)["attention"]

    assert seven == 2 * (2 * query // 7 + 2 * key // 2)


def test_the_embeddings_are_in_the_first_stage_and_the_output_layer_in_the_last() -> None:
    shape, bf16 = shape_of("Llama-3.1-8B"), QUANTIZATIONS["16bit"]
    first, middle, last = (stage_bytes(shape, bf16, layers) for layers in (range(8), range(8, 24), range(24, 32)))

    assert "embeddings" in first
    assert "lm_head" not in first
    assert {"embeddings", "lm_head"}.isdisjoint(middle)
    assert "lm_head" in last


def test_a_tied_table_is_in_both_ends_of_a_pipeline_and_once_without_one() -> None:
    shape, bf16 = shape_of("Llama-3.2-1B"), QUANTIZATIONS["16bit"]
    table = 2 * 128_256 * 2_048

    assert stage_bytes(shape, bf16, range(16))["embeddings"] == table
    assert stage_bytes(shape, bf16, range(8))["embeddings"] == table
    assert stage_bytes(shape, bf16, range(8, 16))["embeddings"] == table


@given(shapes(), st.sampled_from(sorted(QUANTIZATIONS)), st.sampled_from([1, 2, 4, 8, 16]), st.integers(1, 12))
def test_what_all_gpus_hold_together_is_never_less_than_the_model(
    shape: ModelShape, name: str, tensor_parallel: int, stages: int
) -> None:
    quantization = QUANTIZATIONS[name]
    parts = split_layers(shape.layers, min(stages, shape.layers))

    held = sum(tensor_parallel * sum(stage_bytes(shape, quantization, one, tensor_parallel).values()) for one in parts)

    assert held >= sum(checkpoint_bytes(shape, quantization).values())


@given(shapes(), st.sampled_from([1, 2, 4, 8]))
def test_more_gpus_never_hold_more_each(shape: ModelShape, tensor_parallel: int) -> None:
    bf16, layers = QUANTIZATIONS["16bit"], range(shape.layers)
    fewer = stage_bytes(shape, bf16, layers, tensor_parallel)
    more = stage_bytes(shape, bf16, layers, 2 * tensor_parallel)

    assert sum(more.values()) <= sum(fewer.values())


@given(shapes())
def test_parts_add_up_and_nothing_active_is_not_there(shape: ModelShape) -> None:
    found = count_parameters(shape)

    assert sum(found.parts.values()) == found.total >= found.active >= found.multiplied > 0
    assert sum(checkpoint_bytes(shape, QUANTIZATIONS["16bit"]).values()) == 2 * found.total
