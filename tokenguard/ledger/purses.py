"""The purses of one process: calls are granted out of them, and a thread settles them up with the ledger.

Lock order: a purse's `exchanging`, then the lock of all. Only the first is held while the ledger is asked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from tokenguard.core.allowance import Exchange, Promise, lends
from tokenguard.core.books import Booking, Hold
from tokenguard.core.leases import BEAT_S, LEASE_S
from tokenguard.core.verdict import Ask, Grant
from tokenguard.errors import LedgerUnavailable, TokenguardError
from tokenguard.ledger import purse_spool
from tokenguard.ledger.caretaker import Caretaker
from tokenguard.ledger.conditions import Conditions, Lender
from tokenguard.ledger.news import News
from tokenguard.ledger.purse import FRESH_S, Purse, may_be_leased, path_key
from tokenguard.ledger.spool import Spool

__all__ = ["Purses"]

_TELL_S: Final = 5.0
"""Seconds after which the ledger is told what was paid: how late others see it. Each exchange locks a budget's row."""
_SOON_S: Final = 2.0
"""A lease that is spent sooner was too small."""
_REST_S: Final = 1.0
_IDLE_S: Final = 5.0
"""Seconds without a call after which a lease goes back (benchmarks/fleet_curve.py)."""
_KEPT_IDLE_S: Final = 300.0
"""The same where leases are kept for a time in which the ledger is away."""
_FORGET_S: Final = 60.0
_AWAY_S: Final = 5.0
"""Seconds for which a ledger that could not be reached is not asked by callers again; the thread asks."""
_MANY: Final = 512
"""Paid calls that the ledger is told of at once, without waiting for the tick."""


