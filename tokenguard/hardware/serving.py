"""How a model is to be served: the part of a vLLM command line that decides about memory, checked against the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tokenguard.errors import BadAmount, SettingsError
from tokenguard.hardware.gpus import GIB, Gpu
from tokenguard.hardware.overheads import Overheads
from tokenguard.hardware.quantization import QUANTIZATIONS, Quantization, find_quantization

if TYPE_CHECKING:
    from tokenguard.hardware.matrices import Part
    from tokenguard.hardware.shape import ModelShape

__all__ = ["Cpu", "Serving", "check_parallel", "chosen_quantization"]

_LARGE_GPU_BYTES: Final = 70 * GIB
_GPU_BLOCK, _CPU_BLOCK = 16, 128
_CPU_FORMATS: Final = frozenset({"16bit", "int8", "int4"})
_EXPERTS_ONLY: Final[frozenset[Part]] = frozenset({"experts"})


@dataclass(frozen=True, slots=True)
class Cpu:
    """A machine whose vLLM runs on its CPU: the cache has a size of its own instead of what is left.

    Attributes:
        kv_space_bytes: Of the cache of each worker; `VLLM_CPU_KVCACHE_SPACE` in GiB, or `--kv-cache-memory-bytes`.
        memory_bytes: Of the machine, or of the NUMA node of a worker; None: not known, and nothing is held against it.
        name: How it is called in plans.
    """

    kv_space_bytes: int
    memory_bytes: int | None = None
    name: str = "CPU"

    def __post_init__(self) -> None:
        _check_counts(self, ("kv_space_bytes", "memory_bytes"))

    def kernel(self, number_format: str) -> str:
        """How weights of a format are multiplied. vLLM has no fp8 and no fp4 kernels for CPUs."""
        if number_format == "16bit":
            return "native"
        return "weights only" if number_format in _CPU_FORMATS else "none"


@dataclass(frozen=True, slots=True)
class Serving:
    """How a model is served. What is None is what vLLM would choose.

    Attributes:
        quantization: A name, or a `Quantization` of one's own; None: as the checkpoint is stored.
        tensor_parallel: GPUs that share each matrix, >= 1.
        pipeline_parallel: Stages of layers, >= 1.
        context: Longest sequence in tokens (`--max-model-len`); None: what the model was made for.
        kv_dtype: `--kv-cache-dtype`: `auto` (16 bit) or `fp8`.
        utilisation: Share of the GPU's memory that vLLM may use. Its default is 0.92 since it counts CUDA graphs, and
            was 0.9 before.
        sequences_max: `--max-num-seqs`; None: 1,024 on GPUs from 70 GiB on except A100, else 256; 128 for each worker
            on CPUs.
        batched_tokens: `--max-num-batched-tokens`; None: 8,192 on the same GPUs, else 2,048; 2,048 for each worker on
            CPUs.
        block_tokens: `--block-size`; None: 16 on GPUs, 128 on CPUs.
        eager: `--enforce-eager`: no CUDA graphs.
        graphs_counted: vLLM takes CUDA graphs off before it sizes the cache
            (`VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS=1`). Where it does not, as up to 0.19, the cache is larger
            and the graphs have to find room in what `utilisation` leaves free.
        overheads: Constants of what is neither weights nor cache.
    """

    quantization: str | Quantization | None = None
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    context: int | None = None
    kv_dtype: str = "auto"
    utilisation: float = 0.92
    sequences_max: int | None = None
    batched_tokens: int | None = None
    block_tokens: int | None = None
    eager: bool = False
    graphs_counted: bool = True
    overheads: Overheads = field(default_factory=Overheads)

    def __post_init__(self) -> None:
        _check_counts(self, ("tensor_parallel", "pipeline_parallel", "context"))
        _check_counts(self, ("sequences_max", "batched_tokens", "block_tokens"))
        if not 0 < self.utilisation <= 1:
            raise BadAmount(
                f"utilisation={self.utilisation}: give a share of the memory above 0 and up to 1, such as 0.92.",
                amount=self.utilisation,
            )

    @property
    def devices(self) -> int:
        """GPUs, or workers on CPUs, of one replica."""
        return self.tensor_parallel * self.pipeline_parallel

    def sequences_on(self, machine: Gpu | Cpu) -> int:
        """`sequences_max`, or what vLLM's server has by default on this machine (`EngineArgs.get_batch_defaults`)."""
        if isinstance(machine, Cpu):
            return self.sequences_max or 128 * self.devices
        return self.sequences_max or (1_024 if _is_large(machine) else 256)

    def tokens_on(self, machine: Gpu | Cpu) -> int:
        """`batched_tokens`, or what vLLM's server has by default on this machine."""
        if isinstance(machine, Cpu):
            return self.batched_tokens or 2_048 * self.devices
        return self.batched_tokens or (8_192 if _is_large(machine) else 2_048)

    def block_on(self, machine: Gpu | Cpu) -> int:
        """`block_tokens`, or vLLM's default for this machine."""
        return self.block_tokens or (_CPU_BLOCK if isinstance(machine, Cpu) else _GPU_BLOCK)


