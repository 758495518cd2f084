"""Memory that is neither weights nor KV cache: the largest step, the sampler, CUDA graphs, communication.

vLLM measures the first two at start, with a dummy step of `batched_tokens` tokens and a dummy sampling of
`sequences_max` rows, and gives the cache what is left (`determine_available_memory` in vllm/v1/worker/gpu_worker.py).
The formulae here say what it will measure. Their constants were fitted to 19 measurements of vLLM 0.19 on an H100 that
the llm-d planner published (docs/accuracy/vllm-v0.19.0-accuracy-report.md in llm-d-incubation/llm-d-planner) and give
18 of them back within 5 %; the 19th, a model with images, within 6 %. Measurements of one's own replace them by value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenguard.hardware.shape import ModelShape

__all__ = ["Overheads"]

_MIB = 2**20
_16_BIT = 2


@dataclass(frozen=True, slots=True)
class Overheads:
    """Constants of the formulae, those of vLLM 0.19 on NVIDIA unless measured otherwise.

    Attributes:
        logit_bytes: Per row and vocabulary entry while sampling: 16-bit logits, three float32 arrays and half a byte.
            vLLM 0.11 took 38.2, because it sorted them.
        hidden_copies: Widths of the residual stream per token that live while sampling.
        layer_copies: The same inside a layer.
        fixed_bytes: Buffers of every worker.
        runtime_bytes: Outside PyTorch on a GPU that works alone.
        parallel_bytes: Outside PyTorch with tensor parallelism: NCCL and all-reduce buffers, 2.07 to 2.17 GiB.
        graph_bytes: CUDA graphs: the mean of 49 runs that took 0.51 to 1.85 GiB.
    """

    logit_bytes: float = 14.5
    hidden_copies: float = 1.1
    layer_copies: float = 4.0
    fixed_bytes: int = 36 * _MIB
    runtime_bytes: int = 256 * _MIB
    parallel_bytes: int = 2_150 * _MIB
    graph_bytes: int = 1_065 * _MIB

    def activation_bytes(
        self,
        shape: ModelShape,
        *,
        tensor_parallel: int = 1,
        pipeline_parallel: int = 1,
        sequences_max: int,
        batched_tokens: int,
        last: bool = True,
    ) -> int:
        """The peak of activations on one GPU, in bytes.

        `fixed + max(layer, sampler) + experts + pipeline`, where
        `layer = tokens × 2 × (3 × intermediate ÷ TP + 4 × hidden)`,
        `sampler = 14.5 × sequences × vocabulary + 2.2 × tokens × hidden`, in the last stage only,
        `experts = tokens × experts per token × 2 × (max(I, hidden) + max(2 × I, hidden))` with `I = expert width ÷ TP`
        (the two workspaces of vLLM's Triton experts), and
        `pipeline = 4 × tokens × hidden` where a stage hands vectors to another.

        Args:
            shape: Of the model.
            tensor_parallel: GPUs of a stage.
            pipeline_parallel: Stages.
            sequences_max: vLLM's `--max-num-seqs`.
            batched_tokens: vLLM's `--max-num-batched-tokens`.
            last: The GPU is of the last stage, where tokens are sampled.
        """
        stream = _16_BIT * batched_tokens * shape.hidden
        widest = -(-_widest(shape) // tensor_parallel)
        layer = 3 * _16_BIT * batched_tokens * widest + int(self.layer_copies * stream)
        sampler = int(self.logit_bytes * sequences_max * shape.vocabulary + self.hidden_copies * stream) if last else 0
        pipeline = 2 * stream if pipeline_parallel > 1 else 0
        return self.fixed_bytes + max(layer, sampler) + _workspace(shape, tensor_parallel, batched_tokens) + pipeline

    def runtime(self, tensor_parallel: int) -> int:
        """What CUDA, NCCL and kernels hold outside PyTorch on one GPU, in bytes."""
        return self.parallel_bytes if tensor_parallel > 1 else self.runtime_bytes


def _widest(shape: ModelShape) -> int:
    """Width of the widest plain MLP."""
    experts = shape.experts
    if experts is None or experts.dense_layers:
        return shape.intermediate
    return experts.shared_intermediate


def _workspace(shape: ModelShape, tensor_parallel: int, tokens: int) -> int:
    experts = shape.experts
    # The MXFP4 kernels of gpt-oss work without these buffers, and so it was measured.
    if experts is None or experts.biases:
        return 0
    width = -(-experts.intermediate // tensor_parallel)
    per_token = max(width, shape.hidden) + max(2 * width, shape.hidden)
    return _16_BIT * tokens * experts.per_token * per_token
