"""Public config.json files, as far as memory depends on them; each is named by its repository on the Hugging Face hub.

Fields that decide nothing here (rotary angles, token ids, initializers) are left out. Nothing is added.
"""

from __future__ import annotations

from typing import Any

Config = dict[str, Any]


def _llama(hidden: int, intermediate: int, layers: int, heads: int, **changes: Any) -> Config:
    """Llama 3: eight key/value heads and a vocabulary of 128,256."""
    fields: Config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "mlp_bias": False,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "vocab_size": 128_256,
        "max_position_embeddings": 131_072,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    return {**fields, **changes}


def _qwen(family: str, hidden: int, intermediate: int, layers: int, heads: tuple[int, int], **changes: Any) -> Config:
    """Qwen: windows are in the config, and switched off."""
    fields: Config = {
        "model_type": family,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        "vocab_size": 151_936,
        "max_position_embeddings": 40_960,
        "max_window_layers": layers,
        "sliding_window": None,
        "use_sliding_window": False,
        "tie_word_embeddings": False,
    }
    return {**fields, **changes}


def _gemma2(hidden: int, intermediate: int, layers: int, heads: tuple[int, int], head_dim: int) -> Config:
    """Gemma 2: every other layer has a window; tied, which its configs leave unsaid."""
    return {
        "model_type": "gemma2",
        "attention_bias": False,
        "head_dim": head_dim,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        "sliding_window": 4_096,
        "vocab_size": 256_000,
        "max_position_embeddings": 8_192,
    }


