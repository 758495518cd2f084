"""What goes wrong in a round, and when: all of it follows from the seed and the kind of database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Final, Literal

__all__ = ["ORG", "Fault", "Plan", "WorkerPlan", "plan_of"]

Kind = Literal["sqlite", "postgres"]
WORKERS: Final = 8
ORG: Final = "acme"

_NETWORK: Final = ("cut", "reset", "stall", "refuse", "swallow")
"""Connections end, are reset, fall silent for a while, are not accepted for a while, lose the next answer."""
_PEOPLE: Final = ("sweep", "top up", "stop", "resume")
_DEATHS: Final = (
    "in a transaction",
    "after a commit",
    "before sending",
    "after sending",
    "after the answer",
)
_JOURNAL_DEATHS: Final = ("before journaling", "after journaling", "before a replay", "in a replay")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens to the round from outside."""

    at_s: float
    what: str
    where: str = ""
    """`database` or `model` for the network, a mode for a restart."""
    for_s: float = 0.0

    def __str__(self) -> str:
        lasting = f" for {self.for_s:.2f} s" if self.for_s else ""
        return f"{self.at_s:.2f} s: {self.what} {self.where}{lasting}".rstrip()


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """How one process lives and dies."""

    team: str
    seed: int
    calls: int
    """How many calls it makes at most, over several runs."""
    busy: Literal["wait", "raise"]
    lock_wait_s: float
    """How long it waits for other processes' locks on a SQLite file."""
    dies: tuple[str, int] | None = None
    """It kills itself at the n-th time that it comes to a place."""
    killed_at_s: float | None = None
    stopped: tuple[float, float] | None = None
    """Suspended at (seconds) for (seconds)."""
    cramped: tuple[int, int] | None = None
    """Its disk is full from one transaction to another (SQLite)."""
    closes: bool = True
    """Whether it closes its guard at the end, or just ends."""
    begins_s: float = 0.0
    """Later than the others, who may be dead by then."""

    def __str__(self) -> str:
        words = [f"{self.calls} calls for {self.team}, busy={self.busy}"]
        words += [f"begins at {self.begins_s:.2f} s"] if self.begins_s else []
        words += [f"dies {self.dies[0]} number {self.dies[1]}"] if self.dies else []
        words += [f"killed at {self.killed_at_s:.2f} s"] if self.killed_at_s is not None else []
        words += [f"suspended at {self.stopped[0]:.2f} s for {self.stopped[1]:.2f} s"] if self.stopped else []
        words += [f"no disk from transaction {self.cramped[0]} to {self.cramped[1]}"] if self.cramped else []
        return ", ".join(words)


@dataclass(frozen=True, slots=True)
class Plan:
    """One round."""

    seed: int
    kind: Kind
    deadline_s: float
    """Who still lives then is killed."""
    org_cents: int
    team_cents: int
    run_cents: int
    agent_cents: int
    faults: tuple[Fault, ...]
    workers: tuple[WorkerPlan, ...]
    hog: tuple[float, float] | None
    """Another process writes to the balances at (seconds) and is killed before it commits, after (seconds)."""
    journals: bool = False
    """Workers journal what they cannot book; the ledger is cut off while they settle."""
    sweeps_first: bool = False
    """After the round, holds are charged before what the dead wrote down is booked."""
    leases: bool = False
    """Calls are paid out of allowances where there is room for them."""
    bridges: bool = False
    """Allowances are spent while the ledger is away."""

    def __str__(self) -> str:
        caps = f"caps {self.org_cents}/{self.team_cents}/{self.run_cents}/{self.agent_cents} cents"
        named = {"journaled": self.journals, "leased": self.leases, "bridged": self.bridges}
        named["swept first"] = self.sweeps_first
        how = "".join(f", {name}" for name, is_so in named.items() if is_so)
        lines = [f"seed {self.seed} on {self.kind}: {caps}, {self.deadline_s:.1f} s{how}"]
        lines += [f"  worker {place}: {one}" for place, one in enumerate(self.workers)]
        lines += [f"  {one}" for one in self.faults]
        lines += [f"  {self.hog[0]:.2f} s: a writer is killed after {self.hog[1]:.2f} s"] if self.hog else []
        return "\n".join(lines)


def plan_of(seed: int, kind: Kind) -> Plan:
    """The round of a seed."""
    dice = Random(f"{seed}/{kind}")  # a plan, not a secret
    faults = tuple(sorted(_faults(dice, kind), key=lambda one: one.at_s))
    restarts = sum(one.what == "restart" for one in faults)
    org_cents = dice.randint(6, 40)
    plan = Plan(
        seed=seed,
        kind=kind,
        deadline_s=dice.uniform(0.7, 1.2) + 0.8 * restarts,
        org_cents=org_cents,
        team_cents=dice.randint(3, org_cents),
        run_cents=dice.randint(2, 8),
        agent_cents=dice.randint(1, 5),
        faults=faults,
        workers=tuple(_worker(dice, kind) for _ in range(WORKERS)),
        hog=(dice.uniform(0.1, 0.6), dice.uniform(0.02, 0.3)) if dice.random() < 0.3 else None,
    )
    return _leased(_journaled(plan, Random(f"{seed}/{kind}/journal")), Random(f"{seed}/{kind}/leases"))


