"""Plans with advice: what would make a model fit, and how the formats compare."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from tokenguard.errors import SettingsError
from tokenguard.hardware.gpus import GIB, Gpu, find_gpu
from tokenguard.hardware.plan import MemoryPlan, measure
from tokenguard.hardware.quantization import QUANTIZATIONS
from tokenguard.hardware.serving import Cpu, Serving

if TYPE_CHECKING:
    from tokenguard.hardware.shape import ModelShape

__all__ = ["QuantizationRow", "memory_plan", "quantization_table"]

_AS_GIVEN: Final = Serving()
_SIZES: Final = (2, 4, 8, 16)
_SHORTEST: Final = 1_024


def memory_plan(shape: ModelShape, machine: str | Gpu | Cpu, serving: Serving = _AS_GIVEN) -> MemoryPlan:
    """What a model needs on some GPUs, whether it fits, and how many sequences they then hold.

    Args:
        shape: Of the model, from `read_shape`.
        machine: A GPU by name or by value, or a `Cpu`.
        serving: How it is served; everything in it has vLLM's default.

    Returns:
        A plan. One that does not fit has a sentence in `advice` that says by how much, and what would fit.

    Raises:
        SettingsError: The GPU or format is not known, heads or layers cannot be divided like that, or the machine has
            no kernel for the format.

    Source: vLLM's sizing of the cache at start, see docs/hardware.md.
    """
    plan = measure(shape, machine, serving)
    return plan if plan.fits else replace(plan, advice=_advice(shape, machine, serving, plan))


def _advice(shape: ModelShape, machine: str | Gpu | Cpu, serving: Serving, plan: MemoryPlan) -> str:
    ways = [
        way
        for way in (
            _other_format(shape, machine, serving),
            _more_gpus(shape, machine, serving),
            _shorter_context(shape, machine, serving, plan),
        )
        if way
    ]
    return f"{_shortage(plan)} {_remedy(ways or _both(shape, machine, serving))}"


def _shortage(plan: MemoryPlan) -> str:
    """What is needed, and of how much."""
    worst = max(plan.stages, key=lambda one: one.needed_bytes)
    if plan.usable_bytes is not None and worst.needed_bytes > plan.usable_bytes:
        needed, room, kind = worst.needed_bytes, plan.usable_bytes, "to use"
    else:
        worst = plan.tightest
        needed, room, kind = worst.layout.bytes_of(plan.context, plan.batched_tokens), worst.kv_bytes, "of KV cache"
    return (
        f"{plan.family} as {plan.quantization} needs {needed / GIB:.1f} GiB for one sequence of {plan.context:,} "
        f"tokens, and each {plan.machine} has {room / GIB:.1f} GiB {kind}."
    )


def _remedy(ways: list[str]) -> str:
    if not ways:
        return "No format, and no number of these GPUs up to 16, would fit it: take a larger GPU or a smaller model."
    return f"It would fit with {', or with '.join(ways)}."


def _both(shape: ModelShape, machine: str | Gpu | Cpu, serving: Serving) -> list[str]:
    """The fewest GPUs that would hold it in another format."""
    for size in _SIZES:
        way = _other_format(shape, machine, replace(serving, tensor_parallel=size))
        if size > serving.tensor_parallel and way:
            return [f"tensor_parallel={size} and {way}"]
    return []


def _other_format(shape: ModelShape, machine: str | Gpu | Cpu, serving: Serving) -> str | None:
    """The format with the most bits that would fit."""
    best: MemoryPlan | None = None
    for name in QUANTIZATIONS:
        plan = _tried(shape, machine, replace(serving, quantization=name))
        if plan and plan.fits and (best is None or plan.weights_bytes > best.weights_bytes):
            best = plan
    return None if best is None else f"quantization={best.quantization!r}"


def _more_gpus(shape: ModelShape, machine: str | Gpu | Cpu, serving: Serving) -> str | None:
    """The smallest tensor parallelism that would fit."""
    for size in _SIZES:
        if size > serving.tensor_parallel:
            plan = _tried(shape, machine, replace(serving, tensor_parallel=size))
            if plan and plan.fits:
                return f"tensor_parallel={size}"
    return None


def _shorter_context(shape: ModelShape, machine: str | Gpu | Cpu, serving: Serving, plan: MemoryPlan) -> str | None:
    """The longest context that would fit, in steps of 1,024 tokens."""
    fitting, failing = 0, -(-plan.context // _SHORTEST)
    while failing - fitting > 1:
        middle = (fitting + failing) // 2
        if measure(shape, machine, replace(serving, context=middle * _SHORTEST)).fits:
            fitting = middle
        else:
            failing = middle
    return f"context={fitting * _SHORTEST}" if fitting else None


def _tried(shape: ModelShape, machine: str | Gpu | Cpu, serving: Serving) -> MemoryPlan | None:
    """A plan; None where it is refused."""
    try:
        return measure(shape, machine, serving)
    except SettingsError:
        return None


@dataclass(frozen=True, slots=True)
class QuantizationRow:
    """One line of the comparison of formats.

    Attributes:
        quantization: Its name.
        kernel: `native`, or `weights only`: unpacked to 16 bit before they are multiplied.
        weights_bytes: Of the whole model.
        saved_share: How much less than 16 bit, 0..1.
        fits: On these GPUs.
        kv_tokens: That the cache then holds.
        sequences: Of the whole context, at once.
    """

    quantization: str
    kernel: str
    weights_bytes: int
    saved_share: float
    fits: bool
    kv_tokens: int
    sequences: int

    def json(self) -> dict[str, Any]:
        """The line as a JSON object."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def quantization_table(
    shape: ModelShape, machine: str | Gpu | Cpu, serving: Serving = _AS_GIVEN
) -> tuple[QuantizationRow, ...]:
    """How the formats compare that this machine has kernels for, everything else being equal.

    Args:
        shape: Of the 16-bit model; of a quantized checkpoint only its own format has a line.
        machine: A GPU by name or by value, or a `Cpu`.
        serving: How it is served; its `quantization` is not looked at.
    """
    where = machine if isinstance(machine, Cpu) else find_gpu(machine)
    found: list[QuantizationRow] = []
    for name, quantization in QUANTIZATIONS.items():
        plan = _tried(shape, where, replace(serving, quantization=name))
        if plan is not None and plan.quantization == name:
            found.append(
                QuantizationRow(
                    quantization=plan.quantization,
                    kernel=where.kernel(quantization.number_format),
                    weights_bytes=plan.weights_bytes,
                    saved_share=plan.saved_share,
                    fits=plan.fits,
                    kv_tokens=plan.kv_tokens,
                    sequences=plan.sequences(plan.context),
                )
            )
    return tuple(found)
