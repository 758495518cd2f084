"""What one GPU has: memory, bandwidth, arithmetic, and kernels for low precision.

As of 2026-11. Memory is what a program sees ("total capacity" in PyTorch's messages), rounded down to a tenth of a GiB,
not what stands on the box: one sold with "80 GB" has 79.1 GiB, and vLLM plans with those. Bandwidth and arithmetic are
those of the vendor's data sheet named above each row, dense (without sparsity).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from tokenguard.errors import BadAmount, SettingsError

__all__ = ["GIB", "GPUS", "Architecture", "Gpu", "Kernel", "find_gpu"]

GIB: Final = 2**30

Architecture: TypeAlias = Literal["turing", "ampere", "ada", "hopper", "blackwell", "cdna3"]
Kernel: TypeAlias = Literal["native", "weights only", "none"]

# vLLM's table of supported hardware (docs.vllm.ai, features/quantization): fp8 arithmetic from Ada on, fp4 from
# Blackwell on; Marlin kernels unpack weights to 16 bit on everything from Ampere on, and 4-bit integers from Turing on.
_NATIVE: Final[dict[str, frozenset[str]]] = {
    "turing": frozenset(),
    "ampere": frozenset(),
    "ada": frozenset({"fp8"}),
    "hopper": frozenset({"fp8"}),
    "blackwell": frozenset({"fp8", "nvfp4", "mxfp4"}),
    "cdna3": frozenset({"fp8"}),
}
_WEIGHTS_ONLY: Final[dict[str, frozenset[str]]] = {
    "turing": frozenset({"int4", "int8"}),
    "ampere": frozenset({"int4", "int8", "fp8", "nvfp4", "mxfp4"}),
    "ada": frozenset({"int4", "int8", "nvfp4", "mxfp4"}),
    "hopper": frozenset({"int4", "int8", "nvfp4", "mxfp4"}),
    "blackwell": frozenset({"int4", "int8"}),
    "cdna3": frozenset({"int4", "int8"}),
}


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, from the table or given by value.

    Attributes:
        name: How it is called in plans.
        architecture: Decides which kernels exist.
        memory_bytes: What a program sees, > 0.
        bandwidth: Bytes per second between memory and chip, > 0.
        tflops_16bit: Dense 10¹² operations per second in bf16 (fp16 on Turing), accumulated in fp32.
        tflops_fp8: The same in fp8; None where the chip has no such arithmetic.
    """

    name: str
    architecture: Architecture
    memory_bytes: int
    bandwidth: int
    tflops_16bit: float
    tflops_fp8: float | None = None

    def __post_init__(self) -> None:
        if self.architecture not in _NATIVE:
            raise SettingsError(
                f"architecture {self.architecture!r} of GPU {self.name!r} is not known: give one of "
                f"{', '.join(_NATIVE)}.",
                architecture=self.architecture,
            )
        for field in ("memory_bytes", "bandwidth", "tflops_16bit"):
            amount = getattr(self, field)
            if amount <= 0:
                raise BadAmount(f"{field}={amount} of GPU {self.name!r}: give a number above zero.", amount=amount)

    def kernel(self, number_format: str) -> Kernel:
        """How weights of a format are multiplied: in it, unpacked to 16 bit first, or not at all.

        Args:
            number_format: `16bit`, `fp8`, `int8`, `int4`, `nvfp4` or `mxfp4`.
        """
        if number_format == "16bit" or number_format in _NATIVE[self.architecture]:
            return "native"
        return "weights only" if number_format in _WEIGHTS_ONLY[self.architecture] else "none"


def _gpu(name: str, architecture: Architecture, gib: float, gb_s: int, *tflops: float) -> Gpu:
    """A row in the units of data sheets; TFLOPS in 16 bit, then in fp8 where there are any."""
    return Gpu(name, architecture, int(gib * GIB), gb_s * 10**9, *tflops)


