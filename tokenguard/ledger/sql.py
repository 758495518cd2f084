"""`SqlLedger`: the books in SQLite or PostgreSQL. One transaction per method; the work is in the modules beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from secrets import token_hex
from typing import Any, Final, TypeVar

from tokenguard.core.account import Account, Scope
from tokenguard.core.adjusting import Adjusted, Adjustment
from tokenguard.core.allowance import Exchange, Exchanged
from tokenguard.core.books import Booking, Closure, Entry, GuardEvent, Hold, NodeSpend, Settled, Source, SpendRow
from tokenguard.core.budget import Unit
from tokenguard.core.clock import Clock, SystemClock
from tokenguard.core.ids import Ids
from tokenguard.core.looping import LoopSpend
from tokenguard.core.statement import Billed, Reconciled
from tokenguard.core.tree import Crowded, TooFast
from tokenguard.core.verdict import AccountState, Ask, Grant, Reason, Short
from tokenguard.ledger import (
    adjusting,
    capping,
    closing,
    lending,
    loops,
    orphans,
    queries,
    reconciling,
    reserving,
    schema,
    settling,
    spending,
)
from tokenguard.ledger.accounts import BudgetState, Windows
from tokenguard.ledger.address import Address
from tokenguard.ledger.engine import Database, Durability
from tokenguard.ledger.event_rows import BookedEvent
from tokenguard.ledger.prepare import prepare
from tokenguard.ledger.prompts import SqlPrompts
from tokenguard.ledger.replay import Verification, verify
from tokenguard.ledger.reserving import LeaseOver
from tokenguard.ledger.steady import steady_clock
from tokenguard.ledger.tx import Tx
from tokenguard.ledger.unleased import Unleased
from tokenguard.ledger.upkeep import Upkeep

__all__ = ["SqlLedger"]

T = TypeVar("T")

_LOOK_EVERY_S: Final = 1.0


def _nothing() -> None:
    """Nobody knows."""


class SqlLedger(SqlPrompts, Unleased):
    """Books in a database, shared by every process that opens it. Thread-safe; open it with `SqlLedger.open`."""

    inline = False

    def __init__(self, database: Database, clock: Clock, ids: Ids) -> None:
        self.name = database.name
        self._database = database
        self._clock = clock
        self._ids = ids
        self._windows = Windows()
        self._upkeep = Upkeep(database)
        self._looked_s = -_LOOK_EVERY_S
        self._secret: bytes | None = None
        self.before_burying: Callable[[], object] = _nothing
        """Called before what dead processes held is charged whole: somebody may know what they paid."""

    @classmethod
    def open(
        cls,
        database: str,
        clock: Clock,
        ids: Ids,
        durability: Durability = "normal",
        *,
        busy_timeout_s: float = 10.0,
        now: Callable[[], datetime] | None = None,
    ) -> SqlLedger:
        """Open the books.

        A SQLite file is created and upgraded here; a PostgreSQL database by `tokenguard db upgrade` only.

        Args:
            database: A file's path, `sqlite:///…` or `postgresql://…`.
            clock: Tells the time where a record does not carry it.
            ids: Names tombstones and acts.
            durability: SQLite's `synchronous`: `normal` survives the death of the process, `full` a power cut too.
            busy_timeout_s: How long to wait for other processes' locks on a SQLite file; > 0.
            now: The clock that leases are measured by, for tests; None: the database's own, which no caller can set.

        Raises:
            LedgerUnavailable: the file cannot be opened or written, the server not reached.
            SchemaMismatch: the database is newer than this code, or a server's older.
            SettingsError: `database` is neither a path nor a URL we know.
        """
        opened = Database(Address.of(database), durability, busy_timeout_s, now=now)
        try:
            prepare(opened)
            if opened.now is None and opened.address.is_sqlite:
                opened.now = steady_clock(opened)
        except BaseException:
            opened.dispose(forked=False)
            raise
        return cls(opened, clock, ids)

    # ---- nodes -----------------------------------------------------------------------------------------------------

    def enter(self, entry: Entry) -> Short | Closure | Crowded | None:
        """See `core.ports.Ledger.enter`."""
        self._upkeep.look_at_month(entry.at)
        verdict = self._repeatable(lambda tx: reserving.enter(tx, entry, self._windows))
        if isinstance(verdict, Crowded) and verdict.kind == "children" and entry.enforce and self._reclaimed():
            return self._repeatable(lambda tx: reserving.enter(tx, entry, self._windows))
        return verdict

    def leave(self, node_id: str, *, outcome: str, at: datetime) -> None:
        """See `core.ports.Ledger.leave`."""
        self._repeatable(lambda tx: reserving.leave(tx, node_id, outcome, at))

    # ---- calls -----------------------------------------------------------------------------------------------------

    def reserve(self, hold: Hold, ask: Ask) -> Grant | Short | Closure | TooFast:
        """See `core.ports.Ledger.reserve`."""
        self._upkeep.look_at_month(hold.at)
        transact, windows = self._repeatable, self._windows
        try:
            verdict = transact(lambda tx: reserving.reserve(tx, hold, ask, windows, swept=False), checks_schema=True)
        except LeaseOver:
            self._sweep(None)
            verdict = transact(lambda tx: reserving.reserve(tx, hold, ask, windows, swept=True), checks_schema=True)
        if isinstance(verdict, Short) and verdict.reason is Reason.BUSY and self._reclaimed():
            verdict = transact(lambda tx: reserving.reserve(tx, hold, ask, windows, swept=True), checks_schema=True)
        return verdict

    def settle(self, hold_id: str, booking: Booking) -> Settled:
        """See `core.ports.Ledger.settle`."""
        settled = self._repeatable(lambda tx: settling.settle(tx, hold_id, booking), checks_schema=True)
        self._upkeep.after_settlement()
        return settled

    def keep(self, hold_id: str, booking: Booking) -> None:
        """See `core.ports.Ledger.keep`."""
        self._repeatable(lambda tx: settling.keep(tx, hold_id, booking))

    def renew(self, owner: str, hold_ids: Sequence[str], lease_s: float) -> None:
        """See `core.ports.Ledger.renew`."""
        self._repeatable(lambda tx: settling.renew(tx, owner, hold_ids, lease_s))

    def charge(self, hold: Hold, booking: Booking) -> Settled:
        """See `core.ports.Ledger.charge`."""
        self._upkeep.look_at_month(hold.at)
        return self._repeatable(lambda tx: settling.charge(tx, hold, booking, self._windows))

    def caps(self, hold: Hold) -> dict[str, int] | None:
        """See `ledger.conditions.Lender.caps`."""
        return self._database.read(lambda connection: lending.caps(connection, hold, self._windows))

    def exchange(self, request: Exchange) -> Exchanged:
        """See `ledger.conditions.Lender.exchange`."""
        self._upkeep.look_at_month(request.lease.at)
        windows = self._windows
        try:
            done = self._repeatable(lambda tx: lending.exchange(tx, request, windows), checks_schema=True)
        except lending.BalancesMissing:
            self._repeatable(lambda tx: lending.open_path(tx, request, windows))
            done = self._repeatable(lambda tx: lending.exchange(tx, request, windows), checks_schema=True)
        self._upkeep.after_settlement(len(request.paid))
        return done

    def adjust(self, adjustment: Adjustment) -> Adjusted:
        """See `core.ports.Ledger.adjust`."""
        return self._repeatable(lambda tx: adjusting.adjust(tx, adjustment))

    def sweep(self, now: datetime | None = None) -> int:
        """See `core.ports.Ledger.sweep`."""
        self._bury()
        return self._sweep(now)

    def _reclaimed(self) -> bool:
        """Before somebody is told that others have the room: whether they are dead, and it was theirs no more.

        Looked for once a second at most, because who waits for room asks many times a second.
        """
        now_s = SystemClock().monotonic()
        if now_s - self._looked_s < _LOOK_EVERY_S:
            return False
        self._looked_s = now_s
        if not self._bury():
            return False
        self._sweep(None)
        return True

    def _bury(self) -> bool:
        dead = self._database.read(orphans.dead_owners)
        if dead:
            self.before_burying()
            dead = self._database.read(orphans.dead_owners)
        if dead:
            self._repeatable(lambda tx: orphans.bury(tx, dead))
        return bool(dead)

    def _sweep(self, now: datetime | None) -> int:
        swept = 0
        while batch := self._repeatable(lambda tx: settling.sweep(tx, now)):
            swept += batch
        return swept

    # ---- budgets ---------------------------------------------------------------------------------------------------

    def declare(self, scope: Scope, at: datetime, source: Source = Source.CODE) -> None:
        """See `core.ports.Ledger.declare`."""
        if scope.budgets:
            self._repeatable(lambda tx: capping.declare(tx, scope, at, self._windows, source))

    def set_cap(self, scope_key: str, unit: Unit, per: str, tz: str, cap: int, *, by: str, at: datetime) -> None:
        """See `core.ports.Ledger.set_cap`."""
        self._database.transact(
            lambda tx: capping.set_cap(
                tx, scope_key, unit=unit, per=per, tz=tz, cap=cap, by=by, at=at, windows=self._windows, ids=self._ids
            )
        )

    def unset_cap(
        self, scope_key: str, unit: Unit, per: str, tz: str, *, by: str, at: datetime, declared: bool = False
    ) -> bool:
        """See `core.ports.Ledger.unset_cap`."""
        return self._database.transact(
            lambda tx: capping.unset_cap(
                tx,
                scope_key,
                unit=unit,
                per=per,
                tz=tz,
                declared=declared,
                by=by,
                at=at,
                windows=self._windows,
                ids=self._ids,
            )
        )

    def top_up(self, scope_key: str, unit: Unit, amount: int, *, by: str, at: datetime) -> tuple[AccountState, ...]:
        """See `core.ports.Ledger.top_up`."""
        return self._database.transact(
            lambda tx: capping.top_up(tx, scope_key, unit, amount, by=by, at=at, windows=self._windows, ids=self._ids)
        )

    def states(self, accounts: Sequence[Account], at: datetime | None = None) -> tuple[AccountState, ...]:
        """See `core.ports.Ledger.states`."""
        now = at or self._clock.now()
        return self._database.read(lambda connection: queries.states(connection, accounts, now)) if accounts else ()

    def budgets(self, at: datetime) -> tuple[BudgetState, ...]:
        """Every stored budget with the balance of its window at `at`, by scope key, unit, period and time zone."""
        return self._database.read(lambda connection: queries.budgets(connection, at, self._windows))

    # ---- stops -----------------------------------------------------------------------------------------------------

    def close_run(self, closure: Closure) -> bool:
        """See `core.ports.Ledger.close_run`."""
        row_id = self._ids.new()
        return self._repeatable(lambda tx: closing.close_run(tx, closure, row_id))

    def reopen(self, run_id: str, *, by: str, why: str, at: datetime) -> bool:
        """See `core.ports.Ledger.reopen`."""
        return self._database.transact(lambda tx: closing.reopen(tx, run_id, by=by, why=why, at=at, ids=self._ids))

    def closures(self, run_ids: Sequence[str]) -> tuple[Closure, ...]:
        """See `core.ports.Ledger.closures`."""
        return tuple(self._database.read(lambda connection: closing.standing(connection, run_ids))) if run_ids else ()

    def record(self, event: GuardEvent) -> None:
        """See `core.ports.Ledger.record`."""
        self._repeatable(lambda tx: closing.record(tx, event))

    # ---- loops -----------------------------------------------------------------------------------------------------

    def remember(self, run_id: str, state: Mapping[str, Any], at: datetime) -> None:
        """See `core.ports.Ledger.remember`."""
        self._repeatable(lambda tx: loops.remember(tx, run_id, state, at))

    def recall(self, run_id: str) -> Mapping[str, Any] | None:
        """See `core.ports.Ledger.recall`."""
        return self._database.read(lambda connection: loops.recall(connection, run_id))

    def loops(
        self, run_ids: Sequence[str] | None = None, *, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[LoopSpend, ...]:
        """See `core.ports.Ledger.loops`."""
        return self._database.read(lambda connection: loops.loops(connection, run_ids, since, until))

    def _repeatable(self, work: Callable[[Tx], T], *, checks_schema: bool = False) -> T:
        """What the books know by its ids: where the answer to a commit is lost, they are asked by doing it again."""
        return self._database.transact(work, checks_schema=checks_schema, repeatable=True)

    # ---- reads -----------------------------------------------------------------------------------------------------

    def tree(self, run_id: str) -> tuple[NodeSpend, ...]:
        """See `core.ports.Ledger.tree`."""
        return self._database.read(lambda connection: queries.tree(connection, run_id))

    def lineage(self, run_id: str) -> tuple[NodeSpend, ...]:
        """See `core.ports.Ledger.lineage`."""
        return self._database.read(lambda connection: queries.lineage(connection, run_id))

    def secret(self) -> bytes:
        """See `core.ports.Ledger.secret`. Made by the first process that asks; the others find it."""
        if self._secret is not None:
            return self._secret
        found = self._database.read(queries.secret)
        if found is None:
            row = {"name": queries.SECRET, "value": token_hex(32)}
            self._repeatable(lambda tx: tx.run(tx.statements.insert_missing(schema.meta), row))
            found = self._database.read(queries.secret)
        assert found is not None, "written above, by this process or by another"
        self._secret = found
        return found

    def runs(self, limit: int = 50, *, open_only: bool = False) -> tuple[NodeSpend, ...]:
        """The newest root runs first, each with what its whole tree spent and holds."""
        return self._database.read(lambda connection: queries.runs(connection, limit, open_only=open_only), long=True)

    def spend(
        self, by: Sequence[str], *, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[SpendRow, ...]:
        """See `core.ports.Ledger.spend`."""
        if spending.is_rolled(by):
            self._upkeep.before_report()
        return self._database.read(lambda connection: spending.spend(connection, by, since, until), long=True)

    def events_of(self, run_id: str) -> tuple[BookedEvent, ...]:
        """Every booked attempt in the tree below a run, corrections included, oldest first."""
        return self._database.read(lambda connection: queries.events_of(connection, run_id), long=True)

    def reconcile(self, billed: Billed, *, scope_keys: tuple[str, ...], why: str, by: str, at: datetime) -> Reconciled:
        """Book what a day's spend differs from what its provider billed; see `ledger.reconciling`.

        Raises:
            AdjustRefused: the day is not over, or its month was pruned.
        """
        return self._database.transact(
            lambda tx: reconciling.reconcile(
                tx, billed, scope_keys=scope_keys, why=why, by=by, at=at, windows=self._windows
            )
        )

    def verify(self) -> Verification:
        """Replay the facts and compare: transfers to balances, lines and rollups to events, to the pico-dollar."""
        return self._database.read(verify, long=True)

    def dispose(self, *, forked: bool = False) -> None:
        """See `core.ports.Ledger.dispose`."""
        self._database.dispose(forked=forked)
