"""`tokenguard backend plan`: whether a model fits, without touching a GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

LLAMA_70B = {
    "model_type": "llama",
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
}


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_70B), encoding="utf-8")
    return str(tmp_path)


def test_a_model_that_does_not_fit_is_told_what_would(cli: Any, model: str) -> None:
    done = cli("backend", "plan", model, "--gpu", "H200", "--context", "16384")

    text = " ".join(done.out.split())
    assert done.code == 1
    assert "no: llama as 16bit needs 139.7 GiB" in text
    assert "Formats side by side on 1 × H200, sequences of 16,384 tokens." in text
    (fp8,) = [line.split() for line in done.out.splitlines() if line.startswith("fp8 ")]
    assert fp8[1:] == ["native", "67.7", "GiB", "48%", "yes", "189,024", "11"]


def test_a_model_that_fits_is_said_in_numbers(cli: Any, model: str) -> None:
    done = cli("backend", "plan", model, "--gpu", "h200", "--quantization", "fp8", "--context", "16384", "--json")

    told = json.loads(done.out)
    assert done.code == 0
    assert (told["fits"], told["kv_tokens"], told["sequences"]) == (True, 189_024, 11)
    assert {one["quantization"] for one in told["quantizations"]} >= {"16bit", "fp8", "awq"}


def test_a_cpu_has_a_cache_of_its_own_size(cli: Any, model: str) -> None:
    done = cli("backend", "plan", f"{model}/config.json", "--cpu-cache-gib", "40", "--context", "4096", "--json")

    assert (done.code, json.loads(done.out)["machine"]) == (0, "CPU")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say where: --gpu NAME"),
        (["--gpu", "H100", "--cpu-cache-gib", "4"], "say where: --gpu NAME"),
        (["--gpu", "Voodoo 3"], "Voodoo"),
    ],
)
def test_a_place_must_be_named(cli: Any, model: str, arguments: list[str], said: str) -> None:
    done = cli("backend", "plan", model, *arguments)

    assert done.code != 0
    assert said in done.err


def test_a_folder_without_a_config_is_named(cli: Any, tmp_path: Path) -> None:
    done = cli("backend", "plan", str(tmp_path), "--gpu", "H100")

    assert done.code != 0
    assert "config.json cannot be read" in done.err