def _check_counts(owner: Cpu | Serving, names: tuple[str, ...]) -> None:
    for name in names:
        amount = getattr(owner, name)
        if amount is not None and (isinstance(amount, bool) or not isinstance(amount, int) or amount < 1):
            raise BadAmount(f"{name}={amount!r}: give a whole number, 1 or more.", amount=repr(amount))


def _is_large(gpu: Gpu) -> bool:
    return gpu.memory_bytes >= _LARGE_GPU_BYTES and "a100" not in gpu.name.lower()


def chosen_quantization(shape: ModelShape, machine: Gpu | Cpu, serving: Serving) -> Quantization:
    """The format of the weights as they will be served.

    Raises:
        SettingsError: The checkpoint is in another format already, the machine has no kernel for this one, or there is
            nothing in the model that it could quantize.
    """
    asked = serving.quantization
    chosen = find_quantization(asked) if isinstance(asked, str) else asked
    stored = shape.stored
    if stored is not None and chosen is not None and chosen.name not in _same_as(stored.name):
        raise SettingsError(
            f"the checkpoint is stored as {stored.name} and cannot be served as {chosen.name}: leave quantization= "
            "out, or take the config.json of the 16-bit checkpoint.",
            stored=stored.name,
            quantization=chosen.name,
        )
    chosen = stored or chosen or QUANTIZATIONS["16bit"]
    if machine.kernel(chosen.number_format) == "none":
        others = ", ".join(one.name for one in QUANTIZATIONS.values() if machine.kernel(one.number_format) != "none")
        raise SettingsError(
            f"{machine.name} has no kernel for {chosen.name}: give one of {others}.", quantization=chosen.name
        )
    if shape.experts is None and chosen.parts == _EXPERTS_ONLY:
        raise SettingsError(
            f"{chosen.name} quantizes experts only, and {shape.family} has none: give nvfp4, or awq or gptq.",
            quantization=chosen.name,
        )
    return chosen


def _same_as(stored: str) -> frozenset[str]:
    """Names under which vLLM serves a stored format: it has one word for all of fp8."""
    return frozenset({"fp8", "fp8_block"} if stored.startswith("fp8") else {stored})


def check_parallel(shape: ModelShape, tensor_parallel: int) -> None:
    """Refuse a tensor parallelism that vLLM would refuse.

    Raises:
        SettingsError: Heads or a width cannot be divided; the sentence names sizes that can.
    """
    fitting = [size for size in (1, 2, 4, 8, 16) if not _indivisible(shape, size)]
    wrong = _indivisible(shape, tensor_parallel)
    if wrong:
        raise SettingsError(
            f"tensor_parallel={tensor_parallel} does not divide the {wrong} of {shape.family}: give one of "
            f"{', '.join(map(str, fitting))}, and pipeline_parallel= for more GPUs.",
            tensor_parallel=tensor_parallel,
        )


def _indivisible(shape: ModelShape, size: int) -> str | None:
    """What cannot be divided by a number of GPUs; None where all can."""
    if shape.heads % size:
        return f"{shape.heads} attention heads"
    if shape.latent is None and shape.kv_heads % size and size % shape.kv_heads:
        return f"{shape.kv_heads} key/value heads"
    experts = shape.experts
    if (experts is None or experts.dense_layers) and shape.intermediate % size:
        return f"MLP width {shape.intermediate}"
    # Widths of experts are filled up by the kernels where they do not divide.
    return None
