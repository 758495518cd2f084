"""Processes that share a ledger: programs of this folder, started for one test and never left behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    """Each database that processes can share."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts programs of this folder; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start_one(program: str, *arguments: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "ignore", str(PROGRAMS / program), *map(str, arguments)]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start_one
    for one in started:
        one.kill()
        one.communicate(timeout=30)


@pytest.fixture
def hears() -> Callable[[subprocess.Popen[str], str], str]:
    """Reads lines of a program until one begins with a word; what follows it."""

    def read_until(program: subprocess.Popen[str], word: str) -> str:
        assert program.stdout is not None
        for line in program.stdout:
            if line.startswith(word):
                return line.removeprefix(word).strip()
        _, said = program.communicate(timeout=30)
        raise AssertionError(f"the program ended without saying {word!r}: {said}")

    return read_until
