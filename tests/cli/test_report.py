from pathlib import Path
from typing import Any

import pytest

import tokenguard as tg
from tokenguard.backends.scripted import ScriptedBackend

OWN = "openai/my-own-model"


@pytest.fixture
def unpriced(tmp_path: Path) -> str:
    """Books with two answers of a model whose price nobody knew."""
    path = str(tmp_path / "unpriced.db")
    with tg.Guard(database=path, backend=ScriptedBackend(["one", "two"])) as guard, guard.run("agent"):
        guard.completion(OWN, [{"role": "user", "content": "hello"}])
        guard.completion(OWN, [{"role": "user", "content": "and now?"}])
    return path


def test_spend_adds_up_by_agent(cli: Any, books: Any) -> None:
    done = cli("report", "spend", "--by", "agent", "--json", "--database", books.path)

    assert [(row["by"]["agent"], row["usd"]) for row in done.json["rows"]] == [("writer", "0.25"), ("", "0.1")]
    assert done.json["total"]["usd"] == "0.35"


def test_spend_is_grouped_by_a_label(cli: Any, books: Any) -> None:
    done = cli("report", "spend", "--by", "label:team", "--csv", "--database", books.path)

    assert done.out.splitlines()[1].startswith("search,0.25")


def test_a_time_before_anything_has_nothing(cli: Any, books: Any) -> None:
    done = cli("report", "spend", "--until", "2020-01-01", "--database", books.path)

    assert done.code == 0
    assert "Nothing was spent in that time" in done.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--by", "colour"), "is not a dimension"),
        (("--since", "yesterday"), "is not a time"),
        (("--json", "--csv"), "choose one"),
        (("--since", "1d", "--until", "2d"), "no time lies between them"),
    ],
)
def test_a_question_without_sense_is_a_usage_error(cli: Any, books: Any, arguments: Any, says: str) -> None:
    done = cli("report", "spend", *arguments, "--database", books.path)

    assert done.code == 2
    assert says in done.err
    assert "Traceback" not in done.err


def test_a_table_in_a_pipe_has_no_colour(cli: Any, books: Any) -> None:
    done = cli("report", "spend", "--database", books.path)

    assert "\x1b" not in done.out
    assert "writer" in done.out


def test_nothing_unpriced_is_no_finding(cli: Any, books: Any) -> None:
    done = cli("report", "unpriced", "--database", books.path)

    assert done.code == 0
    assert "Every answer had a known price" in done.out


def test_an_unpriced_answer_is_a_finding_with_the_line_to_paste(cli: Any, unpriced: str) -> None:
    done = cli("report", "unpriced", "--database", unpriced)

    assert done.code == 1
    assert done.out.count("Paste into your price file") == 1
    assert f'[prices."{OWN}"]' in done.out


def test_unpriced_answers_as_json_say_how_much_was_used(cli: Any, unpriced: str) -> None:
    done = cli("report", "unpriced", "--json", "--database", unpriced)

    (row,) = done.json["rows"]
    assert done.code == 1
    assert (row["model"], row["calls"], row["input_tokens"], row["priced_now"]) == (OWN, 2, 20, False)


def test_an_answer_whose_price_is_known_by_now_asks_for_no_paste(cli: Any, unpriced: str, tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text(f'[prices."{OWN}"]\ninput = "1"\noutput = "2"\n')
    (tmp_path / "tokenguard.toml").write_text('prices = "prices.toml"\n')

    done = cli("report", "unpriced", "--database", unpriced)

    assert done.code == 1
    assert "known" in done.out
    assert "Paste" not in done.out
