"""`tokenguard prompt lint`: findings with their dollars, from Python, JSON and TOML files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import tokenguard as tg

assert __name__ != "__main__"
mood = tg.StructuredPrompt(name="mood", task="Classify.", output=list[str])
same = mood
good = tg.StructuredPrompt(
    name="good", role="reader", task="Say how the writer feels.", output=bool, examples=[tg.Example("Hooray!", True)]
)
"""


def written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_each_prompt_of_a_file_is_linted_once(cli: Any, tmp_path: Path) -> None:
    done = cli("prompt", "lint", written(tmp_path, "prompts.py", PROGRAM), "--model", "openai/gpt-4o")

    assert done.code == 1
    assert done.out.count("mood@") == 1
    assert "nothing to say" in done.out
    for code in ("unbounded_list", "no_role", "vague_task", "no_example"):
        assert code in done.out
    assert "$5.28" in done.out
    assert "usd in 1,000 calls" in done.out


def test_json_says_what_each_amount_assumes(cli: Any, tmp_path: Path) -> None:
    path = written(tmp_path, "prompts.py", PROGRAM)

    done = cli("prompt", "lint", path, "--model", "openai/gpt-4o", "--calls", "2000", "--json")

    [mood, good] = done.json["prompts"]
    assert (done.code, done.json["model"], done.json["calls"], good["findings"]) == (1, "openai/gpt-4o", 2_000, [])
    assert mood["findings"][0]["code"] == "unbounded_list"
    assert mood["findings"][0]["usd"] == "10.56"
    assert all(one["assumption"] for one in mood["findings"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.json", '[{"role": "user", "content": "Summarise {text}"}]'),
        ("m.json", '{"messages": [{"role": "user", "content": "Summarise {text}"}]}'),
        ("m.toml", '[[messages]]\nrole = "user"\ncontent = "Summarise {text}"\n'),
    ],
)
def test_messages_by_hand_are_linted_too(cli: Any, tmp_path: Path, name: str, text: str) -> None:
    done = cli("prompt", "lint", written(tmp_path, name, text))

    assert done.code == 1
    assert "no_schema" in done.out


def test_a_prompt_without_findings_is_well(cli: Any, tmp_path: Path) -> None:
    text = '[{"role": "system", "content": "You are a clerk. Answer as JSON. Example: {}. Classify the ticket."}]'

    done = cli("prompt", "lint", written(tmp_path, "m.json", text))

    assert (done.code, done.out.splitlines()[0]) == (0, "m.json: nothing to say.")


def test_a_model_without_a_price_has_findings_without_amounts(cli: Any, tmp_path: Path) -> None:
    path = written(tmp_path, "prompts.py", PROGRAM)

    done = cli("prompt", "lint", path, "--model", "nobody/knows-this")

    assert done.code == 1
    assert "no known price" in done.out
    assert " ? " in done.out
    assert (
        cli("prompt", "lint", path, "--model", "nobody/knows-this", "--json").json["prompts"][0]["findings"][0]["usd"]
        is None
    )


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.py", "x = 1", "has no StructuredPrompt"),
        ("a.py", "raise ValueError('broken')", "cannot be run: ValueError: broken"),
        ("a.py", "import tokenguard as tg\ntg.StructuredPrompt(name='a b', task='x', output=int)", "name='a b'"),
        ("a.json", "{", "cannot be read"),
        ("a.toml", "x =", "cannot be read"),
        ("a.json", '{"messages": []}', "has no messages"),
        ("a.json", '["text"]', "has no messages"),
    ],
)
def test_a_file_that_holds_no_prompt_is_a_usage_error(
    cli: Any, tmp_path: Path, name: str, text: str, words: str
) -> None:
    done = cli("prompt", "lint", written(tmp_path, name, text))

    assert done.code == 2
    assert words in done.err


def test_a_file_that_is_not_there_is_a_usage_error(cli: Any) -> None:
    assert cli("prompt", "lint", "nowhere.py").code == 2
    assert cli("prompt", "lint").code == 2


def test_own_prices_count(cli: Any, tmp_path: Path) -> None:
    prices = written(tmp_path, "prices.toml", '[prices."own/model"]\ninput = "1"\noutput = "10"\n')

    done = cli(
        "prompt", "lint", written(tmp_path, "p.py", PROGRAM), "--model", "own/model", "--prices", prices, "--json"
    )

    assert done.json["prompts"][0]["findings"][0]["usd"] == "5.28"
