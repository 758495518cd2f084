"""Long work says how far it is, where somebody may be waiting."""

from __future__ import annotations

from typing import Any

import pytest

from tokenguard.cli import progress as module
from tokenguard.cli.progress import progress


class Terminal:
    """Standard error that says what it is."""

    def __init__(self, *, tty: bool) -> None:
        self._tty = tty
        self.text = ""

    def isatty(self) -> bool:
        return self._tty

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        """Nothing waits here."""


@pytest.fixture(params=[True, False])
def stderr(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setattr(module, "_IN_A_TERMINAL_S", 0)
    monkeypatch.setattr(module, "_IN_A_PIPE_S", 0)
    return Terminal(tty=request.param)


def test_the_numbers_are_told_as_they_grow(stderr: Any) -> None:
    with progress("moved {:,} rows of {}", stream=stderr) as so_far:
        so_far(1_000, "march")
        so_far(2_000, "march")

    assert "moved 1,000 rows of march …" in stderr.text
    assert "moved 2,000 rows of march …" in stderr.text
    assert stderr.text.endswith("\r\x1b[K" if stderr.isatty() else "\n")


def test_quiet_work_says_nothing(stderr: Any) -> None:
    with progress("moved {:,} rows", quiet=True, stream=stderr) as so_far:
        so_far(1)

    assert stderr.text == ""


def test_quick_work_says_nothing(stderr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IN_A_TERMINAL_S", 3_600)
    monkeypatch.setattr(module, "_IN_A_PIPE_S", 3_600)

    with progress("moved {:,} rows", stream=stderr) as so_far:
        so_far(1)

    assert stderr.text == ""
