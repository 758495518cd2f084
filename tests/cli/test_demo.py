import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tokenguard.cli.demo.agent import Research, Researcher, open_questions
from tokenguard.cli.demo.burn import Burn
from tokenguard.cli.demo.ending import last_words
from tokenguard.cli.demo.guarded import Outcome
from tokenguard.cli.demo.screen import Screen
from tokenguard.core.books import Kind, NodeSpend
from tokenguard.core.money import Money
from tokenguard.core.receipt import Receipt
from tokenguard.reports.spend import SpendReport
from tokenguard.testing import FakeClock
from tokenguard.testing.model_server import ModelServer, Reply

BEGAN = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
NONE = Money(0)


def test_the_hour_of_the_founding_figure_is_the_measured_rate_carried_on() -> None:
    burn = Burn(BEGAN, elapsed_us=5_000_000, spent=Money("62.50"), answers=100, requests=110, depth=6)

    assert burn.per_second == Money("12.50")
    assert burn.reaches_in_s == 3_595
    assert burn.reaches_at == datetime(2026, 11, 20, 13, 0, tzinfo=UTC)


def test_nothing_spent_reaches_nothing() -> None:
    burn = Burn(BEGAN, elapsed_us=1_000_000, spent=Money(0), answers=0, requests=1, depth=1)

    assert burn.reaches_at is None
    assert len(burn.sentences()) == 1


def test_an_agent_without_questions_asks_one_anyway() -> None:
    assert open_questions("All is clear.", "Why?") == ["What is behind this, in detail: Why?"]
    assert open_questions("Found:\n- one?\n * two?\n- three?\n- four?", "Why?") == ["one?", "two?", "three?"]


def test_an_agent_goes_as_deep_as_it_is_let_and_gives_its_own_findings() -> None:
    async def ask(model: str, messages: list[dict[str, str]]) -> str:
        return f"{model} read {len(messages)} messages"

    def three_levels(research: Research) -> Research:
        async def limited(question: str, notes: str, level: int) -> str:
            return await research(question, notes, level) if level <= 3 else ""

        return limited

    agent = Researcher(ask, ("reader", "thinker"), three_levels)

    found = asyncio.run(agent.research("Why?", "", 1))

    assert found == "thinker read 2 messages"
    assert agent.depth == 3


def test_progress_in_a_pipe_is_a_line_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    clock = FakeClock()
    screen = Screen(clock, quiet=False)

    with screen.progress("It runs …"):
        for number in range(21):
            screen.update(f"line {number}")
            clock.advance(0.125)

    assert capsys.readouterr().out.splitlines() == ["It runs …", "line 8", "line 16"]


def test_progress_in_a_terminal_is_one_line_that_goes_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen(FakeClock(), quiet=False)

    with screen.progress("It runs …"):
        screen.update("line 1")

    live = capsys.readouterr().out
    assert "line 1" in live
    assert live.endswith("\x1b[2K")


def test_a_quiet_screen_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(FakeClock(), quiet=True)

    screen.heading("A part")
    screen.tell("Something.")
    with screen.progress("It runs …"):
        screen.update("line 1")

    assert capsys.readouterr().out == ""


def told(outcome: Outcome, burn: Burn | None, capsys: pytest.CaptureFixture[str]) -> str:
    last_words(burn, outcome, "spend.db")
    return capsys.readouterr().out


def test_the_end_compares_both_agents_and_lets_the_server_judge(capsys: pytest.CaptureFixture[str]) -> None:
    burn = Burn(BEGAN, elapsed_us=5_000_000, spent=Money("62.50"), answers=100, requests=110, depth=6)
    ids = ("run-1", Kind.AGENT, "researcher", None, "run-1", "demo")
    nothing = NodeSpend(*ids, BEGAN, None, None, {}, NONE, NONE, 0, 0, NONE, NONE)
    receipt = Receipt.of((nothing,), ledger="spend.db")
    honest = Outcome(Money("0.05"), receipt, SpendReport((), None, None, ()), None, 0, books_replay=True, depth=1)

    good = told(honest, burn, capsys)
    bad = told(replace(honest, arrived=1, books_replay=False), None, capsys)

    assert "It finished by itself, below its cap." in good
    assert "Without the guard: $62.50 when it was unplugged. With it: $0.00" in good
    assert "Calls in the ledger: 0; they agree." in good
    assert "THEY DISAGREE" in bad
    assert "DO NOT REPLAY" in bad


def test_a_ledger_that_is_none_is_our_own_error(cli: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    path = tmp_path / "notes.db"
    path.write_text("these are notes, not a database" * 100)

    done = cli("demo", "--model", "gpt-4o-mini", "--json", "--database", str(path))

    assert done.code == 1
    assert str(path) in done.err
    assert "the provider answered" not in done.err


def demo(*options: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """`tokenguard demo` in a process and a folder of its own."""
    command = [sys.executable, "-m", "tokenguard", "demo", *options]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )


def test_a_real_model_is_stopped_at_the_cap_and_its_receipt_is_told(tmp_path: Path) -> None:
    with ModelServer(Reply("It grew.\n- Why?\n- Since when?")) as server:
        to_it = {"OPENAI_API_KEY": "none", "OPENAI_API_BASE": server.url, "OPENAI_BASE_URL": server.url}
        done = demo(
            *("--model", "gpt-4o-mini", "--budget", "0.001", "--database", "d.db"),
            folder=tmp_path,
            environment={**os.environ, **to_it},
        )

    assert done.returncode == 0, done.stderr
    assert "Stopped: budget" in done.stdout
    assert "not a cent over." in done.stdout
    assert "The books replay to the pico-dollar." in done.stdout
    assert "tokenguard db verify --database d.db" in done.stdout
    assert "Without the guard" not in done.stdout
    assert server.count > 0


def test_a_real_model_without_its_key_is_refused_before_anything_is_sent(cli: Any, monkeypatch: Any) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    done = cli("demo", "--model", "gpt-5-mini", "--json")

    assert done.code == 2
    assert "needs OPENAI_API_KEY" in done.err


def test_a_cap_of_nothing_is_a_usage_error(cli: Any) -> None:
    assert cli("demo", "--budget", "0").code == 2


def test_the_demo_stops_its_agent_at_the_cap_with_not_a_cent_over(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TOKENGUARD_")}

    done = demo("--seconds", "1", "--json", "--database", "d.db", folder=tmp_path, environment=environment)

    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    guarded = said["guarded"]
    assert guarded["ended_by"]["code"] == "budget_exceeded"
    assert Money("0.03") < Money(guarded["usd"]) <= Money(guarded["cap_usd"])
    assert guarded["requests_arrived"] == guarded["calls_booked"] > 0
    assert guarded["books_replay"]
    assert Money(said["unguarded"]["usd"]) > Money(0)
    assert done.stderr == ""


def test_a_provider_that_refuses_is_named_without_its_words(tmp_path: Path) -> None:
    with ModelServer(Reply(status=401, error="Incorrect API key: sk-canary")) as server:
        to_it = {"OPENAI_API_KEY": "sk-canary", "OPENAI_API_BASE": server.url, "OPENAI_BASE_URL": server.url}

        done = demo(
            *("--model", "gpt-4o-mini", "--json"),
            folder=tmp_path,
            environment={**os.environ, **to_it, "TMPDIR": str(tmp_path)},
        )

    assert done.returncode == 1
    assert done.stdout == ""
    assert "AuthenticationError, status 401" in done.stderr
    assert "sk-canary" not in done.stderr
    assert server.count == 1
