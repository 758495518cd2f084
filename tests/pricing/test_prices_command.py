from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tokenguard.cli.prices import app


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


def test_show_says_what_a_model_costs_and_who_says_so() -> None:
    code, output = run("show", "openai/gpt-5-mini")

    assert code == 0
    assert "by genai-prices" in output
    assert "$0.25 per million" in output
    assert "$0.01 per search" in output
    assert "400,000 tokens" in output


def test_show_as_json_has_rates_as_text() -> None:
    code, output = run("show", "gpt-5-mini", "--json")

    card = json.loads(output)

    assert code == 0
    assert card["rates"]["standard"]["input"] == "0.25"
    assert card["rates"]["priority"]["output"] == "3.6"
    assert card["rates"]["standard"]["audio_input"] is None


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_show_of_an_unknown_model_is_a_finding_with_the_line_to_paste(flags: tuple[str, ...]) -> None:
    code, output = run("show", "ollama/llama3", *flags)

    assert code == 1
    assert "free = true" in output


def test_list_filters_by_part_or_pattern() -> None:
    part, pattern = run("list", "claude-haiku-4-5"), run("list", "azure/gpt-4o*", "--json")

    names = [one["name"] for one in json.loads(pattern[1])]

    assert part[0] == pattern[0] == 0
    assert "vertex_ai/claude-haiku-4-5" in part[1]
    assert names
    assert all(name.startswith("azure/gpt-4o") for name in names)


def test_list_without_a_match_is_a_finding() -> None:
    assert run("list", "no-such-model-anywhere")[0] == 1


def test_check_finds_where_sources_are_apart() -> None:
    code, output = run("check", "deepseek/*", "--json")

    report = json.loads(output)

    assert code == 1
    assert len(report["sources"]) == 3
    assert {"model", "meter", "genai_prices", "litellm"} <= set(report["differences"][0])
    assert run("check", "deepseek/*")[1].count("\n") == len(report["differences"]) + 1


def test_check_without_differences_exits_with_0() -> None:
    code, output = run("check", "gpt-5-mini")

    assert code == 0
    assert output.startswith("0 differences")


def test_a_wrong_price_file_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text("[prices.x]\ninput = 0.2\n", encoding="utf-8")

    code, output = run("show", "x", "--prices", str(path))

    assert code == 2
    assert "line 2" in output
