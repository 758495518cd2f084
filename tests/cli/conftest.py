"""A ledger file with one finished and one stopped run, and a way to run the command line in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import tokenguard as tg
from tokenguard.cli.main import main


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Done]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run `tokenguard …` where no project file is, as in a pipe."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TOKENGUARD_DATABASE", raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(arguments)
        said = capsys.readouterr()
        code = end.value.code
        return Done(code if isinstance(code, int) else 0, said.out, said.err)

    return run


@dataclass(frozen=True)
class Books:
    path: str
    finished: str
    stopped: str


@pytest.fixture
def books(tmp_path: Path) -> Books:
    """$0.25 by `writer`, and a run that spent its cap of $0.10 with a charge."""
    path = tmp_path / "spend.db"
    with tg.Guard(database=path, scope="acme/search", budget=tg.Budget(usd="50", per="day")) as guard:
        with guard.run("finished", labels={"team": "search"}) as finished:
            writer = guard.agent("writer")(lambda: guard.charge("browser", usd="0.25"))
            writer()
        stopped = guard.run("stopped [red]now[/red]", budget=tg.Budget(usd="0.10"))
        with suppress(tg.BudgetExceeded), stopped:
            guard.charge("browser", usd="0.10")
            with guard.charge("browser", up_to="0.05"):
                pass
    return Books(str(path), finished.id, stopped.id)
