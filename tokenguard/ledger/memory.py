"""`MemoryLedger`: the same promises as the SQL ledger without a database, for tests, notebooks and short scripts.

One lock, plain dicts. What it forgets, so that a million calls leave memory flat: single events (totals stay exact, by
whole minutes, see totals.py), the settled holds before the last 10,000 (a second booking of an older attempt is refused
as never held), and run trees that ended before the last 1,000, or before the last 100,000 nodes (their spend stays in
`spend`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from secrets import token_bytes
from threading import Lock
from typing import Any

from tokenguard.core.account import Account, Scope
from tokenguard.core.adjusting import Adjusted, Adjustment
from tokenguard.core.books import (
    Booking,
    Closure,
    Entry,
    GuardEvent,
    Hold,
    NodeSpend,
    Settled,
    Source,
    SpendRow,
    Status,
)
from tokenguard.core.budget import Unit
from tokenguard.core.clock import Clock
from tokenguard.core.ids import Ids
from tokenguard.core.looping import LoopSpend
from tokenguard.core.posting import ONE_STEP, STEP, charged, holding, resolved
from tokenguard.core.tree import Crowded, TooFast
from tokenguard.core.verdict import AccountState, Ask, Grant, Short, judge
from tokenguard.errors import LedgerConflict
from tokenguard.ledger.accounts import BudgetState, check_top_up, spoken, unset_sentence
from tokenguard.ledger.memory_caps import Caps
from tokenguard.ledger.memory_closures import MemoryClosures
from tokenguard.ledger.memory_events import MemoryEvents
from tokenguard.ledger.memory_holds import Open, Resolved, ResolvedHolds
from tokenguard.ledger.memory_limits import MemoryLimits
from tokenguard.ledger.memory_prompts import MemoryPrompts
from tokenguard.ledger.outcomes import (
    assumed,
    never_held,
    numbers_of,
    other_numbers,
    resolved_already,
    still_open,
)
from tokenguard.ledger.totals import Totals
from tokenguard.ledger.trees import Node, Nodes, whole_tree
from tokenguard.ledger.unleased import Unleased

__all__ = ["MemoryLedger"]


class MemoryLedger(MemoryPrompts, Unleased):
    """Books in this process's memory; gone when it ends.

    Args:
        clock: Its monotonic side measures leases; records carry their instants.
        ids: Names the events of acts that a person takes (`top_up`, `set_cap`, `reopen`).
    """

    name = "memory"
    inline = True

    def __init__(self, clock: Clock, ids: Ids) -> None:
        self._clock = clock
        self._began, self._began_s = clock.now(), clock.monotonic()
        self._ids = ids
        self._lock = Lock()
        self._secret = token_bytes(32)
        self._clear()

    def _clear(self) -> None:
        self._caps = Caps()
        self._open: dict[str, Open] = {}
        self._closures = MemoryClosures()
        self._nodes = Nodes()
        self._limits = MemoryLimits()
        self._loop_states: dict[str, Mapping[str, Any]] = {}
        self._totals = Totals()
        self._resolved = ResolvedHolds(self._totals)
        self._events = MemoryEvents(self._ids)
        self._next_expiry: datetime | None = None
        self._forget_prompts()

    # ---- nodes -----------------------------------------------------------------------------------------------------

    def enter(self, entry: Entry) -> Short | Closure | Crowded | None:
        """See `core.ports.Ledger.enter`."""
        with self._lock:
            if entry.id in self._nodes:
                return None
            closure = self._closures.on(entry.path)
            if closure is not None and entry.enforce:
                return closure
            crowded = self._limits.judge(entry, self._now())
            if crowded is not None and entry.enforce:
                return crowded
            path = self._caps.path(entry.accounts, entry.scope_keys, entry.at)
            balances = [one for one in path if one.account.unit is Unit.STEPS]
            verdict = judge(ONE_STEP, [one.state(entry.at) for one in balances])
            if isinstance(verdict, Short) and entry.enforce:
                return self._caps.with_room(verdict, ONE_STEP, entry.at)
            for balance in balances:
                balance.move(STEP, entry.at)
            self._nodes.add(Node.of(entry))
            self._limits.count_in(entry, self._now())
            return crowded

    def leave(self, node_id: str, *, outcome: str, at: datetime) -> None:
        """See `core.ports.Ledger.leave`."""
        with self._lock:
            self._limits.count_out(node_id)
            for forgotten in self._nodes.end(node_id, outcome, at):
                self._limits.forget(forgotten)
                self._loop_states.pop(forgotten, None)
                self._totals.forget(forgotten)
                self._caps.forget(f"run:{forgotten}")
                self._closures.end(forgotten)

    # ---- calls -----------------------------------------------------------------------------------------------------

    def reserve(self, hold: Hold, ask: Ask) -> Grant | Short | Closure | TooFast:
        """See `core.ports.Ledger.reserve`."""
        with self._lock:
            known = self._open.get(hold.id)
            if known is not None:
                return known.grant
            if hold.id in self._resolved:
                raise resolved_already(hold.id)
            now = self._now()
            if self._next_expiry is not None and now >= self._next_expiry:
                self._expire(now)
            closure = self._closures.on(hold.run_ids)
            if closure is not None and hold.enforce:
                return closure
            too_fast = self._limits.outpaced(hold.paced, now) if hold.paced else None
            if too_fast is not None and hold.enforce:
                return too_fast
            balances = self._caps.path(hold.accounts, hold.scope_keys, hold.at)
            states = tuple([one.state(hold.at) for one in balances])
            verdict = judge(ask, states, enforce=hold.enforce)
            if isinstance(verdict, Short):
                return self._caps.with_room(verdict, ask, hold.at)
            if too_fast is not None:
                verdict = replace(verdict, outpaced=too_fast)
            posting = holding(verdict.amounts)
            for balance in balances:
                balance.move(posting, hold.at)
            held = self._open[hold.id] = Open(hold, verdict, balances, ask.input_tokens, now)
            if self._next_expiry is None or held.lease_until < self._next_expiry:
                self._next_expiry = held.lease_until
            return verdict

    def settle(self, hold_id: str, booking: Booking) -> Settled:
        """See `core.ports.Ledger.settle`."""
        with self._lock:
            held = self._open.pop(hold_id, None)
            if held is None:
                return self._resolved.settle_again(hold_id, booking)
            self._release(held, booking)
            self._limits.flow_in(held.hold.paced, booking.amounts, self._now())
            self._resolved.add(Resolved(held.hold, booking, held.balances, held.input_bound, booking))
            return Settled(tuple([one.state(booking.at) for one in held.balances]))

    def keep(self, hold_id: str, booking: Booking) -> None:
        """See `core.ports.Ledger.keep`."""
        with self._lock:
            held = self._open.get(hold_id)
            if held is not None:
                held.kept = replace(booking, status=Status.UNRESOLVED)
                return
            resolved = self._resolved.get(hold_id)
            if resolved is None:
                raise never_held(hold_id)
            if resolved.settled is not None:
                raise other_numbers(hold_id, numbers_of(resolved.settled), numbers_of(booking))

    def renew(self, owner: str, hold_ids: Sequence[str], lease_s: float) -> None:  # noqa: ARG002  # books and process die together
        """See `core.ports.Ledger.renew`."""
        with self._lock:
            lease_until = self._now() + timedelta(seconds=lease_s)
            for hold_id in hold_ids:
                held = self._open.get(hold_id)
                if held is not None and held.kept is None:
                    held.lease_until = lease_until

    def charge(self, hold: Hold, booking: Booking) -> Settled:
        """See `core.ports.Ledger.charge`."""
        with self._lock:
            if hold.id in self._resolved:
                return self._resolved.settle_again(hold.id, booking)
            if hold.id in self._open:
                raise LedgerConflict(
                    f"attempt {hold.id} is held: settle it instead of charging it.", attempt_id=hold.id
                )
            balances = self._caps.path(hold.accounts, hold.scope_keys, hold.at)
            posting = charged(booking.amounts)
            for balance in balances:
                balance.move(posting, hold.at)
            self._limits.flow_in(hold.paced, booking.amounts, self._now())
            self._totals.add(hold.facts, booking, booking.amounts.tokens)
            self._resolved.add(Resolved(hold, booking, balances, booking.amounts.tokens, booking))
            return Settled(tuple(one.state(booking.at) for one in balances))

    def adjust(self, adjustment: Adjustment) -> Adjusted:
        """See `core.ports.Ledger.adjust`; the last 10,000 are known again."""
        with self._lock:
            if adjustment.attempt_id in self._open:
                raise still_open(adjustment.attempt_id)
            done, act = self._resolved.adjust(adjustment)
            if act is not None:
                self._events.add(act)
            return done

    def sweep(self, now: datetime | None = None) -> int:
        """See `core.ports.Ledger.sweep`."""
        with self._lock:
            return self._expire(now or self._now())

    def _now(self) -> datetime:
        """The books' own instant: a clock that is set does not move it."""
        return self._began + timedelta(seconds=self._clock.monotonic() - self._began_s)

    def _expire(self, now: datetime) -> int:
        """Charge the ceiling of every hold whose lease ended; looks at open holds only, at most once per lease."""
        over = [held for held in self._open.values() if held.lease_until <= now]
        for held in over:
            del self._open[held.hold.id]
            booking = assumed(held.grant.amounts, held.kept, now)
            self._release(held, booking)
            self._resolved.add(Resolved(held.hold, booking, held.balances, held.input_bound, None, late=True))
        self._next_expiry = min((held.lease_until for held in self._open.values()), default=None)
        return len(over)

    def _release(self, held: Open, booking: Booking) -> None:
        """Take the hold off its balances and settle what it came to."""
        posting = resolved(held.grant.amounts, booking.amounts)
        for balance in held.balances:
            balance.move(posting, held.hold.at)
        self._totals.add(held.hold.facts, booking, held.input_bound)

    # ---- budgets ---------------------------------------------------------------------------------------------------

    def declare(self, scope: Scope, at: datetime, source: Source = Source.CODE) -> None:
        """See `core.ports.Ledger.declare`. A scope without budgets declares nothing and changes nothing."""
        with self._lock:
            self._caps.declare(scope, at, source)

    def set_cap(self, scope_key: str, unit: Unit, per: str, tz: str, cap: int, *, by: str, at: datetime) -> None:
        """See `core.ports.Ledger.set_cap`; ends closures of that cap where it is raised."""
        with self._lock:
            self._closures.end_by(self._caps.set_cap(scope_key, unit=unit, per=per, tz=tz, cap=cap, at=at))
            sentence = f"{by} set {unit} per {per} of {scope_key} to {spoken(unit, cap)}."
            self._events.act("cap_set", scope_key, sentence, at, by=by, cap=str(cap))

    def unset_cap(
        self, scope_key: str, unit: Unit, per: str, tz: str, *, by: str, at: datetime, declared: bool = False
    ) -> bool:
        """See `core.ports.Ledger.unset_cap`."""
        with self._lock:
            found = self._caps.unset_cap(scope_key, unit=unit, per=per, tz=tz, declared=declared, at=at)
            if found is None:
                return False
            old, budget, raised = found
            self._closures.end_by(raised)
            self._events.act("cap_unset", scope_key, unset_sentence(by, old, budget), at, by=by)
            return True

    def top_up(self, scope_key: str, unit: Unit, amount: int, *, by: str, at: datetime) -> tuple[AccountState, ...]:
        """See `core.ports.Ledger.top_up`; the states come in the order of their account ids."""
        check_top_up(unit, amount)
        with self._lock:
            states = self._caps.top_up(scope_key, unit, amount, at)
            if states:
                self._closures.end_by({one.account.id for one in states})
                sentence = f"{by} raised {unit} of {scope_key} by {spoken(unit, amount)}."
                self._events.act("topped_up", scope_key, sentence, at, by=by, amount=str(amount))
            return states

    def states(self, accounts: Sequence[Account], at: datetime | None = None) -> tuple[AccountState, ...]:
        """See `core.ports.Ledger.states`."""
        now = at or self._clock.now()
        with self._lock:
            return tuple(self._caps.state(account, now) for account in accounts)

    def budgets(self, at: datetime) -> tuple[BudgetState, ...]:
        """Every stored budget with the balance of its window at `at`, by scope key, unit, period and time zone."""
        with self._lock:
            return self._caps.budgets(at)

    # ---- stops -----------------------------------------------------------------------------------------------------

    def close_run(self, closure: Closure) -> bool:
        """See `core.ports.Ledger.close_run`."""
        with self._lock:
            return self._closures.add(closure)

    def reopen(self, run_id: str, *, by: str, why: str, at: datetime) -> bool:
        """See `core.ports.Ledger.reopen`."""
        with self._lock:
            if not self._closures.end(run_id):
                return False
            self._limits.begin_anew(run_id)
            self._events.act(
                "resumed", f"run:{run_id}", f"{by} resumed run {run_id}: {why}", at, run_id=run_id, by=by, why=why
            )
            return True

    def closures(self, run_ids: Sequence[str]) -> tuple[Closure, ...]:
        """See `core.ports.Ledger.closures`; of one run, those that only a person can end come first."""
        with self._lock:
            return self._closures.all_on(run_ids)

    def record(self, event: GuardEvent) -> None:
        """See `core.ports.Ledger.record`; the last 10,000 are kept."""
        with self._lock:
            self._events.add(event)

    # ---- loops -----------------------------------------------------------------------------------------------------

    def remember(self, run_id: str, state: Mapping[str, Any], at: datetime) -> None:  # noqa: ARG002  # it goes with its run
        """See `core.ports.Ledger.remember`."""
        with self._lock:
            if run_id in self._nodes:
                self._loop_states[run_id] = dict(state)

    def recall(self, run_id: str) -> Mapping[str, Any] | None:
        """See `core.ports.Ledger.recall`."""
        with self._lock:
            return self._loop_states.get(run_id)

    def loops(
        self, run_ids: Sequence[str] | None = None, *, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[LoopSpend, ...]:
        """See `core.ports.Ledger.loops`; of the last 10,000 events."""
        with self._lock:
            return self._events.loops(run_ids, since, until)

    # ---- reads -----------------------------------------------------------------------------------------------------

    def lineage(self, run_id: str) -> tuple[NodeSpend, ...]:
        """A run and its ancestors, root first; empty: no such run."""
        found: list[NodeSpend] = []
        with self._lock:
            here: str | None = run_id
            while here is not None and (nodes := self._tree(here)):
                found.append(replace(nodes[0], limits=self._limits.of(here)))
                here = nodes[0].parent_id
        return tuple(reversed(found))

    def secret(self) -> bytes:
        """A key of these books; it lives as long as they do."""
        return self._secret

    def tree(self, run_id: str) -> tuple[NodeSpend, ...]:
        """See `core.ports.Ledger.tree`."""
        with self._lock:
            return self._tree(run_id)

    def runs(self, limit: int = 50, *, open_only: bool = False) -> tuple[NodeSpend, ...]:
        """The newest root runs first, each with what its whole tree spent and holds."""
        with self._lock:
            return tuple(whole_tree(self._tree(root)) for root in self._nodes.roots(limit, open_only=open_only))

    def _tree(self, run_id: str) -> tuple[NodeSpend, ...]:
        held: dict[str | None, int] = {}
        for one in self._open.values():
            node_id = one.hold.facts.node_id or one.hold.facts.run_id
            held[node_id] = held.get(node_id, 0) + one.grant.amounts.usd_pico
        return tuple(
            node.spend(self._totals.node(node.id), held.get(node.id, 0), self._closures.on((node.id,)))
            for node in self._nodes.below(run_id)
        )

    def spend(
        self, by: Sequence[str], *, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[SpendRow, ...]:
        """See `core.ports.Ledger.spend`; `since` and `until` count by whole UTC minutes here."""
        with self._lock:
            return self._totals.spend(by, since, until)

    def dispose(self, *, forked: bool = False) -> None:
        """Keep the books, which have no connection; after a fork renew the lock, which a parent's thread may hold."""
        if forked:
            self._lock = Lock()
