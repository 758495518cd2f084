"""Statements are read strictly: what cannot be meant is one sentence with file, line, number and next move."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from threading import Thread

import pytest

from tokenguard.core.money import Money
from tokenguard.core.statement import Billed
from tokenguard.errors import SettingsError
from tokenguard.reports import statement
from tokenguard.reports.statement import read_statement

TODAY = date(2026, 4, 2)
MARCH = date(2026, 3, 14)
HEADER = "day,provider,model,usd\n"


def read(tmp_path: Path, text: str | bytes) -> tuple[Billed, ...]:
    path = tmp_path / "invoice.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_statement(path, TODAY)


def complaint(tmp_path: Path, text: str | bytes) -> str:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)
    path = str(tmp_path / "invoice.csv")
    assert caught.value.sentence.startswith(path)
    assert caught.value.path == path
    return caught.value.sentence.removeprefix(path)


@pytest.mark.parametrize(
    "text",
    [
        HEADER + "2026-03-14,openai,gpt-5,1.50\n2026-03-14,openai,gpt-5,0.000000000001\n",
        (
            "\ufeffUSD, Day ,region,model,provider\r\n\r\n1.50,2026-03-14,eu,gpt-5,openai\r\n"
            "$0.000000000001,2026-03-14,us,openai/GPT-5,OpenAI\r\n"
        ),
        (
            '{"day": "2026-03-14", "provider": "openai", "model": "gpt-5", "usd": 1.50}\n\n'
            '{"day": "2026-03-14", "provider": "openai", "model": "gpt-5", "usd": "0.000000000001", "region": "us"}\n'
        ),
        '{"day": "2026-03-14", "provider": "openai", "model": "gpt-5", "usd": 1.500000000001}',
    ],
)
def test_csv_and_json_lines_say_the_same_exactly(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == (Billed(MARCH, "openai", "gpt-5", Money("1.500000000001")),)


def test_lines_come_by_day_provider_and_model_and_a_credit_is_below_zero(tmp_path: Path) -> None:
    lines = read(
        tmp_path,
        HEADER + "2026-03-15,openai,,3\n2026-03-14,openai,b,2\n2026-03-14,openai,a,-1\n2026-03-14,azure,,4\n",
    )

    assert [(one.day.day, one.provider, one.model, one.usd.json()) for one in lines] == [
        (14, "azure", None, "4"),
        (14, "openai", "a", "-1"),
        (14, "openai", "b", "2"),
        (15, "openai", None, "3"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ": there is nothing in this statement."),
        (HEADER, ": there is nothing in this statement."),
        ("day,provider\n", ", line 1: the header has no usd: 'day,provider'."),
        ("2026-03-14;openai;1\n", ", line 1: the header has no day and no provider and no usd"),
        ("day,provider,usd,usd\n", ", line 1: the header has usd twice."),
        (HEADER + "2026-03-14,openai,1\n", ", line 2: there are 3 fields and the header has 4."),
        (HEADER + '2026-03-14,openai,"a"b,1\n', ", line 2: this is not CSV ("),
        (HEADER + "2026-03-14,openai," + "x" * 200_000 + ",1\n", ", line 2: this is not CSV ("),
        (HEADER + "14.03.2026,openai,a,1\n", ", line 2: day '14.03.2026' is not one. Write it as 2026-03-14"),
        (HEADER + "2026-02-30,openai,a,1\n", ", line 2: day '2026-02-30' is not one."),
        (HEADER + "1999-12-31,openai,a,1\n", ", line 2: day '1999-12-31' is not one."),
        (HEADER + "\n2026-04-03,openai,a,1\n", ", line 3: 2026-04-03 has not begun: today is 2026-04-02"),
        (HEADER + "2026-03-14, ,a,1\n", ", line 2: provider ' ' is no name."),
        (HEADER + "2026-03-14,openai,a\x1b[2J,1\n", ", line 2: model 'a\\x1b[2J' is no name."),
        (HEADER + "2026-03-14,openai," + "m" * 301 + ",1\n", ", line 2: model 'mmm"),
        (HEADER + '2026-03-14,openai,a,"1,50"\n', ", line 2: '1,50' is not an amount of money."),
        (HEADER + "2026-03-14,openai,a,1e30\n", ", line 2: '1e30' is above the largest amount"),
        (HEADER + "2026-03-14,openai,a,nan\n", ", line 2: 'nan' is not a finite amount"),
        (HEADER + "2026-03-14,openai,a," + "9" * 5_000 + "x\n", ", line 2: '9999"),
        (HEADER + "2026-03-14,openai,a,0.0000000000001\n", "and at most 12 decimals, as in 1234.50."),
        (HEADER + "2026-03-14,openai,a,1\n2026-03-14,openai,,2\n", ", line 3: openai has lines with a model and"),
        (b"day,provider,usd\n2026-03-14,open\xffai,1\n", ", line 2: this is not UTF-8."),
        ('[{"day": "2026-03-14"}]', ", line 1: this is a list, not an object."),
        ('{"day": \n', ", line 1: this is not JSON: '{\"day\": '."),
        ('{"a":' + "[" * 100_000, ', line 1: this is not JSON: \'{"a":[[['),
        ('{"usd": 1e99999999999999999999}', ", line 1: this is not JSON"),
        ('{"usd": ' + "9" * 5_000 + "}", ", line 1: this is not JSON"),
        ('{"day": "2026-03-14", "provider": null}', ", line 1: there is no provider and no usd."),
        ('{"day": 20260314, "provider": "a", "usd": 1}', ", line 1: day 'int' is not one."),
        ('{"day": "2026-03-14", "provider": ["a"], "usd": 1}', ", line 1: provider 'list' is no name."),
        ('{"day": "2026-03-14", "provider": "a", "model": 5, "usd": 1}', ", line 1: model 'int' is no name."),
        ('{"day": "2026-03-14", "provider": "a", "usd": true}', ", line 1: usd is a bool."),
        ('{"day": "2026-03-14", "provider": "a", "usd": NaN}', ", line 1: 'NaN' is not a finite amount"),
        ('{"day": "2026-03-14", "provider": "\\ud800", "usd": 1}', ", line 1: provider '\\ud800' is no name."),
    ],
)
def test_what_cannot_be_meant_is_one_sentence_that_names_the_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    sentence = complaint(tmp_path, text)

    assert said in sentence
    assert sentence.endswith((".", "`."))
    assert len(sentence) < 500
    assert sentence.isprintable()


def test_a_file_that_is_not_there_and_one_that_is_too_large_are_sentences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match=r"cannot be read .* Name a readable file"):
        read_statement(tmp_path / "none.csv", TODAY)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_statement(tmp_path, TODAY)
    monkeypatch.setattr(statement, "_SIZE_MAX", 10)
    assert "is larger than 0 MB. Split it" in complaint(tmp_path, HEADER)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_statement_may_come_through_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = Thread(target=path.write_text, args=(HEADER + "2026-03-14,openai,a,1\n",))
    writer.start()

    lines = read_statement(path, TODAY)

    writer.join()
    assert [one.usd for one in lines] == [Money(1)]
