"""What a guard's calls drive: ask for a plan, begin with one of its endpoints, report how it ended.

    plan = router.route(need, at_s=clock.monotonic())
    for choice in plan.choices:
        ticket = router.begin(plan, choice, at_s=clock.monotonic())
        if ticket is None:
            continue  # Another call took its last room, its probe or the spill budget meanwhile.
        ...  # Reserve in the ledger, send, settle.
        router.end(ticket, Outcome("ok", total_s, ttft_s, output_tokens), at_s=clock.monotonic())

Deciding reads one reference and takes no lock. Each change makes a new snapshot under a lock that is held for
microseconds; nothing waits, and nothing here does I/O, so the same router serves threads and asyncio. Every ticket must
come back, also of a call that was cancelled or never sent (`Outcome("cancelled", cost_pico=0)`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from threading import Lock

from tokenguard.errors import SettingsError
from tokenguard.routing.decide import decide
from tokenguard.routing.endpoints import Endpoint, Need
from tokenguard.routing.fleet import Fleet
from tokenguard.routing.policies import Choice, Drop, Plan, Policy, Reason
from tokenguard.routing.refusals import refusal
from tokenguard.routing.signals import Signals
from tokenguard.routing.slo import SloReading, SloWindow
from tokenguard.routing.spill import Bucket, full_bucket, held, paid
from tokenguard.routing.standing import Outcome, Snapshot, Standing, Ticket, after, begun, heard, standing_of

__all__ = ["Router"]


class Router:
    """The one state of routing in a process: who is there, what is known of them, what spilling has left.

    Args:
        endpoints: Who may answer.
        policy: What decides.
        at_s: Now, on the monotonic clock.

    Raises:
        SettingsError: no endpoint, or two of one name.
    """

    def __init__(self, endpoints: Iterable[Endpoint], policy: Policy | None = None, *, at_s: float) -> None:
        self.policy = policy or Policy()
        self._lock = Lock()
        fleet = Fleet(endpoints)
        standings = tuple(standing_of(one, self.policy, at_s) for one in fleet.endpoints)
        self._snapshot = Snapshot(fleet, standings, full_bucket(self.policy.spill, at_s), cut=0)
        self._slo = {one.name: SloWindow() for one in fleet.endpoints}

    @property
    def snapshot(self) -> Snapshot:
        """Everything that is known now; does not change any more."""
        return self._snapshot

    def route(self, need: Need, *, at_s: float, minute: int = 0) -> Plan:
        """Whom to ask for a call, in order.

        Args:
            need: The call.
            at_s: Now, on the monotonic clock.
            minute: Now, in minutes of the week, for schedules.

        Raises:
            NoEndpoint: none may answer now; above all, none that is local where the call is private.
        """
        snapshot = self._snapshot
        plan = decide(need, snapshot, self.policy, at_s=at_s, minute=minute)
        if plan.cut != snapshot.cut:
            with self._lock:
                self._snapshot = replace(self._snapshot, cut=plan.cut)
        if not plan.choices:
            raise refusal(plan)
        return plan

    def begin(self, plan: Plan, choice: Choice, *, at_s: float) -> Ticket | None:
        """Count a call in before it is sent.

        Returns:
            Its ticket; None where the endpoint went, filled up or shut since the plan, another call is its probe, or
            the spill budget no longer has the room.

        Raises:
            NoEndpoint: the call is private and the endpoint is not local.
        """
        need, name = plan.need, choice.endpoint.name
        if need.private and not choice.endpoint.local:
            raise refusal(Plan(need, (), (Drop(name, Reason.PRIVATE),), plan.cut))
        with self._lock:
            snapshot = self._snapshot
            place = snapshot.fleet.places.get(name)
            if place is None or snapshot.fleet.endpoints[place] != choice.endpoint:
                return None
            was = snapshot.standings[place]
            now = begun(was, self.policy, at_s, tokens=choice.uncached_tokens)
            if now is None:
                return None
            bucket: Bucket | None = snapshot.bucket
            if choice.hold_pico:
                bucket = held(snapshot.bucket, self.policy.spill, at_s, choice.hold_pico)
            if bucket is None:
                return None
            self._snapshot = replace(snapshot, standings=_with(snapshot.standings, place, now), bucket=bucket)
        ahead = was.forecast(at_s).queued_tokens + choice.uncached_tokens
        return Ticket(name, now.breaker.trips, need.prompt_tokens, ahead, choice.hold_pico)

    def end(self, ticket: Ticket, outcome: Outcome, *, at_s: float) -> None:
        """Report how a call ended; once for each ticket."""
        with self._lock:
            snapshot = self._snapshot
            bucket = snapshot.bucket
            if ticket.hold_pico:
                cost_pico = ticket.hold_pico if outcome.cost_pico is None else outcome.cost_pico
                bucket = paid(bucket, ticket.hold_pico, cost_pico)
            standings, place = snapshot.standings, snapshot.fleet.places.get(ticket.name)
            if place is not None:
                now = after(standings[place], ticket, outcome, self.policy, at_s)
                standings = _with(standings, place, now)
                self._note(ticket.name, outcome, at_s)
            self._snapshot = replace(snapshot, standings=standings, bucket=bucket)

    def hear(self, name: str, signals: Signals) -> None:
        """Take an endpoint's new signals; of one that is not there, nothing happens."""
        with self._lock:
            snapshot = self._snapshot
            place = snapshot.fleet.places.get(name)
            if place is not None:
                now = heard(snapshot.standings[place], signals, self.policy)
                self._snapshot = replace(snapshot, standings=_with(snapshot.standings, place, now))

    def refit(self, endpoints: Iterable[Endpoint], *, at_s: float) -> None:
        """Take another fleet; what is known of endpoints that stay as they are is kept.

        Raises:
            SettingsError: no endpoint, or two of one name; the old fleet stays.
        """
        fleet = Fleet(endpoints)
        with self._lock:
            known = {one.endpoint: one for one in self._snapshot.standings}
            standings = tuple(known.get(one) or standing_of(one, self.policy, at_s) for one in fleet.endpoints)
            self._snapshot = replace(self._snapshot, fleet=fleet, standings=standings)
            self._slo = {one.name: self._slo.get(one.name) or SloWindow() for one in fleet.endpoints}

    def slo(self, name: str, *, at_s: float) -> SloReading:
        """What an endpoint did lately.

        Raises:
            SettingsError: there is none of that name.
        """
        with self._lock:
            if name not in self._slo:
                there = ", ".join(self._slo)
                raise SettingsError(f"There is no endpoint {name!r}; there are {there}.", endpoint=name)
            return self._slo[name].read(at_s)

    def _note(self, name: str, outcome: Outcome, at_s: float) -> None:
        """What counts for an endpoint's targets: not what callers did wrong or ended themselves."""
        if outcome.how in ("caller", "cancelled"):
            return
        ttft_s, output_tps = outcome.ttft_s, None
        if ttft_s is not None and outcome.output_tokens > 1 and outcome.total_s > ttft_s:
            output_tps = (outcome.output_tokens - 1) / (outcome.total_s - ttft_s)
        self._slo[name].add(at_s, is_good=outcome.how == "ok", ttft_s=ttft_s, output_tps=output_tps)


def _with(standings: tuple[Standing, ...], place: int, one: Standing) -> tuple[Standing, ...]:
    return (*standings[:place], one, *standings[place + 1 :])