def _gpt_oss(layers: int, experts: int) -> Config:
    """gpt-oss: experts in MXFP4, windows of 128 in every other layer."""
    return {
        "model_type": "gpt_oss",
        "attention_bias": True,
        "head_dim": 64,
        "hidden_size": 2_880,
        "intermediate_size": 2_880,
        "layer_types": ["sliding_attention", "full_attention"] * (layers // 2),
        "num_hidden_layers": layers,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "num_local_experts": experts,
        "num_experts_per_tok": 4,
        "sliding_window": 128,
        "vocab_size": 201_088,
        "max_position_embeddings": 131_072,
        "tie_word_embeddings": False,
        "quantization_config": {
            "quant_method": "mxfp4",
            "modules_to_not_convert": [
                "model.layers.*.self_attn",
                "model.layers.*.mlp.router",
                "model.embed_tokens",
                "lm_head",
            ],
        },
    }


def _deepseek(family: str, **fields: Any) -> Config:
    """DeepSeek: the sizes of latent attention are the same in V2 and V3."""
    return {
        "model_type": family,
        "attention_bias": False,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "moe_layer_freq": 1,
        "max_position_embeddings": 163_840,
        "tie_word_embeddings": False,
        **fields,
    }


AWQ: Config = {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": True}

CONFIGS: dict[str, Config] = {
    "meta-llama/Llama-3.2-1B": _llama(2_048, 8_192, 16, 32, head_dim=64, tie_word_embeddings=True),
    "meta-llama/Llama-3.1-8B": _llama(4_096, 14_336, 32, 32),
    "meta-llama/Llama-3.1-70B": _llama(8_192, 28_672, 80, 64),
    "meta-llama/Llama-3.1-405B": _llama(16_384, 53_248, 126, 128),
    "codellama/CodeLlama-7b-hf": _llama(
        4_096, 11_008, 32, 32, num_key_value_heads=32, vocab_size=32_016, max_position_embeddings=16_384
    ),
    "Qwen/Qwen2.5-0.5B": _qwen("qwen2", 896, 4_864, 24, (14, 2), tie_word_embeddings=True, sliding_window=32_768),
    "Qwen/Qwen2.5-7B": _qwen("qwen2", 3_584, 18_944, 28, (28, 4), vocab_size=152_064, sliding_window=131_072),
    "Qwen/Qwen3-0.6B": _qwen("qwen3", 1_024, 3_072, 28, (16, 8), head_dim=128, tie_word_embeddings=True),
    "Qwen/Qwen3-8B": _qwen("qwen3", 4_096, 12_288, 36, (32, 8), head_dim=128),
    "Qwen/Qwen3-32B": _qwen("qwen3", 5_120, 25_600, 64, (64, 8), head_dim=128),
    "Qwen/Qwen3-30B-A3B": _qwen(
        "qwen3_moe",
        2_048,
        6_144,
        48,
        (32, 4),
        head_dim=128,
        decoder_sparse_step=1,
        mlp_only_layers=[],
        moe_intermediate_size=768,
        num_experts=128,
        num_experts_per_tok=8,
    ),
    "mistralai/Mistral-7B-v0.1": {
        "model_type": "mistral",
        "hidden_size": 4_096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "sliding_window": 4_096,
        "vocab_size": 32_000,
        "max_position_embeddings": 32_768,
        "tie_word_embeddings": False,
    },
    "mistralai/Mistral-Small-3.1-24B-Instruct-2503": {
        "model_type": "mistral3",
        "text_config": {
            "model_type": "mistral",
            "head_dim": 128,
            "hidden_size": 5_120,
            "intermediate_size": 32_768,
            "num_hidden_layers": 40,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "sliding_window": None,
            "vocab_size": 131_072,
            "max_position_embeddings": 131_072,
            "tie_word_embeddings": False,
        },
        "vision_config": {
            "model_type": "pixtral",
            "head_dim": 64,
            "hidden_size": 1_024,
            "image_size": 1_540,
            "intermediate_size": 4_096,
            "num_attention_heads": 16,
            "num_channels": 3,
            "num_hidden_layers": 24,
            "patch_size": 14,
        },
    },
    "mistralai/Mixtral-8x7B-v0.1": {
        "model_type": "mixtral",
        "hidden_size": 4_096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "sliding_window": None,
        "vocab_size": 32_000,
        "max_position_embeddings": 32_768,
        "tie_word_embeddings": False,
    },
    "google/gemma-2-2b": _gemma2(2_304, 9_216, 26, (8, 4), 256),
    "google/gemma-2-9b": _gemma2(3_584, 14_336, 42, (16, 8), 256),
    "google/gemma-2-27b": _gemma2(4_608, 36_864, 46, (32, 16), 128),
    "google/gemma-3-27b-it": {
        "model_type": "gemma3",
        "text_config": {
            "model_type": "gemma3_text",
            "head_dim": 128,
            "hidden_size": 5_376,
            "intermediate_size": 21_504,
            "num_hidden_layers": 62,
            "num_attention_heads": 32,
            "num_key_value_heads": 16,
            "sliding_window": 1_024,
        },
        "vision_config": {
            "model_type": "siglip_vision_model",
            "hidden_size": 1_152,
            "image_size": 896,
            "intermediate_size": 4_304,
            "num_attention_heads": 16,
            "num_hidden_layers": 27,
            "patch_size": 14,
            "vision_use_head": False,
        },
    },
    # Says less than the larger ones: heads, head size, vocabulary and context are the family's defaults.
    "google/gemma-3-4b-it": {
        "model_type": "gemma3",
        "text_config": {
            "model_type": "gemma3_text",
            "hidden_size": 2_560,
            "intermediate_size": 10_240,
            "num_hidden_layers": 34,
            "sliding_window": 1_024,
        },
        "vision_config": {
            "model_type": "siglip_vision_model",
            "hidden_size": 1_152,
            "image_size": 896,
            "intermediate_size": 4_304,
            "num_attention_heads": 16,
            "num_hidden_layers": 27,
            "patch_size": 14,
            "vision_use_head": False,
        },
    },
    "microsoft/Phi-3-mini-4k-instruct": {
        "model_type": "phi3",
        "attention_bias": False,
        "hidden_size": 3_072,
        "intermediate_size": 8_192,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "sliding_window": 2_047,
        "vocab_size": 32_064,
        "max_position_embeddings": 4_096,
        "tie_word_embeddings": False,
    },
    "microsoft/phi-4": {
        "model_type": "phi3",
        "attention_bias": False,
        "hidden_size": 5_120,
        "intermediate_size": 17_920,
        "num_hidden_layers": 40,
        "num_attention_heads": 40,
        "num_key_value_heads": 10,
        "sliding_window": None,
        "vocab_size": 100_352,
        "max_position_embeddings": 16_384,
        "tie_word_embeddings": False,
    },
    "openai/gpt-oss-20b": _gpt_oss(24, 32),
    "openai/gpt-oss-120b": _gpt_oss(36, 128),
    "deepseek-ai/DeepSeek-V2-Lite": _deepseek(
        "deepseek_v2",
        first_k_dense_replace=1,
        hidden_size=2_048,
        intermediate_size=10_944,
        moe_intermediate_size=1_408,
        n_routed_experts=64,
        n_shared_experts=2,
        num_attention_heads=16,
        num_experts_per_tok=6,
        num_hidden_layers=27,
        num_key_value_heads=16,
        q_lora_rank=None,
        topk_method="greedy",
        vocab_size=102_400,
    ),
    "deepseek-ai/DeepSeek-V3": _deepseek(
        "deepseek_v3",
        first_k_dense_replace=3,
        hidden_size=7_168,
        intermediate_size=18_432,
        moe_intermediate_size=2_048,
        n_routed_experts=256,
        n_shared_experts=1,
        num_attention_heads=128,
        num_experts_per_tok=8,
        num_hidden_layers=61,
        num_key_value_heads=128,
        num_nextn_predict_layers=1,
        q_lora_rank=1_536,
        topk_method="noaux_tc",
        vocab_size=129_280,
        quantization_config={
            "activation_scheme": "dynamic",
            "fmt": "e4m3",
            "quant_method": "fp8",
            "weight_block_size": [128, 128],
        },
    ),
}


def config_of(name: str, **changes: Any) -> Config:
    """A public config by the end of its name, such as `Llama-3.1-8B`, with some fields changed."""
    return {**next(config for key, config in CONFIGS.items() if key.endswith(f"/{name}")), **changes}
