"""Which layers look back over a window only."""

from __future__ import annotations

import pytest
from hardware.shapes import shape_of

from tokenguard.errors import SettingsError


def test_mistral_and_phi_have_their_window_everywhere_and_llama_nowhere() -> None:
    assert set(shape_of("Mistral-7B-v0.1").windows) == {4_096}
    assert set(shape_of("Phi-3-mini-4k-instruct").windows) == {2_047}
    assert set(shape_of("Llama-3.1-8B", sliding_window=4_096).windows) == {None}


def test_qwen_has_its_window_only_where_it_is_switched_on_and_from_a_layer_on() -> None:
    off = shape_of("Qwen2.5-7B")
    late = shape_of("Qwen2.5-7B", use_sliding_window=True, max_window_layers=20)

    assert set(off.windows) == {None}
    assert late.windows == (None,) * 20 + (131_072,) * 8


def test_gemma_2_alternates_and_gemma_3_has_one_full_layer_in_six() -> None:
    assert shape_of("gemma-2-9b").windows == (4_096, None) * 21
    assert shape_of("gemma-3-27b-it").windows[:6] == (1_024,) * 5 + (None,)
    assert shape_of("gemma-3-27b-it").windows.count(None) == 10


def test_a_config_may_name_another_period() -> None:
    assert shape_of("gemma-2-9b", sliding_window_pattern=3).windows[:3] == (4_096, 4_096, None)


def test_layer_types_go_before_the_pattern_of_the_family() -> None:
    kinds = ["full_attention"] + ["sliding_attention"] * 35

    assert shape_of("gpt-oss-120b").windows == (128, None) * 18
    assert shape_of("gpt-oss-120b", layer_types=kinds).windows == (None,) + (128,) * 35


def test_layer_types_of_another_number_are_refused() -> None:
    with pytest.raises(SettingsError, match="layer_types names 2 layers and num_hidden_layers 36"):
        shape_of("gpt-oss-120b", layer_types=["full_attention", "sliding_attention"])
