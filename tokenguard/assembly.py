"""From settings to ports: the one place that knows every driver. Heavy libraries are loaded when they are needed."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenguard.calls.baggage import hosts_of
from tokenguard.calls.hub import Hub, record
from tokenguard.calls.lifecycle import give_back_at_sigterm
from tokenguard.calls.parts import Parts
from tokenguard.calls.settlement import warnings
from tokenguard.core import events
from tokenguard.core.allowance import together
from tokenguard.core.clock import SystemClock
from tokenguard.core.folding import Folding, Level
from tokenguard.errors import Unpriceable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tokenguard.calls.routes import Routes
    from tokenguard.config.settings import Settings
    from tokenguard.core.allowance import Exchange, Exchanged
    from tokenguard.core.clock import Clock
    from tokenguard.core.ids import Ids
    from tokenguard.core.ports import Backend, Ledger, PriceBook, TokenCounter
    from tokenguard.errors import TokenguardError
    from tokenguard.ledger.journal import Replayed
    from tokenguard.prompt.folder import Folder
    from tokenguard.routing.route import Route

__all__ = ["Ports", "assemble", "open_ledger"]

MEMORY = "memory"
_COMMON_MODEL = "openai/gpt-4o"


@dataclass(frozen=True, slots=True)
class Ports:
    """What a caller brought along instead of what the settings name."""

    prices: Any = None
    backend: Backend | None = None
    ledger: Ledger | None = None
    clock: Clock | None = None
    routes: Mapping[str, Route] | None = None


def assemble(guard: object, given: Mapping[str, Any], *, hub: Hub, ids: Ids, ports: Ports) -> tuple[Parts, Settings]:
    """Build a guard's parts from what it was given, the environment and the project file."""
    from tokenguard.backends.options import REFUSED  # noqa: PLC0415
    from tokenguard.backends.retry import TenacityRetry  # noqa: PLC0415
    from tokenguard.config.owners import owner_id  # noqa: PLC0415
    from tokenguard.config.settings import load_settings  # noqa: PLC0415
    from tokenguard.counting.counter import Counter  # noqa: PLC0415
    from tokenguard.pricing.policy import Prices  # noqa: PLC0415
    from tokenguard.pricing.shapes import served_tier, split_usage  # noqa: PLC0415

    directory = Path.cwd()
    settings = load_settings(given, environ=os.environ, directory=directory)
    clock = ports.clock or SystemClock()
    backend, counter = ports.backend or _litellm(enforce=settings.mode == "enforce"), Counter()
    book = Prices.of(settings.prices if ports.prices is None else ports.prices)

    def warm() -> None:
        backend.warm()
        counter.warm(_COMMON_MODEL)
        with contextlib.suppress(Unpriceable):  # only the reading of the price data matters
            book.card(_COMMON_MODEL)

    parts = Parts(
        ledger=ports.ledger
        or open_ledger(settings, directory=directory, clock=clock, ids=ids, background=_Background(hub, clock)),
        backend=backend,
        prices=book,
        counter=counter,
        warm=warm,
        split_usage=split_usage,
        served_tier=served_tier,
        retry=_retries(TenacityRetry),
        clock=clock,
        ids=ids,
        emit=hub.emit,
        hears=hub.hears,
        owner=owner_id(),
        new_owner=owner_id,
        owner_key=guard,
        refused=REFUSED,
        mode=settings.mode,
        busy=settings.busy,
        baggage_hosts=hosts_of(settings.baggage_hosts),
        trust_baggage=settings.trust_baggage,
        folder=_folder(settings.folding(), counter, clock),
        routes=_routes(ports.routes, book, clock),
    )

    record(hub, parts.ledger, ids, _submitter(parts))
    return parts, settings


def _routes(routes: Mapping[str, Route] | None, prices: PriceBook, clock: Clock) -> Routes | None:
    if not routes:
        return None
    from tokenguard.backends.polling import places_of, poll  # noqa: PLC0415
    from tokenguard.calls.routes import Routes  # noqa: PLC0415

    options = {model: route.options or {} for model, route in routes.items()}
    every_s = min(route.poll_s for route in routes.values())

    def begin_polling(begun: Routes) -> Callable[[], None]:
        return poll(places_of(begun.routers, options), every_s=every_s, clock=clock)

    return Routes(routes, prices, clock, begin_polling)


