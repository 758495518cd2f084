"""`tokenguard budget`: caps that are stored in the ledger, and the number a person puts on one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tokenguard.cli.ledgers import opened
from tokenguard.cli.options import Database, Json
from tokenguard.cli.terminal import document, say, show
from tokenguard.core.account import scope_key
from tokenguard.core.budget import PERIODS, Budget, Per, Unit
from tokenguard.core.clock import SystemClock
from tokenguard.errors import BadAmount, SettingsError
from tokenguard.reports.budgets import budget_json, budgets_table

if TYPE_CHECKING:
    from tokenguard.ledger.accounts import BudgetState

__all__ = ["app"]

app = typer.Typer(help="Budgets: caps in force, and setting one.", no_args_is_help=True)


@app.command("list")
def list_budgets(
    every: Annotated[bool, typer.Option("--all", help="Also the caps of single runs.")] = False,
    as_json: Json = False,
    database: Database = None,
) -> None:
    """List stored caps with what their present window has left."""
    with opened(database) as ledger:
        states = ledger.budgets(SystemClock().now())
        place = ledger.name
    shown = [one for one in states if every or not one.budget.scope_key.startswith(("run:", "step:"))]
    if as_json:
        document({"budgets": [budget_json(one) for one in shown], "ledger": place})
        return
    if shown:
        show(budgets_table(shown))
        say("")
    else:
        say("No scope or agent has a budget yet; `tokenguard budget set SCOPE --usd 50 --per day` sets one.")
    hidden = len(states) - len(shown)
    note = f"{hidden:,} caps of single runs are not listed (--all). " if hidden else ""
    say(f"{note}ledger: {place}")


@app.command("set")
def set_budget(
    scope: Annotated[str, typer.Argument(help="A path such as acme/search, or a key: scope:…, agent:…, run:<id>.")],
    *,
    per: Annotated[str, typer.Option(help=f"One of {', '.join(PERIODS)}, or as in 'rolling 24h'.")],
    usd: Annotated[str | None, typer.Option(help="Dollars, as in 50 or 2.50.")] = None,
    tokens: Annotated[int | None, typer.Option(help="Input plus output tokens.")] = None,
    calls: Annotated[int | None, typer.Option(help="Attempts sent.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps.")] = None,
    tz: Annotated[str, typer.Option(help="The calendar that windows follow, as in Europe/Berlin.")] = "UTC",
    as_json: Json = False,
    database: Database = None,
) -> None:
    """Set a cap, as a person. It binds every process there, and stands until the code declares another number."""
    key = _key_of(scope)
    budget = Budget(usd=usd, tokens=tokens, calls=calls, steps=steps, per=_period(per, key), tz=tz)
    if not budget.caps():
        raise BadAmount("say what the cap is: --usd, --tokens, --calls or --steps.", amount=None)
    now = SystemClock().now()
    with opened(database, create=True) as ledger:
        for unit, cap in budget.caps():
            ledger.set_cap(key, unit, budget.per, budget.tz, cap, by=_who(), at=now)
        states = [one for one in ledger.budgets(now) if one.budget.scope_key == key and one.budget.per == budget.per]
        place = ledger.name
    _print(states, as_json, place)


@app.command("unset")
def unset_budget(
    scope: Annotated[str, typer.Argument(help="A path such as acme/search, or a key: scope:…, agent:…, run:<id>.")],
    *,
    per: Annotated[str, typer.Option(help=f"One of {', '.join(PERIODS)}, or as in 'rolling 24h'.")],
    unit: Annotated[str, typer.Option(help=f"One of {', '.join(Unit)}; without it all of them.")] = "",
    tz: Annotated[str, typer.Option(help="The calendar that its windows follow.")] = "UTC",
    declared: Annotated[
        bool, typer.Option(help="Forget what code and file declared too, until they do again.")
    ] = False,
    as_json: Json = False,
    database: Database = None,
) -> None:
    """Take back a cap that a person set: what code or file declare holds again."""
    key = _key_of(scope)
    chosen = [one for one in Unit if unit in ("", one)]
    if not chosen:
        raise SettingsError(f"--unit {unit!r} is not one of {', '.join(Unit)}.")
    period, now = Budget(calls=0, per=_period(per, key), tz=tz).per, SystemClock().now()
    with opened(database) as ledger:
        done = [one for one in chosen if ledger.unset_cap(key, one, period, tz, by=_who(), at=now, declared=declared)]
        states = [one for one in ledger.budgets(now) if one.budget.scope_key == key and one.budget.per == period]
        place = ledger.name
    if not done:
        raise SettingsError(
            f"no person set a cap per {period} ({tz}) on {key}. See `tokenguard budget list`; --declared forgets one "
            "that code or file declared."
        )
    if states or as_json:
        _print(states, as_json, place)
    else:
        say(f"nothing caps {key} per {period} now.", f"ledger: {place}")


def _print(states: list[BudgetState], as_json: bool, place: str) -> None:
    if as_json:
        document({"budgets": [budget_json(one) for one in states], "ledger": place})
    else:
        show(budgets_table(states))
        say("", f"ledger: {place}")


def _key_of(scope: str) -> str:
    """The scope's key from what a person writes: a key, or a path."""
    key = scope_key(scope)
    if key is None:
        raise SettingsError(f"{scope!r} names no scope: write a path such as acme/search, or a key such as run:<id>.")
    return key


def _period(per: str, key: str) -> Per:
    """A period, as `Budget` will judge it; `run` means something for a run only."""
    if per == "run" and not key.startswith("run:"):
        raise SettingsError(
            f"--per run caps one run, and {key!r} is not one. Name a run (run:<id>), or choose a period such as day."
        )
    return per


def _who() -> str:
    """Who acts, for the books."""
    import getpass  # noqa: PLC0415

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
