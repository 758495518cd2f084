"""Options that several commands share, and the exit codes."""

from __future__ import annotations

from typing import Annotated, Final

import typer

__all__ = ["FINDING", "USAGE", "Database", "Json", "Since", "Until"]

FINDING: Final = 1
"""The command ran and found something that a person should see, or could not reach the books."""
USAGE: Final = 2
"""The command was asked for something that cannot be meant."""

Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        help="The ledger: a file or a database URL. Default: as in your code (TOKENGUARD_DATABASE, tokenguard.toml, "
        "tokenguard.db beside the nearest pyproject.toml).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document; money as decimal strings of dollars.")]
Since = Annotated[str | None, typer.Option("--since", help="7d, 12h, 30min or 2w ago, or a date (UTC).")]
Until = Annotated[str | None, typer.Option("--until", help="As --since; what began then or later is left out.")]
