"""The weights of a model as a list of matrices, each with the way tensor parallelism cuts it.

Parameter counts, bytes under any quantization and bytes per GPU all follow from this one list, so they cannot disagree.
How each is cut follows vLLM's layers: column parallel (outputs), row parallel (inputs) or replicated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from tokenguard.hardware.shape import Experts, LatentAttention, ModelShape

__all__ = ["PARTS", "Matrix", "Part", "embedding", "final_norm", "layer_matrices", "output_layer", "vision"]

Part: TypeAlias = Literal[
    "embeddings",
    "attention",
    "mlp",
    "experts",
    "shared_experts",
    "router",
    "norms",
    "biases",
    "lm_head",
    "vision",
]
PARTS: Final[tuple[Part, ...]] = (
    "embeddings",
    "attention",
    "mlp",
    "experts",
    "shared_experts",
    "router",
    "norms",
    "biases",
    "lm_head",
    "vision",
)
VOCABULARY_MULTIPLE: Final = 64
"""vLLM pads the vocabulary to this before it cuts it (`VocabParallelEmbedding`)."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """One weight, or several alike.

    Attributes:
        part: What it belongs to.
        inputs: Width of what it is multiplied with; 1 for vectors.
        outputs: Width of the product.
        split: Along which side tensor parallelism cuts it; `whole`: every GPU has all of it.
        units: Pieces along that side that are not cut further, such as heads; None: single rows.
        multiple: The side is padded to a multiple of this on the GPU, though not in the checkpoint.
        copies: How many there are.
        routed: Each token is sent to some of the copies only.
    """

    part: Part
    inputs: int
    outputs: int
    split: Literal["whole", "inputs", "outputs"] = "whole"
    units: int | None = None
    multiple: int = 1
    copies: int = 1
    routed: bool = False

    @property
    def parameters(self) -> int:
        """Numbers in it, all copies together."""
        return self.inputs * self.outputs * self.copies

    def on_one_of(self, tensor_parallel: int) -> Matrix:
        """The piece that one GPU of a group holds. With fewer units than GPUs each still has one (KV heads)."""
        if self.split == "whole":
            return self
        side = self.inputs if self.split == "inputs" else self.outputs
        padded = -(-side // self.multiple) * self.multiple
        units = self.units or padded
        share = -(-units // tensor_parallel) * (padded // units)
        if self.split == "inputs":
            return replace(self, inputs=share, units=None, multiple=1)
        return replace(self, outputs=share, units=None, multiple=1)


def embedding(shape: ModelShape) -> Matrix:
    """The table that turns tokens into vectors."""
    return Matrix("embeddings", shape.hidden, shape.vocabulary, "outputs", multiple=VOCABULARY_MULTIPLE)


def output_layer(shape: ModelShape) -> Matrix:
    """The matrix that turns vectors into logits, as a weight of its own."""
    return replace(embedding(shape), part="lm_head")


def final_norm(shape: ModelShape) -> Matrix:
    """The norm before the output layer."""
    return Matrix("norms", 1, shape.hidden)


def vision(shape: ModelShape) -> Matrix:
    """The image encoder, as one lump that is cut evenly."""
    return Matrix("vision", 1, shape.vision_parameters, "outputs")


@lru_cache(maxsize=256)
def layer_matrices(shape: ModelShape, *, sparse: bool) -> tuple[Matrix, ...]:
    """All weights of one decoder layer, with a plain MLP or with experts."""
    attention = _grouped(shape) if shape.latent is None else _latent(shape, shape.latent)
    mlp = _experts(shape, shape.experts) if sparse and shape.experts else _gated(shape)
    return (*attention, *mlp, Matrix("norms", 1, shape.hidden, copies=shape.norms_per_layer))


def _grouped(shape: ModelShape) -> list[Matrix]:
    query, key = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    found = [
        Matrix("attention", shape.hidden, query, "outputs", shape.heads),
        Matrix("attention", shape.hidden, key, "outputs", shape.kv_heads, copies=2),
        Matrix("attention", query, shape.hidden, "inputs", shape.heads),
    ]
    if shape.qkv_bias:
        found.append(Matrix("biases", 1, query, "outputs", shape.heads))
        found.append(Matrix("biases", 1, key, "outputs", shape.kv_heads, copies=2))
    if shape.output_bias:
        found.append(Matrix("biases", 1, shape.hidden))
    if shape.qk_norm:
        found.append(Matrix("norms", 1, shape.head_size, copies=2))
    if shape.sinks:
        found.append(Matrix("biases", 1, shape.heads, "outputs"))
    return found


def _latent(shape: ModelShape, latent: LatentAttention) -> list[Matrix]:
    """Down projections are replicated, up projections are cut by heads (vLLM's `DeepseekV2MLAAttention`)."""
    heads, query = shape.heads, shape.heads * (latent.plain_size + latent.rope_size)
    found = [
        Matrix("attention", shape.hidden, latent.kv_rank + latent.rope_size),
        Matrix("norms", 1, latent.kv_rank),
        Matrix("attention", latent.kv_rank, heads * (latent.plain_size + latent.value_size), "outputs", heads),
        Matrix("attention", heads * latent.value_size, shape.hidden, "inputs", heads),
    ]
    if latent.query_rank is None:
        return [*found, Matrix("attention", shape.hidden, query, "outputs", heads)]
    return [
        *found,
        Matrix("attention", shape.hidden, latent.query_rank),
        Matrix("norms", 1, latent.query_rank),
        Matrix("attention", latent.query_rank, query, "outputs", heads),
    ]


def _gated(shape: ModelShape) -> list[Matrix]:
    found = [
        Matrix("mlp", shape.hidden, shape.intermediate, "outputs", copies=2),
        Matrix("mlp", shape.intermediate, shape.hidden, "inputs"),
    ]
    if shape.mlp_bias:
        found.append(Matrix("biases", 1, shape.intermediate, "outputs", copies=2))
        found.append(Matrix("biases", 1, shape.hidden))
    return found


def _experts(shape: ModelShape, experts: Experts) -> list[Matrix]:
    found = [
        Matrix("router", shape.hidden, experts.count),
        Matrix("experts", shape.hidden, experts.intermediate, "outputs", copies=2 * experts.count, routed=True),
        Matrix("experts", experts.intermediate, shape.hidden, "inputs", copies=experts.count, routed=True),
    ]
    if experts.router_correction:
        found.append(Matrix("router", 1, experts.count))
    if experts.biases:
        found.append(Matrix("biases", 1, experts.count))
        inner, outer = experts.intermediate, shape.hidden
        found.append(Matrix("biases", 1, inner, "outputs", copies=2 * experts.count, routed=True))
        found.append(Matrix("biases", 1, outer, copies=experts.count, routed=True))
    if experts.shared_intermediate:
        found.append(Matrix("shared_experts", shape.hidden, experts.shared_intermediate, "outputs", copies=2))
        found.append(Matrix("shared_experts", experts.shared_intermediate, shape.hidden, "inputs"))
    return found
