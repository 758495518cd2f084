"""Words left out of prose by a classifier; here a stub of LLMLingua's class stands in for its weights."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, ClassVar

import pytest

from tokenguard.core.folding import Folding
from tokenguard.errors import BadAmount, MissingExtra
from tokenguard.prompt.folder import Folder
from tokenguard.prompt.learned import LearnedFolder
from tokenguard.prompt.markers import marker_of

PROSE = "\n".join(
    f"It is really the case that number {at} was seen, as one would very well expect." for at in range(60)
)


class Stub:
    """Takes the arguments of `llmlingua.PromptCompressor` and leaves out what is filler to it."""

    made: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, **options: Any) -> None:
        self.made.append(options)

    def compress_prompt(self, context: list[str], **options: Any) -> dict[str, str]:
        if "trips" in context[0]:
            raise ValueError("odd text")
        assert options["force_reserve_digit"]
        filler = {"It", "is", "really", "the", "case", "that", "as", "one", "would", "very", "well"}
        lines = [" ".join(word for word in line.split(" ") if word not in filler) for line in context[0].split("\n")]
        return {"compressed_prompt": "\n".join(lines)}


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("llmlingua")
    module.PromptCompressor = Stub  # type: ignore[attr-defined]  # as the library names it
    monkeypatch.setitem(sys.modules, "llmlingua", module)
    monkeypatch.setattr(Stub, "made", [])


@pytest.mark.usefixtures("library")
def test_prose_loses_its_filler_and_keeps_its_numbers() -> None:
    learned = LearnedFolder("a/model")

    short = learned.fold(PROSE)

    assert short is not None
    assert short.split("\n")[7] == "number 7 was seen, expect."
    assert learned.fold(PROSE) == short
    assert Stub.made == [
        {
            "model_name": "a/model",
            "device_map": "cpu",
            "use_llmlingua2": True,
            "llmlingua2_config": {"max_batch_size": 50, "max_force_token": 100},
        }
    ]


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    "text", ["short", f"```\n{PROSE}\n```", "\n".join(f"{at}\tline" for at in range(900)), "plain words\n" * 400]
)
def test_what_is_no_prose_or_loses_nothing_is_left_alone(text: str) -> None:
    assert LearnedFolder("a/model").fold(text) is None


@pytest.mark.usefixtures("library")
def test_a_model_that_fails_is_off_from_then_on() -> None:
    learned = LearnedFolder("a/model")

    with pytest.raises(ValueError, match="odd text"):
        learned.fold(PROSE + " trips")

    assert learned.fold(PROSE) is None


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llmlingua", None)

    with pytest.raises(MissingExtra, match=r"tokenguard-llm\[learned\]"):
        LearnedFolder("a/model").fold(PROSE)


@pytest.mark.usefixtures("library")
def test_in_a_prompt_the_original_is_behind_a_marker() -> None:
    folding = Folding("gated", recovery="shell", learned="a/model", off=["text"])
    folder = Folder(folding, lambda _, text: len(text) // 4, lambda: 0.0)

    done = folder.fold("m", [{"role": "tool", "content": PROSE}])

    assert done.originals == {marker_of(PROSE): PROSE}
    assert [step.stage for change in done.changes for step in change.steps] == ["learned"]
    assert f"tokenguard show {marker_of(PROSE)}" in done.messages[0]["content"]


def test_only_the_level_that_leaves_text_out_takes_a_model() -> None:
    with pytest.raises(BadAmount, match="only level 'gated' does"):
        Folding("safe", recovery="shell", learned="a/model")
