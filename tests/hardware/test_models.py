"""Reading config.json: what it says, what its family implies, and what is refused."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hardware.configs import AWQ, CONFIGS, config_of
from hardware.shapes import shape_of
from hypothesis import example, given
from hypothesis import strategies as st

from tokenguard.errors import SettingsError
from tokenguard.hardware import Experts, LatentAttention, memory_plan, read_shape


def test_text_and_mapping_read_the_same() -> None:
    config = config_of("Llama-3.1-8B")

    assert read_shape(json.dumps(config)) == read_shape(config)


def test_a_plain_model_is_read_as_it_is_written() -> None:
    shape = shape_of("Llama-3.1-8B")

    assert (shape.family, shape.layers, shape.hidden, shape.intermediate) == ("llama", 32, 4_096, 14_336)
    assert (shape.heads, shape.kv_heads, shape.head_size) == (32, 8, 128)
    assert (shape.vocabulary, shape.context_max, shape.tied) == (128_256, 131_072, False)
    assert (shape.experts, shape.latent, shape.stored, shape.vision_parameters) == (None, None, None, 0)


def test_key_value_heads_and_head_size_that_are_not_said_follow_from_the_others() -> None:
    shape = shape_of("Llama-3.1-8B", num_key_value_heads=None)

    assert (shape.kv_heads, shape.head_size) == (32, 128)


def test_biases_and_norms_are_those_of_the_family() -> None:
    qwen2, qwen3, gemma, oss = (shape_of(one) for one in ("Qwen2.5-7B", "Qwen3-8B", "gemma-2-9b", "gpt-oss-20b"))

    assert (qwen2.qkv_bias, qwen2.output_bias, qwen2.qk_norm) == (True, False, False)
    assert (qwen3.qkv_bias, qwen3.output_bias, qwen3.qk_norm) == (False, False, True)
    assert (gemma.norms_per_layer, gemma.tied) == (4, True)
    assert (oss.qkv_bias, oss.output_bias, oss.sinks) == (True, True, True)


def test_llama_says_itself_whether_it_has_biases() -> None:
    shape = shape_of("Llama-3.1-8B", attention_bias=True, mlp_bias=True)

    assert (shape.qkv_bias, shape.output_bias, shape.mlp_bias) == (True, True, True)


def test_experts_are_read_in_each_familys_own_words() -> None:
    mixtral, qwen, oss = (shape_of(one).experts for one in ("Mixtral-8x7B-v0.1", "Qwen3-30B-A3B", "gpt-oss-120b"))

    assert mixtral == Experts(8, 2, 14_336)
    assert qwen == Experts(128, 8, 768)
    assert oss == Experts(128, 4, 2_880, biases=True)


def test_deepseek_has_dense_layers_first_and_shared_experts() -> None:
    lite, large = shape_of("DeepSeek-V2-Lite"), shape_of("DeepSeek-V3")

    assert lite.experts == Experts(64, 6, 1_408, 2 * 1_408, 2, frozenset({0}))
    assert large.experts == Experts(256, 8, 2_048, 2_048, 1, frozenset({0, 1, 2}), router_correction=True)
    assert [large.is_sparse(layer) for layer in (2, 3)] == [False, True]
    assert lite.latent == LatentAttention(None, 512, 64, 128, 128)
    assert large.latent == LatentAttention(1_536, 512, 64, 128, 128)


def test_experts_may_stand_in_every_other_layer_only() -> None:
    qwen = shape_of("Qwen3-30B-A3B", decoder_sparse_step=2, mlp_only_layers=[1])
    deepseek = shape_of("DeepSeek-V2-Lite", moe_layer_freq=2)

    assert [qwen.is_sparse(layer) for layer in range(4)] == [False, False, False, True]
    assert [deepseek.is_sparse(layer) for layer in range(4)] == [False, False, True, False]
    assert not shape_of("Llama-3.1-8B").is_sparse(0)


def test_an_image_model_is_read_by_its_text_config() -> None:
    shape = shape_of("gemma-3-4b-it")

    assert (shape.family, shape.layers, shape.heads, shape.kv_heads) == ("gemma3_text", 34, 8, 4)
    assert (shape.head_size, shape.vocabulary, shape.context_max, shape.tied) == (256, 262_208, 131_072, True)


def test_what_the_whole_config_says_holds_for_its_text_part() -> None:
    config = config_of("Mistral-Small-3.1-24B-Instruct-2503", quantization_config=AWQ)

    stored = read_shape(config).stored

    assert stored is not None
    assert stored.name == "awq"


def test_an_image_model_without_an_encoder_counts_its_text_only() -> None:
    config = config_of("gemma-3-4b-it")
    del config["vision_config"]

    assert read_shape(config).vision_parameters == 0


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("{", r"config.json is no JSON \(.*\): give the text of the whole file"),
        ("[]", "config.json holds a list, no object"),
        ({}, "model_type 'None' has no formula here; known are llama, mistral"),
        ({"model_type": "t5"}, "model_type 't5' has no formula here"),
        ({"model_type": "llama"}, "config.json has no num_hidden_layers: give the whole config.json"),
        (
            {"model_type": "mamba2", "state_size": 128},
            r"'mamba2' has layers that are no plain attention \(state_size\)",
        ),
        ({"model_type": "falcon_h1", "mamba_d_state": 256}, r"no plain attention \(mamba_d_state\)"),
        ({"model_type": "qwen3_next", "linear_num_key_heads": 16}, r"no plain attention \(linear_num_key_heads\)"),
    ],
)
def test_a_config_without_a_formula_is_refused_with_a_sentence(config: str | dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        read_shape(config)


def test_layers_that_are_no_attention_are_refused_by_their_type() -> None:
    kinds = ["linear_attention", "full_attention"] * 14

    with pytest.raises(SettingsError, match=r"'qwen2' has layers that are no plain attention \(linear_attention\)"):
        shape_of("Qwen2.5-7B", layer_types=kinds)


def test_heads_that_cannot_share_are_refused_with_both_numbers() -> None:
    with pytest.raises(SettingsError, match="32 attention heads cannot share 5 key/value heads evenly") as caught:
        shape_of("Llama-3.1-8B", num_key_value_heads=5)

    assert caught.value.facts == {"heads": 32, "kv_heads": 5}


def test_more_experts_per_token_than_there_are_are_refused() -> None:
    with pytest.raises(SettingsError, match="9 experts per token are more than the 8 there are") as caught:
        shape_of("Mixtral-8x7B-v0.1", num_experts_per_tok=9)

    assert caught.value.facts == {"per_token": 9, "count": 8}


def test_a_model_of_a_million_layers_is_refused_before_it_is_counted() -> None:
    with pytest.raises(SettingsError, match="num_hidden_layers=1000000 must be a whole number from 1 to 10,000"):
        shape_of("Llama-3.1-8B", num_hidden_layers=1_000_000)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 5_000) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
WRITTEN = sorted({(name, key) for name, config in CONFIGS.items() for key in config})


@given(st.sampled_from(WRITTEN), ANYTHING)
@example(("Qwen/Qwen3-30B-A3B", "mlp_only_layers"), [[]])
def test_whatever_a_field_holds_it_is_read_planned_or_refused_with_a_sentence(
    field: tuple[str, str], value: object
) -> None:
    name, key = field

    with suppress(SettingsError):
        assert memory_plan(read_shape({**CONFIGS[name], key: value}), "B200").weights_bytes > 0


def test_an_encoder_that_leaves_its_size_out_is_refused_with_the_place() -> None:
    config = config_of("gemma-3-4b-it", vision_config={"model_type": "unheard_of", "depth": 32})

    with pytest.raises(SettingsError, match=r"config\.json has no vision_config\.hidden_size"):
        read_shape(config)
