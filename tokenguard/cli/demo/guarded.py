"""The second half: the same agent, decorated. What it spent is read from the ledger; the server is the judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tokenguard.calls.receipts import run_receipt
from tokenguard.cli.demo.agent import QUESTION, Ask, Researcher
from tokenguard.core import events
from tokenguard.core.budget import Budget
from tokenguard.core.clock import SystemClock
from tokenguard.core.ids import RandomIds
from tokenguard.core.money import Money
from tokenguard.errors import SpendRefused, TokenguardError, find_stop
from tokenguard.guard import Guard
from tokenguard.ledger.sql import SqlLedger
from tokenguard.reports.spend import SpendReport, spend_report

if TYPE_CHECKING:
    from tokenguard.cli.demo.screen import Screen
    from tokenguard.core.ports import Backend
    from tokenguard.core.receipt import Receipt
    from tokenguard.testing.model_server import ModelServer

__all__ = ["Outcome", "run_guarded"]

_ANSWER_TOKENS: Final = 480
"""What the offline agent asks for; a real model is asked for nothing, and the guard chooses."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the guarded agent ended, as the ledger has it."""

    cap: Money
    receipt: Receipt
    spend: SpendReport
    ended_by: TokenguardError | None
    """None: it finished by itself."""
    arrived: int | None
    """Requests that the model server counted; None with a real provider, which does not tell."""
    books_replay: bool
    depth: int

    @property
    def ok(self) -> bool:
        """Nothing over the cap, nothing sent past the books, and the books replay."""
        judged = self.arrived is None or self.arrived == self.receipt.calls
        return self.receipt.cost <= self.cap and judged and self.books_replay

    def json(self) -> dict[str, Any]:
        """As JSON values; money as decimal strings of dollars."""
        ended = self.ended_by
        return {
            "cap_usd": self.cap.json(),
            "usd": self.receipt.cost.json(),
            "over_cap": self.receipt.cost > self.cap,
            "calls_booked": self.receipt.calls,
            "requests_arrived": self.arrived,
            "books_replay": self.books_replay,
            "depth": self.depth,
            "ended_by": {"code": ended.code, "sentence": ended.sentence} if ended else None,
            "receipt": self.receipt.json(),
            "spend": self.spend.json(),
        }


async def run_guarded(
    cap: Money,
    database: str,
    backend: Backend,
    *,
    models: tuple[str, str],
    server: ModelServer | None,
    screen: Screen,
) -> Outcome:
    """Run the agent under a cap until it ends.

    Args:
        cap: For the whole tree.
        database: Where the books are kept.
        backend: Reaches the models.
        models: The one that reads, and the one that researches.
        server: The loopback model server; None: the provider that the models' names lead to.
        screen: Shows how far it is.
    """
    progress = _Progress(cap, screen)
    with Guard(database=database, backend=backend, scope="demo") as guard:
        guard.on(events.Settlement, progress)
        agent = Researcher(_asker(guard, server), models, guard.agent("researcher", budget=Budget(usd=cap)))
        with screen.progress("The same agent runs guarded …"):
            ended_by = await _ended_by(agent)
    ledger = SqlLedger.open(database, SystemClock(), RandomIds())
    try:
        root_id = progress.root_id or ledger.runs(1)[0].id
        receipt = run_receipt(ledger, root_id)
        assert receipt is not None, "the agent has run"
        return Outcome(
            cap=cap,
            receipt=receipt,
            spend=spend_report(ledger, ("agent", "model"), since=progress.began),
            ended_by=ended_by,
            arrived=None if server is None else server.count,
            books_replay=ledger.verify().ok,
            depth=agent.depth,
        )
    finally:
        ledger.dispose()


async def _ended_by(agent: Researcher) -> TokenguardError | None:
    """Run it to its end; the error of ours that ended it, if one did. A provider's own errors pass."""
    try:
        await agent.research(QUESTION, "", 1)
    except SpendRefused as refused:
        return refused
    except Exception as error:
        stop = find_stop(error)
        if stop is None:
            raise
        return stop
    return None


def _asker(guard: Guard, server: ModelServer | None) -> Ask:
    """Ask through the guard; offline, the model server stands in for the provider."""
    offline: dict[str, Any] = {}
    if server is not None:
        offline = {"api_base": server.url, "api_key": "none", "max_tokens": _ANSWER_TOKENS}

    async def ask(model: str, messages: list[dict[str, str]]) -> str:
        reply = await guard.acompletion(model, messages, **offline)
        return str(reply.choices[0].message.content or "")

    return ask


class _Progress:
    """Adds settlements up for the screen, and remembers whose they are."""

    def __init__(self, cap: Money, screen: Screen) -> None:
        self.began = SystemClock().now()
        self.root_id: str | None = None
        self._cap, self._screen = cap, screen
        self._pico = self._calls = 0

    def __call__(self, event: events.Settlement) -> None:
        self.root_id = event.facts.root_id
        self._pico += event.booking.amounts.usd_pico
        self._calls += event.booking.amounts.calls
        self._screen.update(f"guarded  {Money.from_pico(self._pico)} of ${self._cap.json()}  {self._calls:,} calls")
