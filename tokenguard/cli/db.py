"""`tokenguard db`: bring a ledger to this version's schema, see which one it has, replay its books, keep them small."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from tokenguard.cli.progress import progress
from tokenguard.config.location import allowance_folder, default_database, spool_folder
from tokenguard.config.owners import owner_id
from tokenguard.config.settings import Settings, load_settings
from tokenguard.core.clock import SystemClock
from tokenguard.core.ids import RandomIds
from tokenguard.errors import LedgerError, SetupError, TokenguardError
from tokenguard.ledger.address import Address
from tokenguard.ledger.engine import Database
from tokenguard.ledger.heirs import inherit
from tokenguard.ledger.journal import Journaled
from tokenguard.ledger.prepare import check_version, current_version
from tokenguard.ledger.prepare import upgrade as upgrade_schema
from tokenguard.ledger.pruning import month_named, old_rows
from tokenguard.ledger.pruning import prune as prune_rows
from tokenguard.ledger.replay import verify as replay
from tokenguard.ledger.rollups import compact as compact_deltas
from tokenguard.ledger.schema import SCHEMA_VERSION
from tokenguard.ledger.sql import SqlLedger

__all__ = ["app"]

app = typer.Typer(help="The ledger's database: upgrade it, verify its books.", no_args_is_help=True)

_FINDING: Final = 1
_USAGE: Final = 2
_BUSY_TIMEOUT_S = 10.0

DatabaseOption = Annotated[
    str | None,
    typer.Option("--database", help="A file or a URL. Default: the settings, else tokenguard.db of this project."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON; amounts are whole pico-dollars, as text.")]


@app.command()
def upgrade(database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Create the ledger's tables, or bring them to this version. Safe to repeat, safe beside running guards."""
    with _opened(database, must_exist=False, as_json=as_json) as opened:
        before, after = upgrade_schema(opened)
        if as_json:
            _print_json({"database": opened.name, "before": before, "after": after})
        elif before == after:
            typer.echo(f"ledger {opened.name} is up to date (schema {after}).")
        else:
            typer.echo(f"ledger {opened.name}: schema {before or 'none'} → {after}.")