GPUS: Final[tuple[Gpu, ...]] = (
    # NVIDIA H200 data sheet: 141 GB HBM3e at 4.8 TB/s, bf16 1,979 and fp8 3,958 with sparsity, halved here.
    _gpu("H200", "hopper", 139.8, 4_800, 989.5, 1_979),
    # NVIDIA H100 data sheet, SXM5. Memory as vLLM 0.19 logs it: 79.19 GiB.
    _gpu("H100", "hopper", 79.1, 3_350, 989.5, 1_979),
    # NVIDIA H100 data sheet, PCIe: 80 GB HBM2e at 2 TB/s, bf16 1,513 and fp8 3,026 with sparsity.
    _gpu("H100 PCIe", "hopper", 79.1, 2_000, 756, 1_513),
    # NVIDIA H100 NVL data sheet: 94 GB HBM3 at 3.9 TB/s, bf16 1,671 and fp8 3,341 with sparsity.
    _gpu("H100 NVL", "hopper", 93.0, 3_900, 835.5, 1_671),
    # NVIDIA HGX B200: 180 GB HBM3e at 7.7 TB/s, dense bf16 2.25 and fp8 4.5 PFLOPS.
    _gpu("B200", "blackwell", 178.3, 7_700, 2_250, 4_500),
    # NVIDIA RTX PRO 6000 Blackwell Workstation data sheet: 96 GB GDDR7 at 1,792 GB/s; fp8 2 PFLOPS with sparsity.
    _gpu("RTX PRO 6000", "blackwell", 94.9, 1_792, 503.8, 1_007.6),
    # NVIDIA RTX Blackwell architecture white paper: 32 GB GDDR7 at 1,792 GB/s; fp32 accumulation.
    _gpu("RTX 5090", "blackwell", 31.3, 1_792, 209.5, 419),
    # NVIDIA L40S data sheet: 48 GB GDDR6 with ECC at 864 GB/s, dense bf16 362 and fp8 733.
    _gpu("L40S", "ada", 44.3, 864, 362, 733),
    # NVIDIA L40 data sheet: the same memory, dense bf16 181 and fp8 362.
    _gpu("L40", "ada", 44.3, 864, 181, 362),
    # NVIDIA L4 data sheet: 24 GB GDDR6 at 300 GB/s, bf16 242 and fp8 485 with sparsity.
    _gpu("L4", "ada", 21.9, 300, 121, 242),
    # NVIDIA RTX 6000 Ada data sheet: 48 GB GDDR6 at 960 GB/s; fp8 1,457 with sparsity.
    _gpu("RTX 6000 Ada", "ada", 47.4, 960, 364.2, 728.5),
    # NVIDIA Ada architecture white paper: 24 GB GDDR6X at 1,008 GB/s; fp32 accumulation.
    _gpu("RTX 4090", "ada", 23.5, 1_008, 165.2, 330.3),
    # NVIDIA A100 data sheet, SXM4 80 GB: HBM2e at 2,039 GB/s, bf16 312. Memory as PyTorch reports it: 79.15 GiB.
    _gpu("A100", "ampere", 79.1, 2_039, 312),
    # NVIDIA A100 data sheet, SXM4 40 GB: HBM2 at 1,555 GB/s.
    _gpu("A100 40GB", "ampere", 39.3, 1_555, 312),
    # NVIDIA A40 data sheet: 48 GB GDDR6 with ECC at 696 GB/s, dense bf16 149.7.
    _gpu("A40", "ampere", 44.3, 696, 149.7),
    # NVIDIA RTX A6000 data sheet: 48 GB GDDR6 at 768 GB/s, dense bf16 154.8.
    _gpu("RTX A6000", "ampere", 47.4, 768, 154.8),
    # NVIDIA A10 data sheet: 24 GB GDDR6 at 600 GB/s, dense bf16 125.
    _gpu("A10", "ampere", 21.9, 600, 125),
    # NVIDIA A10G data sheet (Amazon EC2 G5): the same memory, dense bf16 70.
    _gpu("A10G", "ampere", 21.9, 600, 70),
    # NVIDIA GA102 architecture white paper: 24 GB GDDR6X at 936 GB/s, dense bf16 71.
    _gpu("RTX 3090", "ampere", 23.6, 936, 71),
    # NVIDIA T4 data sheet: 16 GB GDDR6 at 320 GB/s, fp16 65; no bf16.
    _gpu("T4", "turing", 14.5, 320, 65),
    # AMD Instinct MI300X data sheet: 192 GB HBM3 at 5.3 TB/s, dense bf16 1,307.4 and fp8 2,614.9.
    _gpu("MI300X", "cdna3", 191.6, 5_300, 1_307.4, 2_614.9),
)
"""The table; the first row of a name stands for it where nothing says which of several is meant."""

# Words that tell no two rows apart. A name with `pcie` is looked for with it first, then without.
_NOISE: Final = re.compile(
    r"nvidia|amd|instinct|geforce|tesla|rtx|graphics|generation|ada|blackwell|workstation|server|edition|sxm\d?|oam"
    r"|hbm\d?e?|gddr\d?x?|\d{2,3}gb?"
)
_SIZE: Final = re.compile(r"\b(\d{2,3}) ?gb\b")
_SIZE_SLACK: Final = 0.1


def find_gpu(name: str | Gpu) -> Gpu:
    """The row of the table that a name means: `H100`, `h100-80gb` and `NVIDIA H200 141GB HBM3e` all have one.

    Vendor words, form factors and the kind of memory are read over; where a name has several sizes (A100), the size
    decides, and a size that no such GPU has is an error. A `Gpu` is given back as it is.

    Raises:
        SettingsError: No row has this name and size; the sentence lists those that are there.
    """
    if isinstance(name, Gpu):
        return name
    core = _core(name)
    named = [one for one in GPUS if core and _core(one.name) == core]
    named = named or [one for one in GPUS if core and _core(one.name) == core.replace("pcie", "")]
    sizes = [int(size) for size in _SIZE.findall(name.lower())]
    found = [one for one in named if all(_is_of_size(one, size) for size in sizes)]
    if found:
        return found[0]
    raise SettingsError(
        f"no GPU is called {name!r} here. Known are {', '.join(one.name for one in GPUS)}; for another one give "
        "tokenguard.hardware.Gpu(name=, architecture=, memory_bytes=, bandwidth=, tflops_16bit=).",
        gpu=name,
    )


def _core(name: str) -> str:
    """What tells a GPU from others in its name: lower case, without vendor, form, memory and blanks."""
    words = re.findall(r"[a-z0-9]+", _SIZE.sub(" ", name.lower()))
    return "".join(word for word in words if not _NOISE.fullmatch(word)).removeprefix("rtx")


def _is_of_size(gpu: Gpu, gigabytes: int) -> bool:
    """Whether a size on the box can be this GPU's: boxes round, and mean 10⁹ or 2³⁰ bytes."""
    return abs(gpu.memory_bytes / 10**9 / gigabytes - 1) <= _SIZE_SLACK
