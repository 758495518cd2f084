"""Shapes of public models, and generated ones."""

from __future__ import annotations

from typing import Any

from hardware.configs import config_of
from hypothesis import strategies as st

from tokenguard.hardware import ModelShape, read_shape


def shape_of(name: str, **changes: Any) -> ModelShape:
    """A public model by the end of its name."""
    return read_shape(config_of(name, **changes))


@st.composite
def shapes(draw: st.DrawFn) -> ModelShape:
    """Any model of 16 heads that 1 to 16 GPUs can share: dense or with experts, with windows or without."""
    layers = draw(st.integers(1, 12))
    config: dict[str, Any] = {
        "model_type": draw(st.sampled_from(["llama", "qwen2", "qwen3", "gemma2", "phi3", "mixtral", "gpt_oss"])),
        "hidden_size": 16 * draw(st.integers(1, 40)),
        "intermediate_size": 16 * draw(st.integers(1, 80)),
        "num_hidden_layers": layers,
        "num_attention_heads": 16,
        "num_key_value_heads": draw(st.sampled_from([1, 2, 4, 8, 16])),
        "head_dim": 8 * draw(st.integers(1, 16)),
        "vocab_size": draw(st.integers(1, 5_000)),
        "max_position_embeddings": 32_768,
        "sliding_window": draw(st.sampled_from([None, 128, 4_096])),
        "tie_word_embeddings": draw(st.booleans()),
        "attention_bias": draw(st.booleans()),
        "num_local_experts": draw(st.integers(2, 9)),
        "num_experts_per_tok": 2,
    }
    return read_shape(config)
