"""The shape of a model: every number that its parameters, its KV cache and its memory follow from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenguard.hardware.quantization import Quantization

__all__ = ["Experts", "LatentAttention", "ModelShape"]


@dataclass(frozen=True, slots=True)
class Experts:
    """The routed and shared experts of a mixture.

    Attributes:
        count: Routed experts per layer.
        per_token: Of them, how many each token meets.
        intermediate: Width of one routed expert.
        shared_intermediate: Width of the shared experts together; 0 where there are none.
        shared: How many shared experts there are.
        dense_layers: Layers, by index, that have a plain MLP instead.
        biases: Routed experts and router have biases (gpt-oss).
        router_correction: The router has one learned correction per expert (DeepSeek-V3).
    """

    count: int
    per_token: int
    intermediate: int
    shared_intermediate: int = 0
    shared: int = 0
    dense_layers: frozenset[int] = frozenset()
    biases: bool = False
    router_correction: bool = False


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """DeepSeek's multi-head latent attention: the cache holds one compressed vector per token and layer.

    Attributes:
        query_rank: Width of the compressed query; None where queries are not compressed.
        kv_rank: Width of the compressed keys and values.
        rope_size: Width of the part of a key that carries the position, shared by all heads.
        plain_size: Width of the rest of a head's key.
        value_size: Width of a head's value.
    """

    query_rank: int | None
    kv_rank: int
    rope_size: int
    plain_size: int
    value_size: int


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder-only transformer, as far as memory is concerned. Made by `read_shape`.

    Attributes:
        family: `model_type` of its config.json.
        layers: Decoder layers.
        hidden: Width of the residual stream.
        heads: Query heads.
        kv_heads: Key and value heads; equal to `heads` without grouping.
        head_size: Width of one head.
        intermediate: Width of the gated MLP of dense layers.
        vocabulary: Rows of the embedding table, as the config has them.
        context_max: Longest context the model was made for, in tokens.
        windows: Per layer, how many tokens it looks back; None: all of them. (layers,)
        tied: The output layer is the embedding table.
        qkv_bias: Queries, keys and values have biases.
        output_bias: The attention's output has one.
        mlp_bias: Dense MLPs have biases.
        qk_norm: Queries and keys are normalized per head.
        norms_per_layer: Norms of the width `hidden` in each layer.
        sinks: Each head has a learned sink (gpt-oss).
        experts: None for dense models.
        latent: None for plain grouped attention.
        vision_parameters: Of the image encoder and its projector; 0 for text models.
        stored: How the checkpoint is quantized already; None: 16 bit.
    """

    family: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate: int
    vocabulary: int
    context_max: int
    windows: tuple[int | None, ...]
    tied: bool = False
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    norms_per_layer: int = 2
    sinks: bool = False
    experts: Experts | None = None
    latent: LatentAttention | None = None
    vision_parameters: int = 0
    stored: Quantization | None = None

    def is_sparse(self, layer: int) -> bool:
        """Whether a layer, by its index, has routed experts."""
        return self.experts is not None and layer not in self.experts.dense_layers
