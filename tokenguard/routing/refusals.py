"""The sentence of a call that no endpoint may answer."""

from __future__ import annotations

from typing import Final

from tokenguard.errors import NoEndpoint
from tokenguard.routing.policies import Drop, Plan, Reason

__all__ = ["refusal"]

_SHOWN_MAX: Final = 4
_FULL_S: Final = 0.5
_PASSING: Final = frozenset({Reason.SHUT, Reason.FULL, Reason.BUDGET})
_NEXT: Final = {
    Reason.PRIVATE: "Declare an endpoint with local=True, or call without the privacy tag",
    Reason.CANNOT: "Add an endpoint whose can= names what the call uses",
    Reason.TIER: "Add an endpoint with tier='large', or ask for tier='small'",
    Reason.CONTEXT: "Shorten the prompt, or add an endpoint with a larger window",
    Reason.SCHEDULE: "Widen a schedule, or add an endpoint without one",
    Reason.SHUT: "Ask again in {retry_in_s:.1f} s",
    Reason.FULL: "Ask again in {retry_in_s:.1f} s, or raise max_concurrent",
    Reason.DEADLINE: "Allow more time, ask for a shorter answer, or add a faster endpoint",
    Reason.BUDGET: "Raise SpillRule(cap_pico=), or wait until it refills",
}
"""The nearest to an answer last: an endpoint that is only full is nearer than one that is too small."""
_NEARNESS: Final = {reason: number for number, reason in enumerate(_NEXT)}


def refusal(plan: Plan) -> NoEndpoint:
    """The error of a plan without choices: what was left out, why, and the next move."""
    dropped, private = plan.dropped, plan.need.private
    nearest = max((one.reason for one in dropped), key=_NEARNESS.__getitem__, default=Reason.CANNOT)
    retry_in_s = _retry_in_s(dropped) if nearest in _PASSING else None
    shown = "; ".join(one.sentence for one in dropped[:_SHOWN_MAX])
    more = f"; and {len(dropped) - _SHOWN_MAX} more" if len(dropped) > _SHOWN_MAX else ""
    return NoEndpoint(
        f"None of {len(dropped)} endpoints may answer this {'private ' if private else ''}call ({shown}{more}). "
        f"{_NEXT[nearest].format(retry_in_s=retry_in_s)}.",
        private=private,
        dropped=tuple(one.sentence for one in dropped),
        retry_in_s=retry_in_s,
    )


def _retry_in_s(dropped: tuple[Drop, ...]) -> float:
    """When the first of those that are away for a while is asked again."""
    shut = [one.number for one in dropped if one.reason is Reason.SHUT]
    return min(shut, default=_FULL_S)
