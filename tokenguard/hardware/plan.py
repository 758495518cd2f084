"""Does a model fit on a GPU, and how much room is left for sequences? vLLM's own arithmetic, before anything starts.

A worker may use `utilisation × memory`. Weights, the largest step and what CUDA holds are taken off; the rest is the KV
cache, cut into blocks. Each GPU of a replica is reckoned by itself, and the tightest one decides.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tokenguard.errors import BadAmount
from tokenguard.hardware.gpus import GIB, Gpu, find_gpu
from tokenguard.hardware.kv import KvLayout, kv_bytes_per_token, kv_layout
from tokenguard.hardware.quantization import QUANTIZATIONS, Quantization
from tokenguard.hardware.serving import Cpu, Serving, check_parallel, chosen_quantization
from tokenguard.hardware.shape import ModelShape
from tokenguard.hardware.weights import checkpoint_bytes, split_layers, stage_bytes

__all__ = ["MemoryPlan", "StagePlan", "measure"]


@dataclass(frozen=True, slots=True)
class StagePlan:
    """The memory of each GPU of one pipeline stage, in bytes.

    Attributes:
        layers: Decoder layers of the stage.
        weights_bytes: On one GPU.
        activation_bytes: The peak of one step.
        runtime_bytes: CUDA, NCCL and kernels, outside PyTorch.
        graph_bytes: CUDA graphs.
        kv_bytes: What is left for the KV cache; 0 where nothing is.
        kv_needed_bytes: The least the cache must have: one sequence of the whole context; on a CPU all of it.
        blocks: Whole blocks of the cache.
        layout: How the cache lies.
    """

    layers: int
    weights_bytes: int
    activation_bytes: int
    runtime_bytes: int
    graph_bytes: int
    kv_bytes: int
    kv_needed_bytes: int
    blocks: int
    layout: KvLayout

    @property
    def needed_bytes(self) -> int:
        """The least that the GPU must give: everything beside the cache, and the least of the cache."""
        overhead = self.activation_bytes + self.runtime_bytes + self.graph_bytes
        return self.weights_bytes + overhead + self.kv_needed_bytes


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """What a model needs on some GPUs, and what they then hold.

    Attributes:
        family: Of the model.
        machine: Name of the GPU.
        quantization: Name of the format the weights are served in.
        devices: GPUs of one replica.
        context: Longest sequence, in tokens.
        memory_bytes: Of one GPU; None on a CPU of unknown size.
        usable_bytes: Of them, what vLLM may use.
        stages: One per pipeline stage. (pipeline_parallel,)
        weights_bytes: Of the whole model, as a checkpoint.
        weights_16bit_bytes: The same in 16 bit.
        kv_token_bytes: Of one token in the caches of all stages, not counting copies.
        sequences_max: Sequences that vLLM runs at once at most.
        batched_tokens: Tokens of one step.
        advice: What would make it fit; None where it fits.
    """

    family: str
    machine: str
    quantization: str
    devices: int
    context: int
    memory_bytes: int | None
    usable_bytes: int | None
    stages: tuple[StagePlan, ...]
    weights_bytes: int
    weights_16bit_bytes: int
    kv_token_bytes: int
    sequences_max: int
    batched_tokens: int
    advice: str | None = None

    @property
    def fits(self) -> bool:
        """Whether every GPU has room for everything beside the cache and one sequence of the whole context."""
        has_memory = self.usable_bytes is None or all(one.needed_bytes <= self.usable_bytes for one in self.stages)
        return has_memory and self.concurrency(self.context) >= 1

    @property
    def tightest(self) -> StagePlan:
        """The stage whose cache holds the fewest sequences."""
        return min(self.stages, key=lambda one: self._share(one, self.context))

    @property
    def kv_tokens(self) -> int:
        """Tokens that the cache holds in sequences of the whole context, as vLLM logs it (`GPU KV cache size`)."""
        return int(self.concurrency(self.context) * self.context)

    @property
    def saved_share(self) -> float:
        """How much less than 16 bit the weights are, 0..1."""
        return 1 - self.weights_bytes / self.weights_16bit_bytes

    def concurrency(self, context: int) -> float:
        """Sequences of a length that the cache holds at once, as vLLM logs it (`Maximum concurrency`)."""
        if context < 1:
            raise BadAmount(f"context={context}: give a number of tokens, 1 or more.", amount=context)
        return min(self._share(one, context) for one in self.stages)

    def sequences(self, context: int) -> int:
        """Whole sequences of a length that run at once: as many as the cache holds and vLLM admits."""
        return min(int(self.concurrency(context)), self.sequences_max)

    def _share(self, stage: StagePlan, context: int) -> float:
        return stage.blocks / stage.layout.blocks_of(context, self.batched_tokens)

    def json(self) -> dict[str, Any]:
        """The plan as JSON objects: every number above, in bytes and tokens."""
        fields = asdict(self)
        for stage in fields["stages"]:
            stage["layout"]["windows"] = list(stage["layout"]["windows"])
        fields["stages"] = list(fields["stages"])
        derived = {
            "fits": self.fits,
            "kv_tokens": self.kv_tokens,
            "concurrency": round(self.concurrency(self.context), 3),
            "sequences": self.sequences(self.context),
            "saved_share": round(self.saved_share, 4),
        }
        return fields | derived

    def rows(self) -> tuple[tuple[str, str], ...]:
        """The plan as lines of a table: what, and how much, of the tightest GPU."""
        stage = self.tightest
        amounts = (
            ("weights", stage.weights_bytes),
            ("activations, at their peak", stage.activation_bytes),
            ("CUDA, NCCL, kernels", stage.runtime_bytes),
            ("CUDA graphs", stage.graph_bytes),
            ("KV cache", stage.kv_bytes),
        )
        usable = "not known" if self.usable_bytes is None else _gib(self.usable_bytes)
        return (
            ("model", self.family),
            ("served as", f"{self.quantization}, {_percent(self.saved_share)} less than 16 bit"),
            ("on", f"{self.devices} × {self.machine}"),
            *((f"{what}, on each", _gib(amount)) for what, amount in amounts if amount),
            ("vLLM may use, on each", usable),
            ("KV cache holds", f"{self.kv_tokens:,} tokens"),
            (f"sequences of {self.context:,} tokens", f"{self.concurrency(self.context):.1f}"),
            ("fits", "yes" if self.fits else f"no: {self.advice}"),
        )


def measure(shape: ModelShape, machine: str | Gpu | Cpu, serving: Serving) -> MemoryPlan:
    """The plan without advice; `memory_plan` adds it."""
    where = machine if isinstance(machine, Cpu) else find_gpu(machine)
    quantization = chosen_quantization(shape, where, serving)
    check_parallel(shape, serving.tensor_parallel)
    context = serving.context or shape.context_max
    stages = split_layers(shape.layers, serving.pipeline_parallel)
    return MemoryPlan(
        family=shape.family,
        machine=where.name,
        quantization=quantization.name,
        devices=serving.devices,
        context=context,
        memory_bytes=where.memory_bytes,
        usable_bytes=_usable_bytes(where, serving),
        stages=tuple(_stage(shape, where, serving, quantization, layers) for layers in stages),
        weights_bytes=sum(checkpoint_bytes(shape, quantization).values()),
        weights_16bit_bytes=sum(checkpoint_bytes(shape, QUANTIZATIONS["16bit"]).values()),
        kv_token_bytes=kv_bytes_per_token(shape, serving.kv_dtype),
        sequences_max=serving.sequences_on(where),
        batched_tokens=serving.tokens_on(where),
    )


def _usable_bytes(machine: Gpu | Cpu, serving: Serving) -> int | None:
    """What vLLM may use of one GPU. A CPU's cache has its own size, so all of its memory may be used."""
    return machine.memory_bytes if isinstance(machine, Cpu) else int(machine.memory_bytes * serving.utilisation)