class Purses:
    """All allowances of one process on one ledger. Thread-safe; made anew in a forked child."""

    def __init__(self, lender: Lender, under: Conditions) -> None:
        self._lender, self._folder, self._clock, self._ids = lender, under.folder, under.clock, under.ids
        self._owner, self._bridges, self._listener = under.owner(), under.bridges, under.listener
        self._lock = threading.Lock()
        self._purses: dict[tuple[tuple[str, ...], tuple[str, ...]], Purse] = {}
        self._retired: list[Purse] = []
        self._promised: dict[str, Purse] = {}
        self._spool: Spool | None = None
        self._numbers, self._said = 0, False
        self._caretaker = Caretaker("tokenguard-allowances", under.tick_s, self.tend)
        self._news = News()
        self._away_s: float | None = None
        """When the ledger could not be reached last, and not since."""

    def knows(self, hold: Hold) -> bool:
        """Whether calls on this path may be leased for."""
        return path_key(hold) in self._purses

    def learn(self, hold: Hold, grant: Grant) -> None:
        """Whether calls like this one may be leased for, as the balances that granted it say."""
        if not hold.enforce or not lends([one.account for one in grant.states]):
            return
        key = path_key(hold)
        with self._lock:
            if key in self._purses:
                return
            purse = self._purses[key] = self._new(hold)
            purse.one = grant.amounts
        if self._bridges:  # The ledger may be away at the next call.
            with self._turn(purse):
                self._quietly(lambda: self._exchange(purse, times=purse.times))

    def grant_at_once(self, hold: Hold, ask: Ask) -> Grant | None:
        """Grant a call out of what is leased, written down before it is sent; None: it must be asked elsewhere."""
        purse = self._purses.get(path_key(hold))
        if purse is not None and not self._said:
            self._said = self._listener.leasing()
        grant = None if purse is None else self._promise(purse, hold, ask)
        self._news.pass_on()
        return grant

    def grant(self, hold: Hold, ask: Ask) -> Grant | None:
        """Grant a call, out of the next lease where this one has no room; None: there is too little room for a lease.

        Raises:
            LedgerError: the ledger cannot lease, and nothing leased before may pay for this call.
        """
        with self._lock:
            purse = self._purses.get(path_key(hold))
            if purse is None or not may_be_leased(hold, ask):
                return None
            if not purse.is_for(hold):
                # A window rolled: the old purse has its calls in flight to see to, and no more.
                purse.retire()
                self._retired.append(purse)
                purse = self._purses[path_key(hold)] = self._new(hold)
        bridged = self._bridged(purse, hold, ask)
        if bridged is not None:
            return bridged
        with self._turn(purse):
            return self._promise(purse, hold, ask) or self._leased(purse, hold, ask)

    def _leased(self, purse: Purse, hold: Hold, ask: Ask) -> Grant | None:
        now_s = self._clock.monotonic()
        if now_s < purse.rests_until_s or purse.retired:
            return None
        try:
            if self._hears(purse) and (grant := self._promise(purse, hold, ask)) is not None:
                return grant
            # One that took no lease since it gave the last one back begins where it was.
            times = purse.times if purse.shut else purse.next_times(short=now_s - purse.exchanged_s < _SOON_S)
            self._exchange(purse, times=times, wanted=ask)
        except LedgerUnavailable:
            grant = self._bridged(purse, hold, ask)
            if grant is None:
                raise
            return grant
        grant = self._promise(purse, hold, ask)
        if grant is None:
            purse.rests_until_s = now_s + _REST_S
        return grant

    def _bridged(self, purse: Purse, hold: Hold, ask: Ask) -> Grant | None:
        """Grant out of what was leased before, while the ledger is known to be away: nobody waits to hear it again."""
        now_s = self._clock.monotonic()
        if not self._bridges or self._away_s is None or now_s - self._away_s > _AWAY_S:
            return None
        return self._promise(purse, hold, ask, stale=True) if now_s - purse.heard_s < LEASE_S else None

    def _hears(self, purse: Purse) -> bool:
        """Ask whether a lease is still good, where that is not known; False: it is not, or there is none."""
        if purse.shut or self._clock.monotonic() - purse.heard_s <= FRESH_S:
            return not purse.shut
        return self._unchanged(purse)

    def _promise(self, purse: Purse, hold: Hold, ask: Ask, *, stale: bool = False) -> Grant | None:
        if purse.shut or not may_be_leased(hold, ask):
            return None
        amounts = ask.amounts(ask.output_max)
        text = purse_spool.promise_json(Promise(hold.id, hold.at, hold.facts, amounts, ask.input_tokens))
        if text is None:
            return None  # The ledger itself will say what is wrong with it.
        with self._lock:
            grant = purse.promise(hold, ask, self._clock.monotonic(), stale=stale)
            if grant is None:
                return None
            self._promised[hold.id] = purse
            spool = self._spool
        assert spool is not None, "there is a lease, and it was written down"
        try:
            purse_spool.write_promise(spool, purse.number, text)
        except LedgerUnavailable as full:
            self._news.keep(self._listener.failed, full)
            with self._lock:
                if self._promised.pop(hold.id, None) is not None:
                    purse.take_back(hold.id)
                    return None
            # It became a hold of its own meanwhile, which the ledger has or is about to have.
        return grant

    def _new(self, hold: Hold) -> Purse:
        self._numbers += 1
        return Purse(self._numbers, hold, self._clock.monotonic())

    def settle(self, hold_id: str, booking: Booking) -> bool:
        """A call came to something; False: no allowance paid for it."""
        if hold_id not in self._promised:
            return False
        booking, text = purse_spool.storable(booking)
        with self._lock:
            purse = self._promised.pop(hold_id, None)
            if purse is None:
                return False
            purse.settle(hold_id, booking)
            many, spool = len(purse.paid) == _MANY, self._spool
        self._write_down(spool, lambda there: purse_spool.write_paid(there, purse.number, hold_id, text))
        if many:
            self._caretaker.wake()
        return True

    def keep(self, hold_id: str, booking: Booking) -> bool:
        """Nobody knows what a call came to; False: no allowance paid for it."""
        booking, text = purse_spool.storable(booking)
        with self._lock:
            purse = self._promised.pop(hold_id, None)
            if purse is None:
                return False
            purse.keep(hold_id, booking)
            spool = self._spool
        self._write_down(spool, lambda there: purse_spool.write_kept(there, purse.number, hold_id, text))
        return True

    def leases_of(self, hold_ids: tuple[str, ...]) -> tuple[str, ...]:
        """The same ids, with the leases that pay for some of the calls in place of these."""
        with self._lock:
            purses = [self._promised.get(one) for one in hold_ids]
            leases = dict.fromkeys(lease_id for one in purses if one is not None for lease_id in one.lease_ids)
        return (*(one for one, purse in zip(hold_ids, purses, strict=True) if purse is None), *leases)

    def _write_down(self, spool: Spool | None, write: Callable[[Spool], None]) -> None:
        """Add to the spool what memory knows already."""
        assert spool is not None, "it was promised, so there is one until everything was let go"
        try:
            write(spool)
        except LedgerUnavailable as full:
            # The ledger hears of it soon; if this process dies before, the worst case is assumed.
            self._news.keep(self._listener.failed, full)
        self._news.pass_on()

    def shut(self, which: Callable[[Purse], bool]) -> None:
        """Grant nothing more out of some purses from now on."""
        with self._lock:
            for one in filter(which, self._all()):
                one.retire()

    def give_back(self, which: Callable[[Purse], bool]) -> None:
        """Settle some purses up and take no further lease for them; what is in flight there stays held.

        Where the ledger is away, the thread goes on trying.
        """
        with self._lock:
            chosen = [one for one in self._all() if which(one)]
            for key in [key for key, one in self._purses.items() if one in chosen]:
                self._retired.append(self._purses.pop(key))
            for one in chosen:
                one.retire()
        self._settle_up(chosen)

    def spare(self, account_id: str) -> bool:
        """Give back what is leased on an account and not promised, because a call waits for it; False: nothing is."""
        found = [one for one in self._snapshot() if not one.shut and one.leases_on(account_id)]
        self._settle_up(found)
        return bool(found)

    def tell(self) -> bool:
        """Settle up what was paid, so that who reads the books finds it; False: there was nothing to tell.

        Raises:
            LedgerError: the ledger cannot take it now.
        """
        told = False
        for one in [one for one in self._snapshot() if one.has_news]:
            with self._turn(one):
                self._exchange(one, times=0 if one.shut else one.next_times(short=False))
                told = True
        return told

    def close(self) -> bool:
        """Give everything back; calls in flight become holds of their own. False: some of it only the spool knows.

        Usable again afterwards.
        """
        self._caretaker.stop()
        with self._lock:
            purses = self._retired = self._all()
            self._purses.clear()
            for one in purses:
                one.retire()
                self._let_go_of(one)
        self._settle_up(purses)
        with self._lock:
            over = all(one.is_over for one in purses)
            self._retired = [one for one in self._retired if one not in purses]
            if self._all():
                return over  # Somebody began anew meanwhile, in the same spool.
            spool, self._spool = self._spool, None
        if spool is not None:
            spool.close(remove=over)
        return over

    def _settle_up(self, purses: Iterable[Purse]) -> None:
        """Exchange their leases for what is in flight."""
        for one in purses:
            with self._turn(one):
                self._quietly(lambda one=one: self._exchange(one, times=0))  # type: ignore[misc]

    def _let_go_of(self, purse: Purse) -> None:
        """Calls in flight become holds of their own."""
        for promise_id in tuple(purse.open):
            self._promised.pop(promise_id, None)
            purse.keep(promise_id, None)

    def _exchange(self, purse: Purse, *, times: int, wanted: Ask | None = None) -> None:
        """Settle one purse up; its `exchanging` is held."""
        if purse.unanswered is not None:
            self._ask(purse, replace(purse.unanswered, repeated=True), again=True)
        now = self._clock.now()
        with self._lock:
            if purse.ends_at is not None and now >= purse.ends_at:
                purse.retire()
            if purse.retired:
                times = 0
            if not times and purse.is_over:
                return
            lease = purse_spool.lease_for(purse.hold, self._ids.new(), now, self._owner)
            try:
                self._spool = self._spool or Spool.open(self._folder)
                purse_spool.write_lease(self._spool, purse.number, lease.id)
            except LedgerUnavailable as full:
                # Nothing is leased that is not written down.
                self._news.keep(self._listener.failed, full)
                self._let_go_of(purse)
                if purse.is_over:
                    return
                times = 0
            request = purse.close_for_exchange(lease, wanted=wanted, times=times)
            if times or purse.open:
                self._caretaker.start()
        self._ask(purse, request)

    def _ask(self, purse: Purse, request: Exchange, *, again: bool = False) -> None:
        try:
            done = self._lender.exchange(request)
        except TokenguardError as away:  # An amount that no column takes is no ledger's error.
            self._away_s = self._clock.monotonic()
            # That it cannot be asked again now says nothing about what the first time did.
            if not (again or getattr(away, "in_doubt", False)):
                with self._lock:
                    purse.unheard(request)
            raise
        self._away_s = None
        with self._lock:
            purse.exchanged(done, request, self._clock.monotonic())
            self._tidy()
        self._news.keep(self._listener.exchanged, request, done)

    def _tidy(self) -> None:
        """Let go of purses that are over, and of records that the ledger has."""
        self._retired = [one for one in self._retired if not one.is_over]
        assert self._spool is not None, "nothing is exchanged that was not written down"
        try:
            self._spool = purse_spool.tidied(self._spool, self._all())
        except LedgerUnavailable as full:
            self._news.keep(self._listener.failed, full)  # The file goes on growing, and is tried again.

    def tend(self) -> bool:
        """One look after everything, as the thread has it twice a second; False: nothing is left to look after.

        Stops and lowered caps are heard of here, so within a second.
        """
        for one in self._snapshot():
            with self._turn(one):
                self._quietly(lambda one=one: self._tend(one))  # type: ignore[misc]
        with self._lock:
            return not all(one.is_over for one in self._all())

    def _tend(self, purse: Purse) -> None:
        now_s = self._clock.monotonic()
        idle_s, age_s = now_s - purse.used_s, now_s - purse.exchanged_s
        if not purse.shut and idle_s < (_KEPT_IDLE_S if self._bridges else _IDLE_S):
            due = age_s >= (_TELL_S if purse.has_news else BEAT_S) or len(purse.paid) >= _MANY
            if due or not self._unchanged(purse):
                self._exchange(purse, times=purse.next_times(short=False))
        elif not purse.shut or purse.has_news or age_s >= BEAT_S or not purse.open:
            self._exchange(purse, times=0)
        with self._lock:
            if purse.is_over and idle_s > _FORGET_S:
                purse.retire()  # Who holds it already is judged by the ledger, and finds a new one next time.
                self._purses = {key: one for key, one in self._purses.items() if one is not purse}

    def _unchanged(self, purse: Purse) -> bool:
        """Half a second early, so that no caller has to ask."""
        try:
            caps = self._lender.caps(replace(purse.hold, at=self._clock.now()))
        except LedgerUnavailable:
            self._away_s = self._clock.monotonic()
            raise
        self._away_s = None
        with self._lock:
            return purse.hears(caps, self._clock.monotonic())

    def _quietly(self, act: Callable[[], None]) -> None:
        try:
            act()
        except TokenguardError as away:
            self._news.keep(self._listener.failed, away)

    @contextmanager
    def _turn(self, purse: Purse) -> Generator[None]:
        """Settle a purse up; who listens is told when no lock is held, because listeners act on their guard."""
        try:
            with purse.exchanging:
                yield
        finally:
            self._news.pass_on()

    def _all(self) -> list[Purse]:
        return [*self._purses.values(), *self._retired]

    def _snapshot(self) -> list[Purse]:
        with self._lock:
            return self._all()
