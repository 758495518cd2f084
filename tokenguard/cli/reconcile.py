"""`tokenguard reconcile`: a provider's statement beside the books, and the differences booked with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tokenguard.cli.ledgers import opened
from tokenguard.cli.options import FINDING, Database, Json
from tokenguard.cli.terminal import document, say, show
from tokenguard.core.clock import SystemClock
from tokenguard.core.money import Money
from tokenguard.errors import SettingsError
from tokenguard.reports.reconcile import Comparison, Tolerance, compare
from tokenguard.reports.statement import read_statement
from tokenguard.reports.tables import visible

if TYPE_CHECKING:
    from tokenguard.core.statement import Billed, Reconciled
    from tokenguard.ledger.sql import SqlLedger

__all__ = ["reconcile"]

SCOPE: Final = "reconciled"
"""Where differences are booked when nobody says who pays; it has no budget unless somebody gives it one."""


def reconcile(
    invoice: Annotated[Path, typer.Argument(help="CSV or JSON lines with day, provider, model (optional), usd.")],
    *,
    book: Annotated[bool, typer.Option("--book", help="Book each difference as an event of its own.")] = False,
    why: Annotated[str, typer.Option("--why", help="The reason, for the books; needed with --book.")] = "",
    scope: Annotated[str, typer.Option("--scope", help="Who pays for what was missing, such as acme/search.")] = SCOPE,
    tolerance: Annotated[str, typer.Option(help="Differences up to this are no finding: 0.05 dollars, or 0.5%.")] = "0",
    as_json: Json = False,
    database: Database = None,
) -> None:
    """Compare a provider's statement with the books, per UTC day, provider and model. Exit code 1 where they differ.

    With --book the difference of each line is booked on its day, so that the ledger says what was billed. Running it
    again books nothing.
    """
    allowed, statement = Tolerance.of(tolerance), read_statement(invoice, SystemClock().now().date())
    if book and not why.strip():
        raise SettingsError('--book needs a reason for the books: --why "March invoice".')
    with opened(database) as ledger:
        found = compare(ledger, statement)
        done = _book(ledger, [one.billed for one in found.differing], scope, why) if book else []
        place = ledger.name
    finding = [] if book else [one for one in found.rows if not allowed.allows(one)]
    if as_json:
        document({**found.json(), "findings": len(finding), "booked": [_json(one) for one in done], "ledger": place})
    else:
        _print(found, done, place, scope, booked=book, findings=len(finding))
    raise typer.Exit(FINDING if finding else 0)


def _book(ledger: SqlLedger, lines: list[Billed], scope: str, why: str) -> list[Reconciled]:
    """Book the differences, each in a transaction of its own; what is booked already stays so if one is refused."""
    from tokenguard.calls.acts import who  # noqa: PLC0415  # reading a statement needs no calls
    from tokenguard.calls.scoped import path_scopes  # noqa: PLC0415  # as above
    from tokenguard.core.adjusting import one_line  # noqa: PLC0415  # as above

    keys = tuple(one.key for one in path_scopes("", scope, ()))
    if not keys:
        raise SettingsError("--scope '' names nobody. Give a path such as acme/search, or leave the option out.")
    now, by = SystemClock().now(), who()
    early = next((one.day for one in lines if one.day >= now.date()), None)
    if early is not None:
        raise SettingsError(
            f"{early} is not over (UTC), and its calls are still being booked. Book it from tomorrow on, or leave its "
            "lines out."
        )
    reason = one_line("why", why)
    return [ledger.reconcile(one, scope_keys=keys, why=reason, by=by, at=now) for one in lines]


def _print(found: Comparison, done: list[Reconciled], place: str, scope: str, *, booked: bool, findings: int) -> None:
    show(found.table())
    say("")
    for day, provider, usd in found.left_out:
        say(f"{day} {visible(provider)}: {usd} booked, and not in the statement; not compared.")
    if booked:
        total = Money.from_pico(sum(one.difference.pico for one in done))
        events = "1 difference" if len(done) == 1 else f"{len(done):,} differences"
        say(f"{events} booked to {visible(scope)}, {total} together: the books say what was billed.")
    elif findings:
        lines = "1 line differs" if findings == 1 else f"{findings:,} lines differ"
        say(f'{lines} by more than the tolerance. To book what differs: --book --why "…"')
    else:
        say("The books say what was billed, within the tolerance.")
    say(f"ledger: {place}")


def _json(one: Reconciled) -> dict[str, Any]:
    billed = one.billed
    return {
        "id": one.id,
        "day": billed.day.isoformat(),
        "provider": billed.provider,
        "model": billed.model,
        "usd": one.difference.json(),
    }