@app.command()
def current(database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Show the schema that the ledger has. Exit code 1 where it is not this version's."""
    with _opened(database, must_exist=True, as_json=as_json) as opened:
        found = current_version(opened)
        if as_json:
            _print_json({"database": opened.name, "found": found, "expected": SCHEMA_VERSION})
        else:
            typer.echo(f"ledger {opened.name}: schema {found or 'none'}, this version needs {SCHEMA_VERSION}.")
        if found != SCHEMA_VERSION:
            raise typer.Exit(_FINDING)


@app.command()
def verify(database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Replay the books: transfers to balances, lines and rollups to events. Exit code 1 on any difference."""
    with _opened(database, must_exist=True, as_json=as_json) as opened:
        check_version(opened)
        result = opened.read(replay)
        if as_json:
            findings = [{name: _text(value) for name, value in asdict(one).items()} for one in result.findings]
            counts = {name: getattr(result, name) for name in ("transfers", "balances", "events", "lines", "rollups")}
            _print_json({"database": opened.name, "ok": result.ok, "replayed": counts, "findings": findings})
        else:
            for finding in result.findings:
                typer.echo(finding.sentence)
            said = "the books replay" if result.ok else f"{len(result.findings)} differences"
            typer.echo(
                f"ledger {opened.name}: {said} ({result.transfers:,} transfers, {result.balances:,} balances, "
                f"{result.events:,} events, {result.lines:,} lines)."
            )
        if not result.ok:
            raise typer.Exit(_FINDING)


@app.command()
def recover(database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Book what processes that died on this machine left: what they journaled, and what they paid out of allowances.

    Every guard does the same when it opens the ledger. Exit code 1 where the books contradict a booking.
    """
    with _opened(database, must_exist=True, as_json=as_json) as opened:
        check_version(opened)
        folder = spool_folder(_settings().spool, opened.name)
        ledger = Journaled(SqlLedger(opened, SystemClock(), RandomIds()), folder, watch=False)
        done = ledger.take_over()
        left = inherit(ledger, allowance_folder(folder), SystemClock().now(), owner_id())
        if as_json:
            refused = [one.sentence for one in (*done.refused, *left.refused)]
            counts = {"processes": left.processes, "paid": left.paid, "assumed": left.assumed}
            report = {"database": opened.name, "folder": str(folder), "booked": done.booked, "refused": refused}
            _print_json({**report, "allowances": counts})
        else:
            typer.echo(f"ledger {opened.name}: {done.booked:,} journaled bookings are in the books now ({folder}).")
            if left.processes:
                typer.echo(
                    f"allowances of {left.processes:,} dead processes: {left.paid:,} calls booked as they were paid, "
                    f"{left.assumed:,} that were in flight assumed at the ceiling, the rest given back."
                )
            for one in (*done.refused, *left.refused):
                typer.echo(f"refused, and kept in {folder}: {one.sentence}")
        if (away := done.away or left.away) is not None:
            raise away
        if done.refused or left.refused:
            raise typer.Exit(_FINDING)


@app.command()
def compact(database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Add settlements up by day, so that reports stay quick. Guards do it as they go; safe beside them at any time."""
    with _opened(database, must_exist=True, as_json=as_json) as opened:
        check_version(opened)
        with progress("compacted {:,} deltas", quiet=as_json) as so_far:
            compacted = compact_deltas(opened, on_progress=so_far)
        if as_json:
            _print_json({"database": opened.name, "compacted": compacted})
        else:
            typer.echo(f"ledger {opened.name}: {compacted:,} deltas compacted.")


@app.command()
def prune(
    *,
    before: Annotated[str, typer.Option("--before", help="A month, as 2026-03: what is older goes.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")] = False,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let the single calls of old months go. Balances and reports by day keep their sums; the books still replay."""
    with _opened(database, must_exist=True, as_json=as_json) as opened:
        month = month_named(before)
        check_version(opened)
        if dry_run:
            found = opened.read(lambda connection: old_rows(connection, month))
        else:
            with progress("pruned {:,} transfers", quiet=as_json) as so_far:
                found = prune_rows(opened, month, on_progress=so_far)
        if as_json:
            _print_json({"database": opened.name, "before": f"{month:%Y-%m}", "dry_run": dry_run, **asdict(found)})
        elif not found:
            typer.echo(f"ledger {opened.name}: nothing is older than {month:%Y-%m}.")
        else:
            dropped = f", in {len(found.partitions)} partitions" if found.partitions else ""
            typer.echo(
                f"ledger {opened.name}: {found.transfers:,} transfers, {found.events:,} events and {found.lines:,} "
                f"lines from before {month:%Y-%m} {'would go' if dry_run else 'are pruned'}{dropped}."
            )
            if found.leftovers:
                typer.echo(
                    f"With them {'would go' if dry_run else 'went'} what nobody reads any more: limits of "
                    f"{found.anchors:,} runs that are over, {found.owners:,} processes not heard of since, "
                    f"{found.slices:,} slices that left their rolling windows, what the loop rules of "
                    f"{found.loop_states:,} runs had seen, {found.originals:,} originals and the state of "
                    f"{found.fold_states:,} folded runs. {found.savings:,} savings of runs "
                    f"{'would become' if dry_run else 'are'} sums of days."
                )


@contextmanager
def _opened(database: str | None, *, must_exist: bool, as_json: bool) -> Generator[Database]:
    """The database the user means; our errors become a sentence and an exit code."""
    try:
        address = Address.of(database or _configured())
        if must_exist and address.path is not None and not address.path.exists():
            typer.echo(f"there is no ledger at {address.name}. Name another one with --database.", err=True)
            raise typer.Exit(_USAGE)
        opened = Database(address, "normal", _BUSY_TIMEOUT_S, patient=True)
        try:
            yield opened
        finally:
            opened.dispose(forked=False)
    except (LedgerError, SetupError) as error:
        _tell(error, as_json=as_json)
        raise typer.Exit(_USAGE if isinstance(error, SetupError) else _FINDING) from None


def _configured() -> str:
    return _settings().database or str(default_database(Path.cwd()))


def _settings() -> Settings:
    return load_settings({}, environ=os.environ, directory=Path.cwd())


def _tell(error: TokenguardError, *, as_json: bool) -> None:
    if as_json:
        _print_json({"error": error.code, "message": error.sentence})
    else:
        typer.echo(error.sentence, err=True)


def _print_json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _text(value: Any) -> Any:
    """Amounts may be larger than a JSON reader's numbers."""
    return str(value) if isinstance(value, int) else value
