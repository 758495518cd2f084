"""From a Hugging Face `config.json` to a `ModelShape`, and what a config leaves unsaid filled in by its family.

Defaults and layer patterns are those of the configuration classes in `transformers` (5.x) for each `model_type`. What a
formula does not cover (recurrent state, unknown families, another MLP) is refused with a sentence, never guessed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from tokenguard.core.untrusted import list_of, mapping_of
from tokenguard.errors import SettingsError
from tokenguard.hardware.fields import Fields
from tokenguard.hardware.quantization import read_quantization
from tokenguard.hardware.shape import Experts, LatentAttention, ModelShape
from tokenguard.hardware.windows import Windows, alternating, everywhere, late, nowhere, read_windows

__all__ = ["FAMILIES", "Family", "read_shape"]

_LAYERS_MOST: Final = 10_000
_RECURRENT: Final = ("mamba", "ssm_", "linear_num_", "linear_conv", "rwkv", "lru_width", "conv_L_cache", "state_size")


@dataclass(frozen=True, slots=True)
class Family:
    """What a `model_type` implies beside its config.

    Attributes:
        defaults: Values of fields that its configs leave out.
        windows: Which layers look back over a window only, where `layer_types` does not say.
        qkv_bias: Queries, keys and values have biases; None: as `attention_bias` says.
        output_bias: So has the output of attention; None: as `attention_bias` says.
        qk_norm: Queries and keys are normalized.
        norms_per_layer: Norms of the width of the residual stream.
        sinks: Heads have learned sinks.
        experts: How experts are read; None: the family has none.
        latent: The family has latent attention.
    """

    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    windows: Windows = nowhere
    qkv_bias: bool | None = None
    output_bias: bool | None = None
    qk_norm: bool = False
    norms_per_layer: int = 2
    sinks: bool = False
    experts: Callable[[Fields, int], Experts] | None = None
    latent: bool = False


def _mixtral(fields: Fields, _: int) -> Experts:
    return Experts(
        count=fields.count("num_local_experts"),
        per_token=fields.count("num_experts_per_tok"),
        intermediate=fields.count("intermediate_size"),
    )


def _gpt_oss(fields: Fields, _: int) -> Experts:
    return Experts(
        count=fields.count("num_local_experts"),
        per_token=fields.count("num_experts_per_tok"),
        intermediate=fields.count("intermediate_size"),
        biases=True,
    )


def _qwen3_moe(fields: Fields, layers: int) -> Experts:
    """Every `decoder_sparse_step`-th layer has experts, except those in `mlp_only_layers`."""
    step, plain = fields.count("decoder_sparse_step", 1), list_of(fields.get("mlp_only_layers"))
    return Experts(
        count=fields.count("num_experts"),
        per_token=fields.count("num_experts_per_tok"),
        intermediate=fields.count("moe_intermediate_size"),
        dense_layers=frozenset(layer for layer in range(layers) if (layer + 1) % step or layer in plain),
    )


def _deepseek(fields: Fields, layers: int) -> Experts:
    """The first layers are dense, then every `moe_layer_freq`-th has experts."""
    step, first = fields.count("moe_layer_freq", 1), fields.count("first_k_dense_replace", 0)
    width, shared = fields.count("moe_intermediate_size"), fields.count("n_shared_experts", 0)
    return Experts(
        count=fields.count("n_routed_experts"),
        per_token=fields.count("num_experts_per_tok"),
        intermediate=width,
        shared_intermediate=width * shared,
        shared=shared,
        dense_layers=frozenset(layer for layer in range(layers) if layer < first or layer % step),
        router_correction=fields.get("topk_method") == "noaux_tc",
    )


_GEMMA3: Final = {
    "vocab_size": 262_208,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "max_position_embeddings": 131_072,
    "sliding_window": 4_096,
    "tie_word_embeddings": True,
}

FAMILIES: Final[Mapping[str, Family]] = {
    "llama": Family(),
    "mistral": Family(windows=everywhere, qkv_bias=False, output_bias=False),
    "mixtral": Family(windows=everywhere, qkv_bias=False, output_bias=False, experts=_mixtral),
    "qwen2": Family(windows=late, qkv_bias=True, output_bias=False),
    "qwen3": Family({"head_dim": 128}, windows=late, qk_norm=True),
    "qwen3_moe": Family(windows=late, qk_norm=True, experts=_qwen3_moe),
    "gemma2": Family({"tie_word_embeddings": True}, windows=alternating(2), norms_per_layer=4),
    "gemma3_text": Family(_GEMMA3, windows=alternating(6), qk_norm=True, norms_per_layer=4),
    "phi3": Family(windows=everywhere, qkv_bias=False, output_bias=False),
    "gpt_oss": Family(windows=alternating(2), sinks=True, experts=_gpt_oss),
    "deepseek_v2": Family(experts=_deepseek, latent=True),
    "deepseek_v3": Family({"topk_method": "noaux_tc"}, experts=_deepseek, latent=True),
}
"""Families with a formula, by `model_type`. Image models are read by their `text_config`."""


def read_shape(config: str | Mapping[str, Any]) -> ModelShape:
    """The shape that a `config.json` describes.

    Args:
        config: Its text, or the mapping it holds.

    Raises:
        SettingsError: It is no config, a number in it cannot be meant, or its family has no formula here.
    """
    whole = _mapping(config)
    inner = mapping_of(whole.get("text_config"))
    text = {**whole, **inner} if inner else whole
    name = str(text.get("model_type"))
    _refuse_recurrent(name, text)
    family = FAMILIES.get(name)
    if family is None:
        raise SettingsError(
            f"config.json: model_type {name!r} has no formula here; known are {', '.join(FAMILIES)}. A model with the "
            "same layers as one of these can be planned under that model_type.",
            model_type=name,
        )
    return _shape(name, family, Fields({**family.defaults, **text}), _vision_parameters(whole))


def _mapping(config: str | Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(config, str):
        return config
    try:
        read = json.loads(config)
    except ValueError as error:
        raise SettingsError(f"config.json is no JSON ({error}): give the text of the whole file.") from None
    if not isinstance(read, dict):
        raise SettingsError(f"config.json holds a {type(read).__name__}, no object: give the text of the whole file.")
    return cast("dict[str, Any]", read)


def _refuse_recurrent(name: str, text: Mapping[str, Any]) -> None:
    kinds = {str(one) for one in list_of(text.get("layer_types"))} - {"full_attention", "sliding_attention"}
    signs = sorted(key for key in text if key.startswith(_RECURRENT)) + sorted(kinds)
    if signs:
        raise SettingsError(
            f"config.json: {name!r} has layers that are no plain attention ({signs[0]}); their state has no formula "
            "here. Start vLLM with it once and read its memory from the log.",
            model_type=name,
        )


def _shape(name: str, family: Family, fields: Fields, vision_parameters: int) -> ModelShape:
    layers, heads = fields.count("num_hidden_layers", most=_LAYERS_MOST), fields.count("num_attention_heads")
    hidden = fields.count("hidden_size")
    kv_heads = fields.count("num_key_value_heads", heads)
    if heads % kv_heads:
        raise SettingsError(
            f"config.json: {heads} attention heads cannot share {kv_heads} key/value heads evenly; one of the two "
            "numbers is wrong.",
            heads=heads,
            kv_heads=kv_heads,
        )
    bias = bool(fields.get("attention_bias"))
    return ModelShape(
        family=name,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_size=fields.count("head_dim", max(1, hidden // heads)),
        intermediate=fields.count("intermediate_size"),
        vocabulary=fields.count("vocab_size"),
        context_max=fields.count("max_position_embeddings"),
        windows=read_windows(fields, layers, family.windows),
        tied=bool(fields.get("tie_word_embeddings")),
        qkv_bias=bias if family.qkv_bias is None else family.qkv_bias,
        output_bias=bias if family.output_bias is None else family.output_bias,
        mlp_bias=bool(fields.get("mlp_bias")),
        qk_norm=family.qk_norm,
        norms_per_layer=family.norms_per_layer,
        sinks=family.sinks,
        experts=_checked(family.experts(fields, layers)) if family.experts else None,
        latent=_latent(fields) if family.latent else None,
        vision_parameters=vision_parameters,
        stored=read_quantization(fields.values),
    )


def _checked(experts: Experts) -> Experts:
    if experts.per_token > experts.count:
        raise SettingsError(
            f"config.json: {experts.per_token} experts per token are more than the {experts.count} there are; one of "
            "the two numbers is wrong.",
            per_token=experts.per_token,
            count=experts.count,
        )
    return experts


def _latent(fields: Fields) -> LatentAttention:
    return LatentAttention(
        query_rank=fields.count("q_lora_rank") if fields.get("q_lora_rank") is not None else None,
        kv_rank=fields.count("kv_lora_rank"),
        rope_size=fields.count("qk_rope_head_dim"),
        plain_size=fields.count("qk_nope_head_dim"),
        value_size=fields.count("v_head_dim"),
    )


def _vision_parameters(whole: Mapping[str, Any]) -> int:
    """Layers of an image encoder (SigLIP, CLIP, Pixtral), its patches and a projector of two matrices, nearly."""
    vision = mapping_of(whole.get("vision_config"))
    if not vision:
        return 0
    fields = Fields(vision, "vision_config.")
    width, inner = fields.count("hidden_size"), fields.count("intermediate_size")
    matrices = 3 if fields.get("model_type") == "pixtral" else 2  # Pixtral's MLP is gated.
    layers = fields.count("num_hidden_layers") * (4 * width**2 + matrices * width * inner)
    patches = 3 * fields.count("patch_size", 14) ** 2 * width
    text = Fields(mapping_of(whole.get("text_config")), "text_config.").count("hidden_size")
    return layers + patches + width * text + (text**2 if matrices == 3 else 0)  # noqa: PLR2004 - gated, as above
