"""What the demo says about itself: the change to the code, the judge, the receipt and what to type next."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from tokenguard.cli.terminal import say, show
from tokenguard.reports.runs import tree_table

if TYPE_CHECKING:
    from tokenguard.cli.demo.burn import Burn
    from tokenguard.cli.demo.guarded import Outcome
    from tokenguard.cli.demo.screen import Screen
    from tokenguard.core.money import Money

__all__ = ["heading_of", "last_words", "next_commands"]

_ID_SHOWN = 18
"""The millisecond and the first random digits: one run even in a ledger where many begin together."""


def heading_of(screen: Screen, cap: Money, model: str | None) -> None:
    """Begin the guarded half: the whole difference to the code."""
    screen.heading(f"{'2. The same' if model is None else 'A recursive research'} agent, with a cap of ${cap.json()}")
    screen.tell(
        f'+  @guard.agent("researcher", budget=tg.Budget(usd="{cap.json()}"))',
        "   async def research(question, notes, level):",
        "-      reply = await litellm.acompletion(model, messages)",
        "+      reply = await guard.acompletion(model, messages)",
    )


def last_words(burn: Burn | None, outcome: Outcome, database: str) -> None:
    """Print the end: why it stopped, who says so, what it cost and where that stands."""
    ended = outcome.ended_by
    say("", f"Stopped: {ended.sentence}" if ended else "It finished by itself, below its cap.")
    say("", *_judged(outcome))
    if burn is not None:
        spent = outcome.receipt.cost
        say(f"Without the guard: {burn.spent} when it was unplugged. With it: {spent}, and it stays there.")
    say("", "The receipt", style="bold")
    show(tree_table(outcome.receipt))
    say("", "Spend by agent and model, from the ledger", style="bold")
    show(outcome.spend.table())
    say("", f"The ledger: {outcome.receipt.ledger}", "Look into it:")
    say(*(f"  {command}" for command in next_commands(outcome, database)), fold=False)


def next_commands(outcome: Outcome, database: str) -> list[str]:
    """What to type next."""
    where = f"--database {shlex.quote(database)}"
    run_id = outcome.receipt.node.id
    return [
        f"tokenguard runs show {run_id[:_ID_SHOWN]} {where}",
        f"tokenguard report spend --by agent,model {where}",
        f"tokenguard db verify {where}",
    ]


def _judged(outcome: Outcome) -> list[str]:
    """The claim, checked by somebody who is not us."""
    receipt = outcome.receipt
    over = receipt.cost > outcome.cap
    lines = [f"Spent {receipt.cost} of ${outcome.cap.json()}: {'MORE THAN THE CAP.' if over else 'not a cent over.'}"]
    if outcome.arrived is not None:
        same = "they agree" if outcome.arrived == receipt.calls else "THEY DISAGREE"
        lines.append(
            f"Requests that reached the model server: {outcome.arrived}. Calls in the ledger: {receipt.calls}; {same}."
        )
    replay = "replay to the pico-dollar" if outcome.books_replay else "DO NOT REPLAY (tokenguard db verify)"
    return [*lines, f"The books {replay}."]
