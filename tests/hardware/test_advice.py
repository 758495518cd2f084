"""What a plan says where a model does not fit, and how the formats compare."""

from __future__ import annotations

import json

import pytest
from hardware.configs import AWQ
from hardware.shapes import shape_of, shapes
from hypothesis import given
from hypothesis import strategies as st

from tokenguard.hardware import Cpu, Gpu, ModelShape, Serving, find_gpu, memory_plan, quantization_table

GIB = 2**30


def test_advice_says_what_is_missing_and_every_single_step_that_would_do() -> None:
    plan = memory_plan(shape_of("Llama-3.1-8B"), "L4", Serving(context=131_072))

    assert plan.advice == (
        "llama as 16bit needs 32.7 GiB for one sequence of 131,072 tokens, and each L4 has 20.1 GiB to use. It would "
        "fit with tensor_parallel=2, or with context=27648."
    )


def test_advice_names_the_format_with_the_most_bits_that_fits() -> None:
    plan = memory_plan(shape_of("Llama-3.1-70B"), "H200", Serving(context=131_072))

    assert plan.advice is not None
    assert "It would fit with quantization='fp8', or with tensor_parallel=2." in plan.advice


@pytest.mark.parametrize(
    ("gpu", "changes"),
    [
        ("L4", Serving(tensor_parallel=2)),
        ("L4", Serving(context=27_648)),
    ],
)
def test_what_advice_names_does_fit(gpu: str, changes: Serving) -> None:
    assert memory_plan(shape_of("Llama-3.1-8B"), gpu, changes).fits


def test_the_context_that_advice_names_is_the_longest_of_its_step() -> None:
    shape = shape_of("Llama-3.1-8B")

    assert memory_plan(shape, "L4", Serving(context=27 * 1_024)).fits
    assert not memory_plan(shape, "L4", Serving(context=28 * 1_024)).fits


def test_where_no_single_step_does_advice_names_two() -> None:
    plan = memory_plan(shape_of("Llama-3.1-405B"), "L40S")

    assert plan.advice is not None
    assert plan.advice.endswith("It would fit with tensor_parallel=8 and quantization='nvfp4'.")
    assert memory_plan(shape_of("Llama-3.1-405B"), "L40S", Serving("nvfp4", tensor_parallel=8)).fits


def test_where_nothing_would_do_advice_says_so() -> None:
    plan = memory_plan(shape_of("Llama-3.1-405B"), "T4")

    assert plan.advice is not None
    assert "no number of these GPUs up to 16, would fit it: take a larger GPU or a smaller model" in plan.advice


def test_on_a_cpu_advice_speaks_of_the_cache() -> None:
    plan = memory_plan(shape_of("Llama-3.1-8B"), Cpu(4 * GIB))

    assert plan.advice == (
        "llama as 16bit needs 16.0 GiB for one sequence of 131,072 tokens, and each CPU has 4.0 GiB of KV cache. It "
        "would fit with tensor_parallel=4, or with context=32768."
    )


def test_the_table_has_the_formats_that_the_gpu_can_run() -> None:
    h100 = [row.quantization for row in quantization_table(shape_of("Llama-3.1-70B"), "H100")]
    t4 = [row.quantization for row in quantization_table(shape_of("Llama-3.1-8B"), "T4")]
    mixture = [row.quantization for row in quantization_table(shape_of("Mixtral-8x7B-v0.1"), "H100")]

    assert h100 == ["16bit", "fp8", "fp8_block", "int8", "awq", "gptq", "nvfp4"]
    assert t4 == ["16bit", "int8", "awq", "gptq"]
    assert mixture[-1] == "mxfp4"


def test_the_table_says_how_much_less_than_16_bit_and_what_then_fits() -> None:
    rows = {row.quantization: row for row in quantization_table(shape_of("Llama-3.1-70B"), "H200", Serving())}

    assert (rows["16bit"].fits, rows["16bit"].saved_share, rows["16bit"].sequences) == (False, 0, 0)
    assert (rows["fp8"].fits, rows["fp8"].kernel) == (True, "native")
    assert rows["fp8"].saved_share == pytest.approx(0.485, abs=0.001)
    assert rows["awq"].saved_share == pytest.approx(0.718, abs=0.001)
    assert (rows["awq"].kernel, rows["nvfp4"].kernel) == ("weights only", "weights only")
    assert rows["awq"].kv_tokens > rows["fp8"].kv_tokens > 131_072


def test_the_table_of_a_quantized_checkpoint_has_its_own_format_only() -> None:
    rows = quantization_table(shape_of("Llama-3.1-8B", quantization_config=AWQ), find_gpu("H100"))

    assert [row.quantization for row in rows] == ["awq"]


def test_the_table_of_a_cpu_and_its_json() -> None:
    rows = quantization_table(shape_of("Llama-3.2-1B"), Cpu(4 * GIB), Serving(context=8_192))

    assert json.loads(json.dumps(rows[1].json())) == {
        "quantization": "int8",
        "kernel": "weights only",
        "weights_bytes": rows[1].weights_bytes,
        "saved_share": rows[1].saved_share,
        "fits": True,
        "kv_tokens": 131_072,
        "sequences": 16,
    }


@given(shapes(), st.integers(2 * GIB, 30 * GIB), st.integers(1, 100_000))
def test_no_format_takes_more_than_16_bit(shape: ModelShape, size: int, context: int) -> None:
    gpu = Gpu("mine", "blackwell", size, 10**12, 100)

    rows = quantization_table(shape, gpu, Serving(context=context))

    assert all(0 <= row.saved_share < 0.76 for row in rows)
