"""How a model is served: vLLM's defaults, and what it would refuse is refused before."""

from __future__ import annotations

from typing import Any

import pytest
from hardware.configs import AWQ
from hardware.shapes import shape_of

from tokenguard.errors import BadAmount, SettingsError
from tokenguard.hardware import QUANTIZATIONS, Cpu, Serving, find_gpu
from tokenguard.hardware.serving import check_parallel, chosen_quantization


@pytest.mark.parametrize(
    ("machine", "sequences", "tokens", "block"),
    [
        (find_gpu("H100"), 1_024, 8_192, 16),
        (find_gpu("A100"), 256, 2_048, 16),
        (find_gpu("L4"), 256, 2_048, 16),
        (Cpu(2**30), 128, 2_048, 128),
    ],
)
def test_what_is_not_said_is_vllms_default_on_that_machine(
    machine: Any, sequences: int, tokens: int, block: int
) -> None:
    serving = Serving()

    assert serving.sequences_on(machine) == sequences
    assert serving.tokens_on(machine) == tokens
    assert serving.block_on(machine) == block


def test_on_cpus_the_defaults_grow_with_the_workers() -> None:
    serving = Serving(tensor_parallel=2, pipeline_parallel=2)

    assert (serving.sequences_on(Cpu(2**30)), serving.tokens_on(Cpu(2**30))) == (512, 8_192)


def test_what_is_said_holds() -> None:
    serving = Serving(sequences_max=3, batched_tokens=4, block_tokens=5, tensor_parallel=2, pipeline_parallel=3)

    assert (serving.sequences_on(find_gpu("L4")), serving.tokens_on(find_gpu("L4"))) == (3, 4)
    assert (serving.sequences_on(Cpu(1)), serving.tokens_on(Cpu(1))) == (3, 4)
    assert serving.block_on(find_gpu("L4")) == serving.block_on(Cpu(1)) == 5
    assert serving.devices == 6


@pytest.mark.parametrize(
    "field", ["tensor_parallel", "pipeline_parallel", "context", "sequences_max", "batched_tokens", "block_tokens"]
)
@pytest.mark.parametrize("amount", [0, -1, 1.5, True, "2"])
def test_a_count_below_one_is_refused(field: str, amount: Any) -> None:
    with pytest.raises(BadAmount, match=f"{field}={amount!r}: give a whole number, 1 or more"):
        Serving(**{field: amount})


@pytest.mark.parametrize("share", [0, -0.1, 1.01, 92, float("nan")])
def test_a_share_of_the_memory_is_above_zero_and_up_to_one(share: float) -> None:
    with pytest.raises(BadAmount, match=r"give a share of the memory above 0 and up to 1, such as 0\.92"):
        Serving(utilisation=share)


def test_weights_are_served_as_stored_unless_said_otherwise() -> None:
    h100, awq = find_gpu("H100"), shape_of("Llama-3.1-8B", quantization_config=AWQ)

    assert chosen_quantization(shape_of("Llama-3.1-8B"), h100, Serving()).name == "16bit"
    assert chosen_quantization(shape_of("Llama-3.1-8B"), h100, Serving("fp8")).name == "fp8"
    assert chosen_quantization(shape_of("Llama-3.1-8B"), h100, Serving(QUANTIZATIONS["gptq"])).name == "gptq"
    assert chosen_quantization(awq, h100, Serving()).name == "awq"
    assert chosen_quantization(awq, h100, Serving("awq_marlin")).name == "awq"


def test_a_quantized_checkpoint_cannot_be_served_in_another_format() -> None:
    awq = shape_of("Llama-3.1-8B", quantization_config=AWQ)

    with pytest.raises(
        SettingsError, match="the checkpoint is stored as awq and cannot be served as fp8: leave quanti"
    ):
        chosen_quantization(awq, find_gpu("H100"), Serving("fp8"))
    with pytest.raises(SettingsError, match="stored as awq and cannot be served as gptq"):
        chosen_quantization(awq, find_gpu("H100"), Serving("gptq"))


def test_fp8_is_one_word_for_every_checkpoint_in_fp8() -> None:
    assert chosen_quantization(shape_of("DeepSeek-V3"), find_gpu("H200"), Serving("fp8")).name == "fp8_block"


@pytest.mark.parametrize(
    ("machine", "name", "others"),
    [
        (find_gpu("T4"), "fp8", "16bit, int8, awq, gptq"),
        (find_gpu("MI300X"), "nvfp4", "16bit, fp8, fp8_block, int8, awq, gptq"),
        (Cpu(2**30), "fp8", "16bit, int8, awq, gptq"),
    ],
)
def test_a_format_without_a_kernel_is_refused_with_those_that_have_one(machine: Any, name: str, others: str) -> None:
    with pytest.raises(SettingsError, match=f"{machine.name} has no kernel for {name}: give one of {others}\\."):
        chosen_quantization(shape_of("Llama-3.1-8B"), machine, Serving(name))


def test_a_format_for_experts_is_refused_where_there_are_none() -> None:
    with pytest.raises(SettingsError, match="mxfp4 quantizes experts only, and llama has none: give nvfp4"):
        chosen_quantization(shape_of("Llama-3.1-8B"), find_gpu("H100"), Serving("mxfp4"))


@pytest.mark.parametrize(
    ("name", "size", "sentence"),
    [
        ("Llama-3.1-8B", 3, "the 32 attention heads of llama: give one of 1, 2, 4, 8, 16, and pipeline_parallel="),
        ("Qwen2.5-7B", 14, "the 4 key/value heads of qwen2: give one of 1, 2, 4, and pipeline_parallel="),
        ("Qwen2.5-7B", 8, "the 28 attention heads of qwen2"),
        ("phi-4", 4, "the 10 key/value heads of phi3: give one of 1, 2, and pipeline_parallel="),
    ],
)
def test_a_number_of_gpus_that_divides_no_heads_is_refused(name: str, size: int, sentence: str) -> None:
    with pytest.raises(SettingsError, match=f"tensor_parallel={size} does not divide {sentence}") as caught:
        check_parallel(shape_of(name), size)

    assert caught.value.facts == {"tensor_parallel": size}


def test_a_width_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(SettingsError, match="tensor_parallel=8 does not divide the MLP width 14340 of llama"):
        check_parallel(shape_of("Llama-3.1-8B", intermediate_size=14_340), 8)


def test_more_gpus_than_key_value_heads_are_fine_where_they_are_a_multiple() -> None:
    check_parallel(shape_of("Llama-3.1-8B"), 16)
    check_parallel(shape_of("DeepSeek-V3"), 16)
    check_parallel(shape_of("Qwen3-30B-A3B"), 8)


def test_a_cache_of_no_or_of_broken_bytes_is_refused() -> None:
    with pytest.raises(BadAmount, match="kv_space_bytes=0: give a whole number, 1 or more"):
        Cpu(0)
    with pytest.raises(BadAmount, match=r"memory_bytes=1\.5: give a whole number, 1 or more"):
        Cpu(2**30, memory_bytes=1.5)  # type: ignore[arg-type]


def test_a_cpu_has_kernels_for_integers_only() -> None:
    cpu = Cpu(2**30)

    assert [cpu.kernel(one) for one in ("16bit", "int8", "int4", "fp8", "nvfp4")] == [
        "native",
        "weights only",
        "weights only",
        "none",
        "none",
    ]