def _leased(plan: Plan, dice: Random) -> Plan:
    """Half of all rounds pay out of allowances, which takes caps that have room for several calls."""
    if dice.random() < 0.5:
        return plan
    plan = replace(plan, leases=True, bridges=dice.random() < 0.5, sweeps_first=dice.random() < 0.4)
    if plan.journals:
        return plan
    return replace(
        plan,
        org_cents=4 * plan.org_cents,
        team_cents=4 * plan.team_cents,
        run_cents=4 * plan.run_cents,
        agent_cents=4 * plan.agent_cents,
        workers=tuple(replace(one, calls=3 * one.calls) for one in plan.workers),
    )


def _journaled(plan: Plan, dice: Random) -> Plan:
    """Half of all rounds are about the journal: long outages of a ledger that is used a lot, deaths and heirs."""
    if dice.random() < 0.5:
        return plan
    what, where = ("lock", "") if plan.kind == "sqlite" else ("refuse", "database")
    outages = [Fault(dice.uniform(at_s, at_s + 0.3), what, where, dice.uniform(0.15, 0.4)) for at_s in (0.1, 0.7)]
    return replace(
        plan,
        journals=True,
        sweeps_first=dice.random() < 0.4,
        deadline_s=plan.deadline_s + 0.6,
        org_cents=4 * plan.org_cents,
        team_cents=4 * plan.team_cents,
        run_cents=4 * plan.run_cents,
        agent_cents=4 * plan.agent_cents,
        faults=tuple(sorted((*plan.faults, *outages), key=lambda one: one.at_s)),
        workers=tuple(_journaling(one, place, plan.deadline_s, dice) for place, one in enumerate(plan.workers)),
    )


def _journaling(worker: WorkerPlan, place: int, deadline_s: float, dice: Random) -> WorkerPlan:
    """The same worker where bookings are journaled; the last two begin when others may have died."""
    dies = (dice.choice(_JOURNAL_DEATHS), dice.choice((1, 1, 2))) if dice.random() < 0.5 else worker.dies
    begins_s = dice.uniform(0.3, deadline_s) if place >= WORKERS - 2 else 0.0
    lock_wait_s = dice.choice((0.02, 0.02, 0.05, 1.0))
    return replace(worker, calls=3 * worker.calls, dies=dies, begins_s=begins_s, lock_wait_s=lock_wait_s, closes=False)


def _faults(dice: Random, kind: Kind) -> Iterator[Fault]:
    for _ in range(dice.randint(1, 4)):
        where = "model" if kind == "sqlite" or dice.random() < 0.35 else "database"
        what = dice.choice(_NETWORK)
        lasting = dice.uniform(0.02, 0.25) if what in ("stall", "refuse") else 0.0
        yield Fault(dice.uniform(0.05, 0.8), what, where, lasting)
    for _ in range(dice.randint(0, 3)):
        yield Fault(dice.uniform(0.05, 0.8), dice.choice(_PEOPLE))
    if kind == "sqlite":
        if dice.random() < 0.4:
            yield Fault(dice.uniform(0.05, 0.6), "lock", for_s=dice.uniform(0.05, 0.4))
        return
    if dice.random() < 0.4:
        yield Fault(dice.uniform(0.1, 0.5), "restart", dice.choice(("fast", "immediate")))
    if dice.random() < 0.3:
        yield Fault(dice.uniform(0.1, 0.7), "terminate")


def _worker(dice: Random, kind: Kind) -> WorkerPlan:
    fate = dice.random()
    return WorkerPlan(
        team=dice.choice(("red", "blue")),
        seed=dice.randrange(2**32),
        calls=dice.randint(4, 14),
        busy=dice.choice(("wait", "raise")),
        lock_wait_s=dice.choice((0.05, 1.0, 10.0)),
        dies=(dice.choice(_DEATHS), dice.randint(1, 12)) if fate < 0.3 else None,
        killed_at_s=dice.uniform(0.05, 0.9) if 0.3 <= fate < 0.55 else None,
        stopped=(dice.uniform(0.05, 0.5), dice.uniform(0.05, 0.4)) if dice.random() < 0.1 else None,
        cramped=(dice.randint(2, 20), dice.randint(21, 40)) if kind == "sqlite" and dice.random() < 0.2 else None,
        closes=dice.random() < 0.7,
    )
