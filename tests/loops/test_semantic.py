"""Texts as vectors, and which of the latest answers are similar: over the real model2vec and a model of some words."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from meanings import OTHERS, WAITING, tiny_model

from tokenguard.core.ladder import Loops
from tokenguard.errors import BadAmount, MissingExtra, SettingsError
from tokenguard.loops.rounds import Digester
from tokenguard.loops.semantic import Embedder, Said, SimilarAnswers


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("meanings")))


@pytest.fixture
def embedder(model: str) -> Embedder:
    return Embedder(model)


def noted(texts: list[str], embedder: Embedder, *, window: int = 10, spaced_s: float = 1.0) -> list[int]:
    """How many similar answers each of these texts makes; 0: no warning. Each answer takes a second."""
    answers, loops = (
        SimilarAnswers(Digester(b"k", "")),
        Loops(similar_by="here", window=window, block_at=None, stop_at=None),
    )
    counts: list[int] = []
    for number, text in enumerate(texts):
        began_s = number * spaced_s
        found = answers.noted(Said(embedder.vector(text), "here", "m", began_s, began_s + 1), loops)
        assert found is None or found[0].wasted_pico == 0
        counts.append(found[0].repeats if found else 0)
    return counts


def test_the_third_of_three_paraphrases_is_found_and_each_after_it(embedder: Embedder) -> None:
    assert noted([*WAITING], embedder) == [0, 0, 3, 4]


def test_answers_that_say_different_things_are_not_similar(embedder: Embedder) -> None:
    assert noted([*OTHERS, WAITING[0]], embedder) == [0] * 5


def test_only_the_latest_answers_of_a_window_are_compared(embedder: Embedder) -> None:
    assert noted([WAITING[0], OTHERS[0], WAITING[1], OTHERS[1], WAITING[2]], embedder, window=5) == [0, 0, 0, 0, 3]
    assert noted([WAITING[0], OTHERS[0], WAITING[1], OTHERS[1], WAITING[2]], embedder, window=4) == [0] * 5


def test_answers_that_were_in_flight_together_are_one_round(embedder: Embedder) -> None:
    assert noted([*WAITING], embedder, spaced_s=0.1) == [0] * 4


def test_vectors_of_different_models_are_not_compared(embedder: Embedder) -> None:
    answers, loops, vector = SimilarAnswers(Digester(b"k", "")), Loops(similar_by="here"), embedder.vector(WAITING[0])

    found = [answers.noted(Said(vector, name, "m", at, at), loops) for at, name in enumerate("aabb")]

    assert found == [None] * 4


def test_a_short_text_and_one_without_a_known_word_mean_nothing(embedder: Embedder) -> None:
    assert embedder.vector("The build is running.") is None
    assert embedder.vector("qwertz " * 20) is None


def test_of_a_long_text_the_start_and_the_end_are_read(embedder: Embedder) -> None:
    filler = "qwertz " * 2_000
    ends = embedder.vector(f"{WAITING[0]}{filler}{OTHERS[0]}")
    together = embedder.vector(f"{WAITING[0]} {OTHERS[0]}")
    hidden = embedder.vector(f"{filler}{WAITING[0]}{filler}")

    assert ends is not None
    assert together is not None
    assert float(ends @ together) > 0.999
    assert hidden is None


def test_half_of_a_character_does_not_switch_the_model_off(embedder: Embedder) -> None:
    assert embedder.vector(f"{WAITING[0]} \ud83d") is not None
    assert embedder.vector(WAITING[0]) is not None


def test_loading_a_model_opens_no_connection(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("it asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)

    assert embedder.vector(WAITING[0]) is not None


def test_a_missing_folder_is_told_once_and_the_rest_means_nothing(tmp_path: Path) -> None:
    embedder = Embedder(str(tmp_path / "nowhere"))

    with pytest.raises(SettingsError, match=r"is no folder.*nothing is downloaded") as wrong:
        embedder.vector(WAITING[0])

    assert wrong.value.path == str(tmp_path / "nowhere")
    assert embedder.vector(WAITING[0]) is None


def test_a_models_name_is_no_reason_to_download_it() -> None:
    with pytest.raises(SettingsError, match="is no folder"):
        Embedder("minishlab/potion-base-8M").load()


def test_a_folder_without_a_model_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="holds no model that model2vec can read"):
        Embedder(str(tmp_path)).load()


def test_a_broken_model_is_a_sentence(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path)
    (folder / "model.safetensors").write_bytes(b"not these")

    with pytest.raises(SettingsError, match="SafetensorError"):
        Embedder(str(folder)).load()


def test_without_model2vec_the_sentence_names_the_extra(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "model2vec", None)

    with pytest.raises(MissingExtra, match=r"tokenguard-llm\[semantic\]") as missing:
        Embedder(model).load()

    assert missing.value.extra == "semantic"


@pytest.mark.parametrize("wrong", [0, -0.5, 1.01, float("nan"), True, "0.9"])
def test_a_similarity_that_cannot_be_meant_is_refused(wrong: Any) -> None:
    with pytest.raises(BadAmount, match="cosine"):
        Loops(similar_at=wrong)


@pytest.mark.parametrize("wrong", ["", " ", 7, b"folder", object()])
def test_a_folder_that_cannot_be_meant_is_refused(wrong: Any) -> None:
    with pytest.raises(BadAmount, match="similar_by"):
        Loops(similar_by=wrong)


def test_a_window_that_cannot_hold_three_answers_is_refused() -> None:
    with pytest.raises(BadAmount, match="window of 3"):
        Loops(steer_at=None, block_at=None, stop_at=None, window=2, similar_by="here")
