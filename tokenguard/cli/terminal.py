"""Saying it in a terminal: tables, sentences, JSON. Names are printed as they are read, never as markup."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokenguard.errors import TokenguardError
    from tokenguard.reports.tables import Table

__all__ = ["complain", "document", "output", "say", "show"]

_PIPED_WIDTH: Final = 400
"""Columns where nobody looks: wide enough that no cell is folded, so that `grep` and `awk` see whole lines."""


def output(*, errors: bool = False) -> Console:
    """A console on what standard output is now; plain when it is piped."""
    stream = sys.stderr if errors else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else _PIPED_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def say(*sentences: str, style: str | None = None, fold: bool = True) -> None:
    """Print lines; a terminal folds them at blanks, unless they are there to be copied (`fold=False`)."""
    console = output()
    for sentence in sentences:
        console.print(Text(sentence, style=style or ""), soft_wrap=not (fold and console.is_terminal))


def show(table: Table) -> None:
    """Print a table: numbers to the right and whole, names folded where the terminal is narrow."""
    console = output()
    console.print(_rich(table), crop=False)


def document(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print one JSON document; ASCII, so that it survives any terminal and any pipe."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def complain(error: TokenguardError) -> None:
    """Print an error of ours as its sentence, and its notes."""
    notes: list[str] = getattr(error, "__notes__", [])
    console = output(errors=True)
    console.print(Text.assemble(("tokenguard: ", "bold red"), _printable(error.sentence)), soft_wrap=True)
    for note in notes:
        console.print(Text(_printable(note)), soft_wrap=True)


def _rich(table: Table) -> RichTable:
    rich = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
    cells = [*table.rows, *([table.total] if table.total else [])]
    for index, column in enumerate(table.columns):
        longest = max((len(row[index]) for row in cells), default=0)
        rich.add_column(
            Text(column.name),
            justify="right" if column.right else "left",
            no_wrap=column.right or column.whole,
            min_width=max(longest, len(column.name)) if column.right else None,
            overflow="ellipsis" if column.whole else "fold",
        )
    for row in table.rows:
        rich.add_row(*(Text(cell) for cell in row))
    if table.total:
        rich.add_section()
        rich.add_row(*(Text(cell) for cell in table.total), style="bold")
    return rich


def _printable(text: str) -> str:
    """A sentence may quote what a user or a provider said: nothing in it moves the cursor."""
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)
