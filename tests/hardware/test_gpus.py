"""GPUs by the names that people and drivers use."""

from __future__ import annotations

import pytest

from tokenguard.errors import BadAmount, SettingsError
from tokenguard.hardware import GPUS, Gpu, find_gpu


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("H100", "H100"),
        ("h100-80gb", "H100"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H100 NVL", "H100 NVL"),
        ("NVIDIA H200 141GB HBM3e", "H200"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A100-SXM4-40GB", "A100 40GB"),
        ("NVIDIA A100-PCIE-40GB", "A100 40GB"),
        ("a100 40 GB", "A100 40GB"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("4090", "RTX 4090"),
        ("rtx4090", "RTX 4090"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "RTX PRO 6000"),
        ("NVIDIA RTX A6000", "RTX A6000"),
        ("Tesla T4", "T4"),
        ("l40s", "L40S"),
        ("NVIDIA L40", "L40"),
        ("B200", "B200"),
        ("AMD Instinct MI300X OAM", "MI300X"),
    ],
)
def test_a_gpu_is_found_by_the_names_that_people_and_drivers_use(written: str, meant: str) -> None:
    assert find_gpu(written).name == meant


@pytest.mark.parametrize("row", GPUS, ids=lambda row: row.name)
def test_every_row_is_found_by_its_own_name(row: Gpu) -> None:
    assert find_gpu(row.name) is row


@pytest.mark.parametrize("name", ["H300", "A100 120GB", "", "NVIDIA", "80GB"])
def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(SettingsError, match=r"no GPU is called .* Known are H200, H100, .*Gpu\(name=") as caught:
        find_gpu(name)

    assert caught.value.facts["gpu"] == name


def test_a_gpu_by_value_is_taken_as_it_is() -> None:
    own = Gpu("in the cellar", "ampere", memory_bytes=10 * 2**30, bandwidth=10**11, tflops_16bit=20)

    assert find_gpu(own) is own


@pytest.mark.parametrize("field", ["memory_bytes", "bandwidth", "tflops_16bit"])
def test_a_gpu_without_memory_speed_or_arithmetic_is_refused(field: str) -> None:
    fields = {"memory_bytes": 2**30, "bandwidth": 10**11, "tflops_16bit": 20, field: 0}

    with pytest.raises(BadAmount, match=f"{field}=0 of GPU 'mine': give a number above zero"):
        Gpu("mine", "ada", **fields)


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(SettingsError, match="architecture 'volta' of GPU 'V100' is not known: give one of turing"):
        Gpu("V100", "volta", 2**30, 10**11, 20)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("gpu", "number_format", "kernel"),
    [
        ("A100", "fp8", "weights only"),
        ("L4", "fp8", "native"),
        ("H100", "fp8", "native"),
        ("H100", "nvfp4", "weights only"),
        ("B200", "nvfp4", "native"),
        ("H100", "int4", "weights only"),
        ("T4", "fp8", "none"),
        ("T4", "16bit", "native"),
        ("MI300X", "nvfp4", "none"),
    ],
)
def test_low_precision_is_native_from_the_generation_on_that_has_it(gpu: str, number_format: str, kernel: str) -> None:
    assert find_gpu(gpu).kernel(number_format) == kernel


# nvidia-smi and the drivers report less than the box says and more than CUDA hands out: all three lie within 10 %.
@pytest.mark.parametrize(
    ("gpu", "sold_gb"),
    [("H200", 141), ("H100", 80), ("H100 NVL", 94), ("A100", 80), ("A100 40GB", 40), ("L40S", 48), ("L4", 24)],
)
def test_usable_memory_is_close_to_what_the_box_says(gpu: str, sold_gb: int) -> None:
    assert find_gpu(gpu).memory_bytes / 10**9 == pytest.approx(sold_gb, rel=0.1)


def test_memory_is_what_programs_measured() -> None:
    # llm-d-incubation/llm-d-planner, docs/accuracy/vllm-v0.19.0-accuracy-report.md: 79.19 GiB.
    assert find_gpu("H100").memory_bytes / 2**30 == pytest.approx(79.19, abs=0.1)
    # LLMServingSim, bench/examples/RTX4090/Llama-3.1-8B/meta.json: torch's total_memory.
    assert find_gpu("RTX 4090").memory_bytes == pytest.approx(25_250_627_584, rel=0.002)
