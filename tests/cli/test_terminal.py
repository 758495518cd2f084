import pytest

from tokenguard.cli.terminal import document, show
from tokenguard.reports.tables import Column, Table

NAMES = ("an agent with quite a long name", "[red]not red[/red] \\[bold]", "[/]")
TABLE = Table(
    (Column("agent"), Column("model"), Column("usd", right=True), Column("calls", right=True)),
    tuple((name, "openrouter/anthropic/claude-sonnet-4.5", "$1,234.567890", "1,000,000") for name in NAMES),
    ("total", "", "$3,703.703670", "3,000,000"),
)


@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_numbers_are_whole_at_every_width(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)

    show(TABLE)

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= int(columns)
    assert sum("$1,234.567890  1,000,000" in line for line in lines) == 3
    assert "$3,703.703670  3,000,000" in lines[-1]


def test_markup_in_names_is_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")

    show(TABLE)

    said = capsys.readouterr().out
    assert all(name in said for name in NAMES)


def test_a_tree_is_cut_and_its_guides_line_up_where_the_terminal_is_narrow(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    tree = Table(
        (Column("run", whole=True), Column("usd", right=True)), (("├─ " + "x" * 80, "$1.00"), ("└─ y", "$2.00"))
    )

    show(tree)

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("├─ xxx")
    assert "…" in lines[2]


def test_a_pipe_gets_whole_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)

    show(TABLE)

    assert len(capsys.readouterr().out.splitlines()) == 7


def test_a_document_is_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    document({"name": "é\ud800\u202e"})

    assert capsys.readouterr().out.isascii()
