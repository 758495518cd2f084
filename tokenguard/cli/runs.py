"""`tokenguard runs`: what runs and ran, why it was stopped, and the two acts of a person: stop and resume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tokenguard.calls.receipts import run_receipt
from tokenguard.cli.ledgers import find_run, opened
from tokenguard.cli.options import FINDING, Database, Json
from tokenguard.cli.terminal import document, say, show
from tokenguard.core.receipt import loop_sentence
from tokenguard.reports.runs import run_json, runs_table, state_of, tree_table
from tokenguard.reports.tables import visible

if TYPE_CHECKING:
    from tokenguard.core.receipt import Receipt
    from tokenguard.guard import Guard
    from tokenguard.ledger.sql import SqlLedger

__all__ = ["app"]

app = typer.Typer(help="Runs: list, show, stop, resume.", no_args_is_help=True)

RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or at least eight characters of it.")]
Why = Annotated[str, typer.Option("--why", help="The reason, for the books.")]


@app.command("list")
def list_runs(
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    only_open: Annotated[bool, typer.Option("--open", help="Only runs that have not ended.")] = False,
    as_json: Json = False,
    database: Database = None,
) -> None:
    """List root runs, newest first, each with what its whole tree spent."""
    with opened(database) as ledger:
        nodes = ledger.runs(limit, open_only=only_open)
        place = ledger.name
    if as_json:
        document({"runs": [run_json(node) for node in nodes], "ledger": place})
    elif not nodes:
        say(f"There are no {'open ' if only_open else ''}runs. Ledger: {place}")
    else:
        show(runs_table(nodes))
        say("", f"ledger: {place}")


@app.command("show")
def show_run(run: RunId, as_json: Json = False, database: Database = None) -> None:
    """Show one run as a tree: what each part cost, what is held, estimated or assumed, and why it was stopped."""
    with opened(database) as ledger:
        receipt = run_receipt(ledger, find_run(ledger, run))
    assert receipt is not None, "it was just found"
    if as_json:
        document({**receipt.json(), "state": state_of(receipt.node)})
        return
    node = receipt.node
    say(f"{node.kind} {visible(node.name)}  {node.id}")
    ended = f"{node.ended_at:%H:%M:%S} UTC" if node.ended_at else "not yet"
    place = f"scope {visible(node.scope)}, " if node.scope else ""
    say(f"{place}began {node.started_at:%Y-%m-%d %H:%M:%S} UTC, ended {ended}: {state_of(node)}")
    if receipt.stopped:
        say("", f"stopped: {visible(receipt.stopped, 600)}")
    say("")
    show(tree_table(receipt))
    say("", *_legend(receipt), f"ledger: {receipt.ledger}")


@app.command()
def stop(run: RunId, why: Why, as_json: Json = False, database: Database = None) -> None:
    """Close a run and all below it, in every process: nothing more is sent. Exit code 1 if it was closed already."""
    with opened(database) as ledger:
        run_id = find_run(ledger, run)
        with _acting_on(ledger) as guard:
            closed = guard.kill(run_id, why=why)
    _answer(run_id, "stopped", closed, as_json, "It was closed already; nothing changed.")


@app.command()
def resume(run: RunId, why: Why, as_json: Json = False, database: Database = None) -> None:
    """Let a stopped run go on. Exit code 1 if it was not stopped. A spent cap stops it again unless it is raised."""
    with opened(database) as ledger:
        run_id = find_run(ledger, run)
        spent = any(closure.account_id for closure in ledger.closures((run_id,)))
        with _acting_on(ledger) as guard:
            reopened = guard.resume(run_id, why=why)
    _answer(run_id, "resumed", reopened, as_json, "It was not stopped; nothing changed.")
    if reopened and spent and not as_json:
        say(f"Its cap is still spent. To raise it: tokenguard budget set run:{run_id} --usd AMOUNT --per run")


def _acting_on(ledger: SqlLedger) -> Guard:
    """A guard that only acts: it declares no budget of its own, whatever the project's settings say."""
    from tokenguard.core.budget import Budget  # noqa: PLC0415
    from tokenguard.guard import Guard  # noqa: PLC0415  # assembling a guard loads what reading does not need

    return Guard(ledger=ledger, scope="", budget=Budget(), unattributed=Budget())


def _answer(run_id: str, what: str, done: bool, as_json: bool, otherwise: str) -> None:
    if as_json:
        document({"run": run_id, what: done})
    else:
        say(f"run {run_id} is {what}." if done else otherwise)
    if not done:
        raise typer.Exit(FINDING)


def _legend(receipt: Receipt) -> list[str]:
    """What the marks mean, where there are any, and the sums."""
    lines: list[str] = []
    if receipt.held:
        lines.append("held: reserved for calls in flight, or for calls nobody could resolve yet; not spent.")
    if receipt.estimated:
        lines.append("estimated: counted by tokenguard, because the provider reported nothing.")
    if receipt.assumed:
        lines.append("assumed: booked at its ceiling, because nobody could say.")
    lines += [visible(loop_sentence(loop), 300) for loop in receipt.loops]
    calls = "call" if receipt.calls == 1 else "calls"
    return [*lines, f"total: {receipt.cost} (exactly {receipt.cost.json()}) in {receipt.calls:,} {calls}"]
