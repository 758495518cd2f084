"""Tokens of messages are counted once for each text, and memory stays bounded."""

from __future__ import annotations

import pytest

from tokenguard.calls.sizes import Sizes


def test_a_text_is_counted_once_for_each_model() -> None:
    counted: list[tuple[str, str]] = []

    def count(model: str, text: str) -> int:
        counted.append((model, text))
        return len(text)

    sizes = Sizes(count)
    messages = [{"role": "user", "content": "four"}, {"role": "user", "content": "seven!!"}]

    assert sizes.of("a", messages) == [8, 11]
    assert sizes.of("a", messages) == [8, 11]
    sizes.of("b", messages[:1])
    assert counted == [("a", "four"), ("a", "seven!!"), ("b", "four")]


def test_a_full_memory_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenguard.calls.sizes._CHARACTERS_MAX", 3)
    counted: list[str] = []
    sizes = Sizes(lambda _, text: counted.append(text) or 1)

    for text in ("four", "more", "four"):
        sizes.text("a", text)

    assert counted == ["four", "more", "four"]
