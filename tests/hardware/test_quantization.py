"""Bytes of a matrix in each format, and how checkpoints say in which one they are."""

from __future__ import annotations

from typing import Any

import pytest
from hardware.configs import AWQ
from hardware.shapes import shape_of
from hypothesis import given
from hypothesis import strategies as st

from tokenguard.errors import SettingsError
from tokenguard.hardware import QUANTIZATIONS, Quantization, checkpoint_bytes, find_quantization
from tokenguard.hardware.matrices import Matrix
from tokenguard.hardware.quantization import read_quantization

WIDE = Matrix("mlp", 4_096, 1_024)
NUMBERS = 4_096 * 1_024


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("16bit", 2 * NUMBERS),
        ("fp8", NUMBERS + 1_024 * 4),
        ("fp8_block", NUMBERS + 32 * 8 * 4),
        ("int8", NUMBERS + 1_024 * 4),
        # 32 groups of each output, with a scale of two bytes and a zero point of half a byte.
        ("awq", NUMBERS // 2 + 32 * 1_024 * 5 // 2),
        ("gptq", NUMBERS // 2 + 32 * 1_024 * 5 // 2),
        ("nvfp4", NUMBERS // 2 + 256 * 1_024),
    ],
)
def test_a_matrix_takes_its_weights_its_scales_and_its_zero_points(name: str, size: int) -> None:
    assert QUANTIZATIONS[name].matrix_bytes(WIDE) == size


def test_mxfp4_is_for_experts_only() -> None:
    experts = Matrix("experts", 4_096, 1_024, copies=3)

    assert QUANTIZATIONS["mxfp4"].matrix_bytes(experts) == 3 * (NUMBERS // 2 + 128 * 1_024)
    assert QUANTIZATIONS["mxfp4"].matrix_bytes(WIDE) == 2 * NUMBERS


@pytest.mark.parametrize("part", ["embeddings", "lm_head", "norms", "biases", "router", "vision"])
@pytest.mark.parametrize("name", QUANTIZATIONS)
def test_what_is_no_linear_layer_stays_in_16_bit(name: str, part: Any) -> None:
    assert QUANTIZATIONS[name].matrix_bytes(Matrix(part, 64, 64)) == 2 * 64 * 64


def test_kernels_of_mxfp4_fill_the_inputs_up() -> None:
    mxfp4, experts = QUANTIZATIONS["mxfp4"], Matrix("experts", 2_880, 2_880)

    assert mxfp4.loaded(experts).inputs == 3_072
    assert mxfp4.loaded(WIDE) == WIDE
    assert QUANTIZATIONS["fp8"].loaded(experts) == experts


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("fp8", "fp8"),
        ("FP8", "fp8"),
        ("bf16", "16bit"),
        ("none", "16bit"),
        ("int8_per_channel_weight_only", "int8"),
        ("awq-marlin", "awq"),
        ("gptq_marlin", "gptq"),
        ("modelopt_fp4", "nvfp4"),
    ],
)
def test_formats_are_found_by_vllms_names_as_well(written: str, meant: str) -> None:
    assert find_quantization(written).name == meant


def test_an_unknown_format_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(SettingsError, match="quantization 'int3' is not known: give one of 16bit, fp8, fp8_block"):
        find_quantization("int3")


def _of(**stored: Any) -> Quantization | None:
    return read_quantization({"quantization_config": stored})


def _compressed(**weights: Any) -> Quantization | None:
    return _of(quant_method="compressed-tensors", config_groups={"group_0": {"weights": weights}})


def test_a_checkpoint_without_a_quantization_is_16_bit() -> None:
    assert read_quantization({}) is None
    assert read_quantization({"quantization_config": None}) is None


def test_awq_and_gptq_say_bits_and_group() -> None:
    eight = _of(quant_method="gptq", bits=8, group_size=-1, desc_act=False)

    assert _of(**AWQ) == QUANTIZATIONS["awq"]
    assert eight is not None
    assert (eight.number_format, eight.bits, eight.group, eight.zero_bits) == ("int8", 8, None, 8)


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ({"quant_method": "fp8", "activation_scheme": "dynamic"}, "fp8"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8_block"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8"),
    ],
)
def test_other_methods_are_read_by_their_names(stored: dict[str, Any], name: str) -> None:
    assert _of(**stored) == QUANTIZATIONS[name]


@pytest.mark.parametrize(
    ("weights", "name"),
    [
        ({"num_bits": 8, "type": "float", "strategy": "channel"}, "fp8"),
        ({"num_bits": 8, "type": "float", "strategy": "block"}, "fp8_block"),
        ({"num_bits": 8, "type": "int", "strategy": "channel"}, "int8"),
        ({"num_bits": 4, "type": "float", "group_size": 16}, "nvfp4"),
    ],
)
def test_compressed_tensors_are_read_by_bits_and_type(weights: dict[str, Any], name: str) -> None:
    assert _compressed(**weights) == QUANTIZATIONS[name]


def test_compressed_integers_of_4_bits_say_group_and_symmetry() -> None:
    symmetric = _compressed(num_bits=4, type="int", group_size=64, symmetric=True)
    plain = _compressed(num_bits=4, type="int", group_size=None, symmetric=False)

    assert symmetric is not None
    assert plain is not None
    assert (symmetric.number_format, symmetric.group, symmetric.zero_bits) == ("int4", 64, 0)
    assert (plain.group, plain.zero_bits) == (None, 4)


@pytest.mark.parametrize(
    ("stored", "sentence"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, r"method 'bitsandbytes' \(bits 4\) has no formula"),
        ({"quant_method": "gptq", "bits": 3}, r"method 'gptq' \(bits 3\) has no formula here"),
        ({"quant_method": "modelopt", "quant_algo": "W4A8_AWQ"}, "method 'modelopt'"),
        ({"quant_method": "compressed-tensors", "config_groups": {}}, "compressed-tensors with None bits of type None"),
    ],
)
def test_a_method_without_a_formula_is_refused(stored: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=f"quantization_config: .*{sentence}"):
        _of(**stored)


@pytest.mark.parametrize("size", [0, -2, "128", 1.5])
def test_a_group_that_holds_nothing_is_refused(size: Any) -> None:
    with pytest.raises(SettingsError, match=r"quantization_config\.group_size=.* must be a whole number from 1"):
        _of(**{**AWQ, "group_size": size})


@pytest.mark.parametrize("name", ["Llama-3.1-70B", "Llama-3.1-405B", "Qwen3-32B", "Mixtral-8x7B-v0.1", "Qwen3-30B-A3B"])
def test_large_models_take_half_to_three_quarters_less_than_in_16_bit(name: str) -> None:
    shape = shape_of(name)
    sizes = {one: sum(checkpoint_bytes(shape, format_).values()) for one, format_ in QUANTIZATIONS.items()}

    share = {one: 1 - size / sizes["16bit"] for one, size in sizes.items()}

    assert 0.47 <= share["fp8"] <= 0.5
    assert 0.66 <= share["nvfp4"] < share["awq"] <= 0.75


@given(st.integers(1, 5_000), st.integers(1, 5_000), st.sampled_from(sorted(QUANTIZATIONS)))
def test_a_matrix_never_takes_less_than_its_bits(inputs: int, outputs: int, name: str) -> None:
    quantization = QUANTIZATIONS[name]

    size = quantization.matrix_bytes(Matrix("experts", inputs, outputs))

    assert 8 * size >= quantization.bits * inputs * outputs
