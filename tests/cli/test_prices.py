"""`tokenguard prices`: what a card says to a person, from prices that a file states."""

from pathlib import Path
from typing import Any

import pytest

PRICES = """
[[prices."acme/brain"]]
input = "1"
output = "4"
web_search = "0.01"
context_tokens = 400000
valid_from = 2026-01-01
tiers = [{ above_input_tokens = 200000, input = "2", output = "8" }]
flex = { input = "0.5", output = "2" }

[prices."acme/brain-eu"]
like = "acme/brain"
times = "1.1"

[prices."acme/local"]
free = true

[prices."acme/ears"]
input_second = "0.0001"
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES, encoding="utf-8")
    return str(path)


def test_a_card_shows_every_table_with_its_units(cli: Any, file: str) -> None:
    done = cli("prices", "show", "acme/brain", "--prices", file)

    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert done.code == 0
    assert lines[0] == "acme/brain = acme/brain, by override since 2026-01-01"
    assert "window 400,000 tokens" in lines
    assert "output unknown" in lines
    assert lines.index("standard") < lines.index("standard above 200,000 input tokens") < lines.index("flex")
    assert "input $1 per million" in lines
    assert "output $8 per million" in lines
    assert "input $0.5 per million" in lines
    assert "web_search $0.01 per search" in lines


def test_what_nobody_prices_is_named_once(cli: Any, file: str) -> None:
    done = cli("prices", "show", "acme/brain", "--prices", file)

    (unknown,) = [line for line in done.out.splitlines() if line.split()[0] == "unknown"]
    assert "audio_input" in unknown
    assert " input," not in unknown


def test_a_card_that_follows_another_notes_its_factor(cli: Any, file: str) -> None:
    done = cli("prices", "show", "acme/brain-eu", "--prices", file)

    assert "$1.1 per million" in done.out
    assert "  note     like acme/brain times 1.1." in done.out.splitlines()


def test_a_free_model_says_that_it_is(cli: Any, file: str) -> None:
    done = cli("prices", "show", "acme/local", "--prices", file)

    assert done.out.endswith("free: every call costs nothing\n")


def test_a_list_has_a_question_mark_where_no_token_price_is_known(cli: Any, file: str) -> None:
    done = cli("prices", "list", "acme/*", "--prices", file)

    rows = {line.split()[0]: line.split()[1:] for line in done.out.splitlines()}
    assert rows["acme/brain"] == ["in", "1", "out", "4", "override"]
    assert rows["acme/ears"] == ["in", "?", "out", "?", "override"]


def test_a_json_card_has_tiers_and_services(cli: Any, file: str) -> None:
    card = cli("prices", "show", "acme/brain", "--json", "--prices", file).json

    (tier,) = card["rates"]["standard"]["tiers"]
    assert (tier["above_input_tokens"], tier["input"]) == (200_000, "2")
    assert card["rates"]["flex"]["output"] == "2"
    assert card["valid_from"].startswith("2026-01-01")
