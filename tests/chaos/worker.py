"""One process of a round: agents that call a model until they are stopped, killed, or done."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

from sqlalchemy import event
from support import PENNY, PRICES

import tokenguard as tg
from chaos.backend import BrokenCall, PlainBackend
from chaos.plan import ORG, Plan, WorkerPlan
from tokenguard.config.owners import owner_id
from tokenguard.core.allowance import Exchange, Exchanged
from tokenguard.core.books import Booking, Settled, Status
from tokenguard.core.clock import SystemClock
from tokenguard.core.ids import RandomIds
from tokenguard.ledger.allowances import Allowances
from tokenguard.ledger.conditions import Conditions
from tokenguard.ledger.forwarding import Forwarding
from tokenguard.ledger.journal import Journaled, Replayed
from tokenguard.ledger.sql import SqlLedger
from tokenguard.ledger.tx import Tx

__all__ = ["leases_in", "live"]

MAX_TOKENS: Final = 400
_CALLS_PER_RUN: Final = 5
_CALL_TIMEOUT_S: Final = 0.4
_PAUSE_S: Final = 0.03
"""After a failure, as a client would wait before it tries again."""
_CRAMPED, _ROOMY = 1, 2**32 - 2
"""Pages that SQLite may use: never fewer than there are."""


class _Fate:
    """Ends this process at the n-th time that it comes to a place."""

    def __init__(self, worker: WorkerPlan) -> None:
        self._dies = worker.dies
        self._seen: Counter[str] = Counter()

    def reach(self, place: str) -> None:
        self._seen[place] += 1
        if self._dies == (place, self._seen[place]):
            os.kill(os.getpid(), signal.SIGKILL)


def live(
    plan: Plan,
    worker: WorkerPlan,
    ledger: SqlLedger,
    *,
    spools: Path,
    model: tuple[str, int],
    say: Callable[[str], None],
) -> None:
    """Work off a worker's plan.

    Args:
        plan: The round's.
        worker: This process's part in it.
        ledger: Made by the parent, without connections.
        spools: Folder of this round's journals.
        model: Host and port of the model.
        say: Takes a line for each settlement that the ledger or the journal acknowledged (`settled ATTEMPT PICO`), for
            each that was journaled (`journaled ATTEMPT`), for what a replay did (`replayed BOOKED REFUSED`) and for
            each trouble that was met (`met WHAT`).
    """
    fate, ends_s = _Fate(worker), time.monotonic() + plan.deadline_s
    ledger.dispose(forked=True)
    _make_mortal(ledger, worker, fate)
    time.sleep(worker.begins_s)
    guard = tg.Guard(
        ledger=_books(plan, ledger, spools, fate, say),
        backend=PlainBackend(*model, fate.reach),
        prices=PRICES,
        scope=f"{ORG}/{worker.team}",
        budget=tg.Budget(usd=_dollars(plan.team_cents), per="total", allowance=True if plan.leases else None),
        busy=worker.busy,
    )
    guard.on(tg.events.Settlement, lambda settled: _acknowledge(settled, say))
    guard.on(tg.events.Journaled, lambda one: say(f"journaled {one.attempt_id}\n"))
    guard.on(tg.events.Fault, lambda fault: say(f"met {fault.where}: {_named(fault.error)}\n"))
    dice, left = Random(worker.seed), worker.calls  # a plan, not a secret
    while left > 0 and time.monotonic() < ends_s:
        calls = min(left, dice.randint(1, _CALLS_PER_RUN))
        try:
            _run(guard, plan, worker.team, dice, calls=calls, say=say)
            left -= calls
        except (tg.TokenguardError, BrokenCall) as error:
            # A ledger that is away costs no calls; the deadline is what ends the trying.
            left -= 0 if isinstance(error, tg.LedgerUnavailable) else calls
            time.sleep(_PAUSE_S)
    if worker.closes:
        guard.close()


def _books(plan: Plan, ledger: SqlLedger, spools: Path, fate: _Fate, say: Callable[[str], None]) -> Any:
    """The ledger as this round uses it: bare, journaled, with allowances, or all of it."""
    books: Any = _Journal(ledger, spools, fate, say) if plan.journals else ledger
    if not plan.leases:
        return books
    listener = _Told(say)
    conditions = Conditions(
        leases_in(spools), SystemClock(), RandomIds(), owner_id, listener, bridges=plan.bridges, tick_s=0.1
    )
    lends = Allowances(books, conditions)
    ledger.before_burying = lends.take_over
    return lends


def leases_in(spools: Path) -> Path:
    """Where a round's allowances are written down."""
    return spools.with_name(f"{spools.name}-leases")


