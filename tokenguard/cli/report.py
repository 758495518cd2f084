"""`tokenguard report`: what was spent, by whom, on what, and what repetitions wasted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, cast

import typer

from tokenguard.cli.ledgers import opened
from tokenguard.cli.options import FINDING, Database, Json, Since, Until
from tokenguard.cli.terminal import document, say, show
from tokenguard.core.clock import SystemClock
from tokenguard.core.savings import SAVING_DIMENSIONS
from tokenguard.errors import SettingsError
from tokenguard.reports.instants import instant
from tokenguard.reports.loops import loop_report
from tokenguard.reports.savings import saving_report
from tokenguard.reports.spend import SpendReport, spend_report
from tokenguard.reports.unpriced import unpriced_models, unpriced_table

if TYPE_CHECKING:
    from datetime import datetime

    from tokenguard.core.savings import SavingBy

__all__ = ["app"]

app = typer.Typer(help="Reports: what was spent, by whom, on what.", no_args_is_help=True)

_ROUTE = "route: against the price of the model that was asked for, for the same tokens; no measurement of that model."

By = Annotated[
    str,
    typer.Option(
        help="Dimensions, comma separated: agent, model, provider, scope, run, root, day, operation, status, quality, "
        "mode, prompt, label:<name>."
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Rows to show; the rest is added up in one row.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV with exact amounts.")]


@app.command()
def spend(
    *,
    by: By = "agent,model",
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    as_json: Json = False,
    as_csv: AsCsv = False,
    database: Database = None,
) -> None:
    """Spend by any dimensions, dearest first, with a total that adds up to the pico-dollar."""
    if as_json and as_csv:
        raise SettingsError("--json and --csv are two formats: choose one.")
    names = tuple(name.strip() for name in by.split(",") if name.strip())
    began, ends = _window(since, until)
    with opened(database) as ledger:
        report = spend_report(ledger, names, since=began, until=ends)
        place = ledger.name
    if as_json:
        document({**report.json(), "ledger": place})
    elif as_csv:
        sys.stdout.write(report.csv())
    else:
        _print(report, limit, place)


@app.command()
def unpriced(since: Since = None, until: Until = None, as_json: Json = False, database: Database = None) -> None:
    """Answers whose price nobody knew when they came, with the lines to paste. Exit code 1 where there are any."""
    from tokenguard.pricing.policy import Prices  # noqa: PLC0415  # price data is read for this command only

    began, ends = _window(since, until)
    with opened(database) as ledger:
        rows = unpriced_models(ledger, Prices(_price_file()), since=began, until=ends)
        place = ledger.name
    if as_json:
        document({"report": "unpriced", "rows": [row.json() for row in rows], "ledger": place})
    elif not rows:
        say(f"Every answer had a known price. Ledger: {place}")
    else:
        show(unpriced_table(rows))
        for toml in dict.fromkeys(row.toml for row in rows if row.toml):
            say("", "Paste into your price file (docs/prices.md), with the provider's numbers:", toml)
    raise typer.Exit(FINDING if rows else 0)


@app.command()
def loops(
    *, since: Since = None, until: Until = None, limit: Limit = None, as_json: Json = False, database: Database = None
) -> None:
    """Repetitions that were warned of, steered, blocked or stopped; what they wasted, and what stopping averted."""
    began, ends = _window(since, until)
    with opened(database) as ledger:
        report = loop_report(ledger, since=began, until=ends)
        place = ledger.name
    if as_json:
        document({**report.json(), "ledger": place})
    elif not report.rows:
        say(f"Nothing was found to repeat itself in that time. Ledger: {place}")
    else:
        show(report.table(limit))
        say(
            "",
            "wasted: what the repetitions after the first one cost.",
            report.assumption,
            f"ledger: {place}",
        )


@app.command()
def savings(
    *,
    by: Annotated[str, typer.Option("--by", help="stage, model, agent, scope or run.")] = "stage",
    since: Since = None,
    until: Until = None,
    as_json: Json = False,
    database: Database = None,
) -> None:
    """What folding and cache marks saved, by the provider's own counts, net of the breaks they caused."""
    if by not in SAVING_DIMENSIONS:
        raise SettingsError(f"--by {by}: savings are grouped by {', '.join(SAVING_DIMENSIONS)}.")
    began, ends = _window(since, until)
    with opened(database) as ledger:
        runs = ledger.folded_runs(since=began, until=ends)
        report = saving_report(ledger, cast("SavingBy", by), since=began, until=ends, runs=runs)
        place = ledger.name
    if as_json:
        document({**report.json(), "ledger": place})
        return
    if not report.rows:
        say(f"Nothing was saved in that time. Ledger: {place}")
    else:
        show(report.table())
        say(
            "",
            "estimated: expected when it was sent first, for the rest of its run. settled: by the provider's counts.",
            *(_ROUTE for row in report.rows if row.name == "route" and by == "stage"),
            f"ledger: {place}",
        )
    if report.measured:
        tokens = sum(one.tokens for one in report.measured)
        say(f"Only measured (observing or held out): {tokens:,} tokens that folding would have saved.")
    if report.holdout:
        say(f"Holdout: {report.holdout.sentence}")


def _window(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    now = SystemClock().now()
    began, ends = (None if text is None else instant(text, now) for text in (since, until))
    if began is not None and ends is not None and ends <= began:
        raise SettingsError(f"--until {until} is not after --since {since}: no time lies between them.")
    return began, ends


def _print(report: SpendReport, limit: int | None, place: str) -> None:
    if not report.rows:
        say(f"Nothing was spent in that time. Ledger: {place}")
        return
    show(report.table(limit))
    say("", f"ledger: {place}")


def _price_file() -> str | None:
    """The user's own prices, by the same settings as `Guard`."""
    import os  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415

    from tokenguard.config.settings import load_settings  # noqa: PLC0415  # --help must not wait for pydantic

    return load_settings({}, environ=os.environ, directory=Path.cwd()).prices