def _folder(folding: Folding, counter: TokenCounter, clock: Clock) -> Folder | None:
    from tokenguard.prompt.folder import Folder  # noqa: PLC0415

    return None if folding.level is Level.OFF else Folder(folding, counter.count, clock.monotonic)


class _Background:
    """Tells the sinks what ledgers do while nobody waits for them."""

    def __init__(self, hub: Hub, clock: Clock) -> None:
        self._hub, self._clock = hub, clock

    def replayed(self, done: Replayed) -> None:
        """Bookings that were journaled are in the books."""
        count = len(done.refused)
        odd = f" {count:,} contradict the books and stay beside the spool: {done.refused[0].sentence}" if count else ""
        sentence = f"{done.booked:,} bookings that were journaled while the ledger was away are in the books.{odd}"
        at = self._clock.now()
        self._hub.emit(events.Replayed(at=at, run_id=None, sentence=sentence, booked=done.booked, refused=count))

    def leasing(self) -> bool:
        """Leases go back when the process is told to end."""
        return give_back_at_sigterm()

    def exchanged(self, request: Exchange, done: Exchanged) -> None:
        """What allowances paid is in the books."""
        settled = together([one.booking.amounts for one in request.paid])
        for state in done.settled:
            for warning in warnings(state, settled, at=request.lease.at, run_id=request.lease.facts.run_id):
                self._hub.emit(warning)
        for conflict in done.refused:
            self.failed(conflict)

    def failed(self, error: TokenguardError) -> None:
        """Something is tried again later, or needs a person."""
        self._hub.emit(events.Fault(at=self._clock.now(), run_id=None, where="allowance", error=error))


def _submitter(parts: Parts) -> Callable[..., None]:
    """Runs ledger work that nobody waits for."""

    def submit(work: Callable[..., object], *arguments: object) -> None:
        if parts.ledger.inline:
            work(*arguments)
            return
        try:
            parts.executor.submit(work, *arguments)
        except RuntimeError:
            work(*arguments)  # The executor is shut down at interpreter exit; the fact is written all the same.

    return submit


def open_ledger(
    settings: Settings,
    *,
    directory: Path,
    clock: Clock,
    ids: Ids,
    background: _Background,
) -> Ledger:
    """The ledger that the settings name; where they name none, the default file, said once on stderr."""
    if settings.database == MEMORY:
        from tokenguard.ledger.memory import MemoryLedger  # noqa: PLC0415

        return MemoryLedger(clock, ids)
    from tokenguard.config.location import allowance_folder, default_database, spool_folder  # noqa: PLC0415
    from tokenguard.config.owners import owner_id  # noqa: PLC0415
    from tokenguard.ledger.allowances import Allowances  # noqa: PLC0415
    from tokenguard.ledger.conditions import Conditions  # noqa: PLC0415
    from tokenguard.ledger.journal import Journaled  # noqa: PLC0415
    from tokenguard.ledger.sql import SqlLedger  # noqa: PLC0415

    database = settings.database
    if database is None:
        database = str(default_database(directory))
        _say_once(database)
    ledger = SqlLedger.open(database, clock, ids, durability=settings.durability)
    folder = spool_folder(settings.spool, ledger.name)
    lends = Allowances(
        Journaled(ledger, folder, background.replayed),
        Conditions(
            allowance_folder(folder),
            clock,
            ids,
            owner_id,
            background,
            bridges=settings.on_ledger_down == "allowance",
        ),
    )
    ledger.before_burying = lends.take_over
    return lends


_SAID: set[str] = set()


def _say_once(database: str) -> None:
    if database not in _SAID:
        _SAID.add(database)
        sys.stderr.write(
            f"tokenguard: the ledger is {database} (Guard(database=...) or TOKENGUARD_DATABASE to choose)\n"
        )


def _litellm(*, enforce: bool) -> Backend:
    from tokenguard.backends.litellm import LiteLLMBackend  # noqa: PLC0415

    return LiteLLMBackend(enforce=enforce)


def _retries(policy: Any) -> Callable[[int | None], Any]:
    """Retry policies by number of retries, made once each."""
    made: dict[int | None, Any] = {}

    def retry(retries: int | None) -> Any:
        if retries not in made:
            made[retries] = policy() if retries is None else policy(retries=retries)
        return made[retries]

    return retry
