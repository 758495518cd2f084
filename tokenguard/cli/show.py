"""`tokenguard show`: the original of what was left out of a prompt, exactly as the tool gave it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tokenguard.cli.ledgers import opened
from tokenguard.cli.options import FINDING, Database, Json
from tokenguard.cli.terminal import document, say
from tokenguard.prompt.markers import markers_in

__all__ = ["show"]


def show(
    marker: Annotated[str, typer.Argument(help="As the prompt says it, such as 3f9a12bc45de; the whole line will do.")],
    *,
    as_json: Json = False,
    database: Database = None,
) -> None:
    """Print the original behind a marker, of any run. Exit code 1 where there is none."""
    name = next(iter(markers_in(marker)), marker.strip())
    with opened(database) as ledger:
        text = ledger.find_text(name, root_id=None)
        place = ledger.name
    if as_json:
        document({"marker": name, "found": text is not None, "text": text, "ledger": place})
    elif text is None:
        say(f"No original is kept under {name!r}: it never was, or its days are over. Ledger: {place}")
    else:
        # As bytes: what a tool gave may be no text that a terminal's encoding knows.
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode("utf-8", "surrogatepass"))
    if text is None:
        raise typer.Exit(FINDING)