def _stage(
    shape: ModelShape, machine: Gpu | Cpu, serving: Serving, quantization: Quantization, layers: range
) -> StagePlan:
    tensor_parallel = serving.tensor_parallel
    layout = kv_layout(
        shape,
        layers,
        kv_dtype=serving.kv_dtype,
        tensor_parallel=tensor_parallel,
        block_tokens=serving.block_on(machine),
    )
    weights = sum(stage_bytes(shape, quantization, layers, tensor_parallel).values())
    activation = serving.overheads.activation_bytes(
        shape,
        tensor_parallel=tensor_parallel,
        pipeline_parallel=serving.pipeline_parallel,
        sequences_max=serving.sequences_on(machine),
        batched_tokens=serving.tokens_on(machine),
        last=layers.stop == shape.layers,
    )
    if isinstance(machine, Cpu):
        runtime = graphs = 0
        budget = needed = machine.kv_space_bytes
    else:
        runtime = serving.overheads.runtime(tensor_parallel)
        graphs = 0 if serving.eager or not serving.graphs_counted else serving.overheads.graph_bytes
        budget = max(0, int(machine.memory_bytes * serving.utilisation) - weights - activation - runtime - graphs)
        needed = layout.bytes_of(serving.context or shape.context_max, serving.tokens_on(machine))
    return StagePlan(
        layers=len(layers),
        weights_bytes=weights,
        activation_bytes=activation,
        runtime_bytes=runtime,
        graph_bytes=graphs,
        kv_bytes=budget,
        kv_needed_bytes=needed,
        blocks=budget // layout.block_bytes,
        layout=layout,
    )


def _gib(amount: int) -> str:
    return f"{amount / GIB:,.2f} GiB"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
