"""Folding at the command line: what would be sent, what was left out, what it saved."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

import tokenguard as tg
from tokenguard.backends.scripted import ScriptedBackend, ScriptedReply
from tokenguard.prompt.markers import marker_line, marker_of

PRICES = {"prices": {"openai/cheap": {"input": "10", "output": "40", "output_tokens_max": 1_000}}}
ROWS = [{"flight": f"HAT{at:03}", "price": 100 + at, "cabin": "economy"} for at in range(40)]
DICE = random.Random(3)
LONG = "\n".join(" ".join(DICE.choice(["rain", "sun\x1b", "wind", "é"]) for _ in range(14)) for _ in range(900))


def conversation(text: str) -> list[dict[str, Any]]:
    call = {"id": "c1", "type": "function", "function": {"name": "search", "arguments": "{}"}}
    return [
        {"role": "user", "content": "Go on."},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": text},
    ]


@pytest.fixture
def prompt(tmp_path: Path) -> str:
    path = tmp_path / "prompt.json"
    path.write_text(json.dumps({"messages": conversation(json.dumps(ROWS))}), encoding="utf-8")
    return str(path)


@pytest.fixture
def books(tmp_path: Path) -> str:
    """Books of a run whose long result was shortened, and of one that only measured."""
    path = str(tmp_path / "spend.db")
    folding = tg.Folding("safe", recovery="shell", trim_above=1_000)
    backend = ScriptedBackend(lambda _: "ok")
    for mode in ("enforce", "observe"):
        with tg.Guard(database=path, backend=backend, prices=PRICES, prompt=folding, mode=mode) as guard:  # type: ignore[arg-type]  # both are modes
            with guard.run("agent"):
                guard.completion("openai/cheap", conversation(LONG), max_tokens=50)
                guard.completion("openai/cheap", conversation(json.dumps(ROWS)), max_tokens=50)
    return path


def test_fold_shows_each_stage_and_both_sides(cli: Any, prompt: str) -> None:
    done = cli("fold", prompt, "--model", "openai/gpt-4o")

    assert done.code == 0
    (row,) = [line.split() for line in done.out.splitlines() if line.startswith("json")]
    assert row[:2] == ["json", "1"]
    assert "less when it is sent first" in done.out
    assert "[40]{flight,price," in done.out
    assert "as it would be sent" in done.out


def test_fold_says_all_of_it_as_json(cli: Any, prompt: str) -> None:
    done = cli("fold", prompt, "--model", "openai/gpt-4o", "--json")

    read = json.loads(done.out)
    assert read["level"] == "lossless"
    assert read["tokens_after"] < read["tokens_before"]
    assert [one["stage"] for one in read["stages"]] == ["json"]
    assert read["messages"][2]["content"].startswith("[40]{flight,price,")
    assert float(read["usd_first"]) > float(read["usd_again"]) > 0


def test_fold_says_what_the_cache_could_save(cli: Any, tmp_path: Path) -> None:
    path, rules = tmp_path / "prompt.json", "Check the policy before you book a flight. " * 60
    path.write_text(json.dumps([{"role": "system", "content": rules}, *conversation("ok")]), encoding="utf-8")
    model = ["--model", "anthropic/claude-sonnet-4-5"]

    plain = cli("fold", str(path), *model)
    asked = cli("fold", str(path), *model, "--calls", "3", "--switch-to", "openai/gpt-5-mini", "--json")
    unpriced = cli("fold", str(path), "--model", "nobody/knows", "--switch-to", "openai/gpt-5-mini")
    silent = cli("fold", str(path), "--model", "nobody/knows")

    assert "Filling the prefix up pays: the fixed prefix has" in plain.out
    told = {one["kind"]: one for one in json.loads(asked.out)["advice"]}
    assert set(told) == {"promotion", "switch"}
    assert "less than reading them here; over 3 calls the change saves" in told["switch"]["sentence"]
    assert (told["switch"]["pays"], float(told["switch"]["saved_usd"]) > 0) == (True, True)
    assert (unpriced.code, silent.code) == (1, 0)
    assert "nobody/knows" in unpriced.err


def test_fold_asks_about_a_pause(cli: Any, tmp_path: Path) -> None:
    path, rules = tmp_path / "prompt.json", "Check the policy before you book a flight. " * 400
    path.write_text(json.dumps([{"role": "system", "content": rules}]), encoding="utf-8")

    done = cli("fold", str(path), "--model", "anthropic/claude-sonnet-4-5", "--pause", "900")

    assert "Keeping the cache alive pays: a pause of 900 s outlasts the cache: 3 pings" in done.out


def test_nothing_to_fold_and_no_price_are_said(cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "short.json"
    path.write_text(json.dumps(conversation("ok")), encoding="utf-8")

    assert "nothing to fold in" in cli("fold", str(path), "--model", "acme/none").out
    assert "off: nothing to fold in" in cli("fold", str(path), "--model", "acme/none", "--level", "off").out
    path.write_text(json.dumps(conversation(json.dumps(ROWS))), encoding="utf-8")
    assert "acme/none has no price" in cli("fold", str(path), "--model", "acme/none", "--full").out


@pytest.mark.parametrize(
    ("content", "said"),
    [("no json", "cannot be read as JSON"), ("[]", "holds no messages"), ('{"x": 1}', "holds no messages")],
)
def test_a_file_without_messages_is_named(cli: Any, tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "odd.json"
    path.write_text(content, encoding="utf-8")

    done = cli("fold", str(path), "--model", "openai/gpt-4o")

    assert done.code == 2
    assert said in done.err


def test_a_level_that_does_not_exist_is_named(cli: Any, prompt: str) -> None:
    done = cli("fold", prompt, "--model", "openai/gpt-4o", "--level", "tiny")

    assert done.code == 2
    assert "choose one of 'off', 'compact'" in done.err


def test_show_prints_the_original_byte_for_byte(cli: Any, books: str) -> None:
    marker = marker_of(LONG)

    assert cli("show", marker, "--database", books).out == LONG
    assert cli("show", marker_line(marker, "all", "shell"), "--database", books).out == LONG
    assert json.loads(cli("show", marker, "--json", "--database", books).out)["text"] == LONG


def test_show_says_that_there_is_none(cli: Any, books: str) -> None:
    done = cli("show", "ffffffffffff", "--database", books)

    assert done.code == 1
    assert "No original is kept under 'ffffffffffff'" in done.out
    assert json.loads(cli("show", "ffffffffffff", "--json", "--database", books).out)["found"] is False


def test_the_report_of_savings_adds_up(cli: Any, books: str) -> None:
    done = cli("report", "savings", "--database", books)
    read = json.loads(cli("report", "savings", "--json", "--database", books).out)

    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()[2:5]] == ["trim", "text", "json"]
    assert (
        {one["name"] for one in read["rows"]} == {"trim", "text", "json"} == {one["name"] for one in read["measured"]}
    )
    assert read["total"]["tokens_saved"] == sum(one["tokens_saved"] for one in read["rows"])
    assert "Only measured (observing or held out)" in done.out


def test_runs_that_were_held_out_are_compared_with_those_that_were_not(cli: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "spend.db")
    folding = tg.Folding("lossless", holdout=0.5)
    with tg.Guard(database=path, backend=ScriptedBackend(lambda _: "ok"), prices=PRICES, prompt=folding) as guard:
        for number in range(16):
            with guard.run("agent"):
                for _ in range(2 + number % 2):
                    guard.completion("openai/cheap", conversation(json.dumps(ROWS)), max_tokens=50)

    said = cli("report", "savings", "--database", path)
    told = json.loads(cli("report", "savings", "--database", path, "--json").out)["holdout"]
    none = json.loads(cli("report", "savings", "--database", path, "--until", "2020-01-01", "--json").out)

    assert told["folded_runs"] + told["held_out_runs"] == 16
    assert 2 <= told["steps_folded"] <= 3
    assert f"Holdout: {told['folded_runs']} folded runs took" in " ".join(said.out.split())
    assert none["holdout"] is None


def test_the_report_says_that_savings_of_routes_are_reckoned(cli: Any, tmp_path: Path) -> None:
    path, usage = str(tmp_path / "spend.db"), {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
    route = tg.Route([tg.Endpoint("gpu", "hosted_vllm/llama", own=True)])
    backend = ScriptedBackend(lambda _: ScriptedReply("ok", usage=usage))
    with tg.Guard(database=path, backend=backend, prices=PRICES, routes={"openai/cheap": route}) as guard:
        with guard.run("agent"):
            guard.completion("openai/cheap", conversation("ok"), max_tokens=50)

    by_stage = cli("report", "savings", "--database", path)
    by_model = cli("report", "savings", "--by", "model", "--database", path)

    # 9 tokens in at 10 dollars a million and one out at 40.
    assert "$0.000130" in by_stage.out
    assert "no measurement of that model" in " ".join(by_stage.out.split())
    assert "no measurement of that model" not in " ".join(by_model.out.split())


def test_savings_are_grouped_by_what_is_asked(cli: Any, books: str, tmp_path: Path) -> None:
    read = json.loads(cli("report", "savings", "--by", "model", "--json", "--database", books).out)

    assert [one["name"] for one in read["rows"]] == ["openai/cheap"]
    assert cli("report", "savings", "--by", "colour", "--database", books).code == 2
    assert "Nothing was saved" in cli("report", "savings", "--until", "2020-01-01", "--database", books).out