class _Told:
    """Hears what allowances do."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def leasing(self) -> bool:
        return True

    def exchanged(self, request: Exchange, done: Exchanged) -> None:
        self._say(f"leased {done.lease_id is not None and request.times > 0:d} {len(request.paid)}\n")
        for conflict in done.refused:
            self.failed(conflict)

    def failed(self, error: tg.TokenguardError) -> None:
        self._say(f"met allowance: {_named(error)}\n")


def _run(guard: tg.Guard, plan: Plan, team: str, dice: Random, *, calls: int, say: Callable[[str], None]) -> None:
    """A run with an agent in it that makes some calls, and does not give up at the first failure."""
    failures = 0
    with guard.run("run", budget=tg.Budget(usd=_dollars(plan.run_cents), calls=_CALLS_PER_RUN)) as run:
        with guard.run("agent", budget=tg.Budget(usd=_dollars(plan.agent_cents))) as agent:
            for _ in range(calls):
                try:
                    _call(guard, {"team": team, "run": run.id, "agent": agent.id}, dice)
                except (tg.TokenguardError, BrokenCall) as error:
                    failures += 1
                    say(f"met {_named(error)}\n")
                    if failures == _CALLS_PER_RUN - 1:
                        raise
                    time.sleep(_PAUSE_S)


def _call(guard: tg.Guard, payers: dict[str, str], dice: Random) -> None:
    """A call that tells the model who pays, so that the model's own count can be laid beside the books."""
    messages = [{"role": "user", "content": json.dumps({**payers, "number": dice.randrange(2**32)})}]
    options: dict[str, Any] = {
        "max_tokens": MAX_TOKENS,
        "timeout": _CALL_TIMEOUT_S,
        "num_retries": dice.choice((0, 0, 1)),
    }
    if dice.random() < 0.25:
        for _ in guard.completion(PENNY, messages, stream=True, **options):
            pass
    else:
        guard.completion(PENNY, messages, **options)


class _Journal(Journaled):
    """A journal whose process may end before and after each of its acts."""

    def __init__(self, ledger: SqlLedger, spools: Path, fate: _Fate, say: Callable[[str], None]) -> None:
        self._fate, self._replays = fate, threading.local()
        super().__init__(_Booked(ledger, self._reached), spools, lambda done: say(_told(done)))

    def _write(self, record: dict[str, Any]) -> None:
        self._fate.reach("before journaling")
        super()._write(record)
        self._fate.reach("after journaling")

    def catch_up(self) -> Replayed:
        return self._replaying_with(super().catch_up)

    def take_over(self) -> Replayed:
        return self._replaying_with(super().take_over)

    def _replaying_with(self, act: Callable[[], Replayed]) -> Replayed:
        self._fate.reach("before a replay")
        self._replays.now = True
        try:
            return act()
        finally:
            self._replays.now = False

    def _reached(self) -> None:
        if getattr(self._replays, "now", False):
            self._fate.reach("in a replay")


class _Booked(Forwarding):
    """Says when a settlement is in the books."""

    def __init__(self, ledger: SqlLedger, reached: Callable[[], None]) -> None:
        super().__init__(ledger)
        self._reached = reached
        self.caps, self.exchange = ledger.caps, ledger.exchange

    def settle(self, hold_id: str, booking: Booking) -> Settled:
        done = self.inner.settle(hold_id, booking)
        self._reached()
        return done


def _told(done: Replayed) -> str:
    return f"replayed {done.booked} {len(done.refused)}\n"


def _make_mortal(ledger: SqlLedger, worker: WorkerPlan, fate: _Fate) -> None:
    """Let transactions end with the process before or after their commit, or meet a full disk."""
    database = ledger._database
    transact = database.transact
    numbers = Counter[str]()

    def mortal(work: Callable[[Tx], Any], **how: Any) -> Any:
        numbers["transactions"] += 1

        def dying(tx: Tx) -> Any:
            if worker.cramped is not None and numbers["transactions"] in worker.cramped:
                pages = _CRAMPED if numbers["transactions"] == worker.cramped[0] else _ROOMY
                tx._driver.execute(f"PRAGMA max_page_count={pages}")
            done = work(tx)
            fate.reach("in a transaction")
            return done

        done = transact(dying, **how)
        fate.reach("after a commit")
        return done

    if database.address.is_sqlite:
        event.listen(database.engine, "connect", lambda connection, _: _wait_for_locks(connection, worker.lock_wait_s))
    database.transact = mortal  # type: ignore[method-assign]


def _wait_for_locks(connection: Any, wait_s: float) -> None:
    connection.execute(f"PRAGMA busy_timeout={round(wait_s * 1_000)}")


def _acknowledge(settled: tg.events.Settlement, say: Callable[[str], None]) -> None:
    if settled.booking.status is not Status.UNRESOLVED:
        say(f"settled {settled.attempt_id} {settled.booking.amounts.usd_pico}\n")


def _named(error: BaseException) -> str:
    """What was met, without addresses and numbers."""
    if isinstance(error, tg.LedgerUnavailable):
        return f"ledger {error.sentence.removeprefix(f'ledger {error.database} ').partition('. ')[0]}"
    return error.failure.error_class if isinstance(error, BrokenCall) else type(error).__name__


def _dollars(cents: int) -> str:
    return f"{cents / 100:.2f}"
