"""The entry point: mounts the nouns, and turns our errors into one sentence and an exit code."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from tokenguard.cli import backend, budget, prices, prompt, report, runs
from tokenguard.cli.demo.command import demo
from tokenguard.cli.doctor import doctor
from tokenguard.cli.fold import fold
from tokenguard.cli.options import FINDING, USAGE
from tokenguard.cli.reconcile import reconcile
from tokenguard.cli.show import show
from tokenguard.cli.sweep import sweep
from tokenguard.cli.terminal import complain
from tokenguard.errors import SetupError, TokenguardError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["app", "main"]

app = typer.Typer(
    name="tokenguard",
    help="Hard spend caps, exact prices and a ledger for LLM agents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(demo)
app.command()(doctor)
app.command()(sweep)
app.command()(reconcile)
app.command()(fold)
app.command()(show)
app.add_typer(report.app, name="report")
app.add_typer(runs.app, name="runs")
app.add_typer(budget.app, name="budget")
app.add_typer(prices.app, name="prices")
app.add_typer(prompt.app, name="prompt")
app.add_typer(backend.app, name="backend")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        arguments: Without the program's name; None: those of the process.

    Raises:
        SystemExit: always; 0 all is well, 1 a finding, 2 asked wrongly.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a name shows a question mark instead of a traceback.
            stream.reconfigure(errors="replace")
    try:
        app(args=None if arguments is None else list(arguments), prog_name="tokenguard")
    except TokenguardError as error:
        complain(error)
        sys.exit(USAGE if isinstance(error, SetupError) else FINDING)


@app.command(
    "db",
    help="The ledger's database: upgrade it, verify its books.",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def _db(context: typer.Context) -> None:
    # Not mounted like the others: its module needs SQLAlchemy, a second that `tokenguard --help` should not take.
    from tokenguard.cli import db  # noqa: PLC0415

    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    alone.add_typer(db.app, name="db")
    alone(args=["db", *context.args], prog_name="tokenguard")


def _version(asked: bool) -> None:
    if asked:
        from tokenguard import __version__  # noqa: PLC0415

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hard spend caps, exact prices and a ledger for LLM agents."""
