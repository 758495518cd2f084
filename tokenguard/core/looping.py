"""What repetitions cost and what refusing them spared: a value for each run and repetition, added up from events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from tokenguard.core.books import GuardEvent
from tokenguard.core.ladder import Rung
from tokenguard.core.money import Money

__all__ = ["LOOPED", "LoopSpend", "done_about", "loop_spends"]

LOOPED: Final = "looped"
"""The kind of the guard events that `core.events.Looped` becomes."""

_DONE: Final = {Rung.WARN: "warned", Rung.STEER: "steered", Rung.BLOCK: "blocked", Rung.STOP: "stopped"}
_HEIGHT: Final = {rung: place for place, rung in enumerate(Rung)}


@dataclass(frozen=True, slots=True)
class LoopSpend:
    """One repetition of one run."""

    run_id: str
    rule: str
    subject: str
    """What repeats: a tool's or a model's name."""
    fingerprint: str
    """The same for the same repetition of any run."""
    repeats: int
    """The most equal rounds that were seen."""
    rung: Rung
    """The last rung that it reached."""
    wasted: Money
    """What the repetitions after the first one cost."""
    averted: Money
    """What its rungs spared in all, by `assumption`."""
    assumption: str
    first_at: datetime
    """When the first rung acted."""
    at: datetime
    """When the last one did."""
    applied: bool
    """False: observing, nothing was done on that rung."""

    def json(self) -> dict[str, Any]:
        """As JSON values; money as decimal strings of dollars."""
        return {
            "run": self.run_id,
            "rule": self.rule,
            "subject": self.subject,
            "fingerprint": self.fingerprint,
            "repeats": self.repeats,
            "rung": self.rung.value,
            "applied": self.applied,
            "wasted_usd": self.wasted.json(),
            "averted_usd": self.averted.json(),
            "assumption": self.assumption,
            "first_at": self.first_at.isoformat(),
            "at": self.at.isoformat(),
        }


def done_about(loop: LoopSpend) -> str:
    """What was done about a repetition: `steered`, `blocked`, `stopped`, or what would have been."""
    done = _DONE.get(loop.rung, loop.rung.value)
    return done if loop.applied else f"would have been {done}"


def loop_spends(events: Iterable[GuardEvent]) -> tuple[LoopSpend, ...]:
    """One value for each run and repetition, the dearest first.

    Each event says what was wasted and averted since those before it, so both add up.

    Args:
        events: Guard events of kind `looped`, in any order; those without a run belong to nobody's repetition.
    """
    found: dict[tuple[str, str], LoopSpend] = {}
    for event in sorted(events, key=lambda one: (one.at, one.id)):
        if event.run_id is not None:
            one = _of(event, event.run_id)
            key = (one.run_id, one.fingerprint)
            found[key] = _together(found[key], one) if key in found else one
    return tuple(sorted(found.values(), key=lambda one: (-one.wasted.pico, one.first_at, one.run_id, one.fingerprint)))


def _of(event: GuardEvent, run_id: str) -> LoopSpend:
    facts = event.facts
    evidence = facts["evidence"]
    return LoopSpend(
        run_id=run_id,
        rule=facts["rule"],
        subject=str(evidence.get("subject", "")),
        fingerprint=str(evidence.get("fingerprint", facts["rule"])),
        repeats=facts["repeats"],
        rung=Rung(facts["rung"]),
        wasted=Money(facts["wasted"]),
        averted=Money(facts["averted"]),
        assumption=facts["assumption"],
        first_at=event.at,
        at=event.at,
        applied=facts["applied"],
    )


def _together(before: LoopSpend, after: LoopSpend) -> LoopSpend:
    last = max(before, after, key=lambda one: (_HEIGHT[one.rung], one.applied))
    return LoopSpend(
        run_id=before.run_id,
        rule=last.rule,
        subject=last.subject,
        fingerprint=before.fingerprint,
        repeats=max(before.repeats, after.repeats),
        rung=last.rung,
        wasted=before.wasted + after.wasted,
        averted=before.averted + after.averted,
        assumption=after.assumption or before.assumption,
        first_at=before.first_at,
        at=after.at,
        applied=last.applied,
    )
