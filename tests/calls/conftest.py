"""A guard over real LiteLLM over real HTTP to the model server, with the books in memory or in a SQLite file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import PRICES, MakeGuard, MakeServer

import tokenguard as tg
from tokenguard.testing.model_server import ModelServer, Reply

# Some of these tests also call LiteLLM directly, which fetches prices at import unless it is told not to.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")


@pytest.fixture(scope="session", autouse=True)
def _litellm_loaded() -> None:
    """Load LiteLLM once: it takes seconds, and a test's own timings must not contain it."""
    from tokenguard.backends.litellm import LiteLLMBackend  # noqa: PLC0415

    LiteLLMBackend().warm()


@pytest.fixture
def make_server() -> Iterator[MakeServer]:
    opened: list[ModelServer] = []

    def make(script: Any = Reply(completion_tokens=400)) -> ModelServer:
        server = ModelServer(script)
        server.__enter__()
        opened.append(server)
        return server

    yield make
    for server in opened:
        server.__exit__(None, None, None)


@pytest.fixture(params=["memory", "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory" if request.param == "memory" else str(tmp_path / "spend.db")


@pytest.fixture
def make_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeGuard]:
    monkeypatch.chdir(tmp_path)
    made: list[tg.Guard] = []

    def make(database: str = "memory", **arguments: Any) -> tg.Guard:
        guard = tg.Guard(database=database, prices=arguments.pop("prices", PRICES), **arguments)
        made.append(guard)
        return guard

    yield make
    for guard in made:
        guard.close()
