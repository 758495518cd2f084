"""The endpoints of one guard, and which of them are able to answer a kind of call: what no load ever changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from tokenguard.errors import SettingsError
from tokenguard.routing.endpoints import Capability, Endpoint, Need, Tier
from tokenguard.routing.hashing import seed_of
from tokenguard.routing.policies import Drop, Reason

__all__ = ["Able", "Fleet", "counterfactual"]

_Kind: TypeAlias = tuple[bool, Tier | None, frozenset[Capability]]


class Able(NamedTuple):
    """Positions of the endpoints that may and can answer a kind of call."""

    own: tuple[int, ...]
    clouds: tuple[int, ...]
    dropped: tuple[Drop, ...]


class Fleet:
    """Endpoints with unique names, in the order given. Does not change; kinds of calls are worked out once each.

    Raises:
        SettingsError: two endpoints of one name, or none at all.
    """

    __slots__ = ("_kinds", "endpoints", "is_even", "places", "seeds")

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self.endpoints = tuple(endpoints)
        self.places = {one.name: place for place, one in enumerate(self.endpoints)}
        self.seeds = tuple(seed_of(one.name) for one in self.endpoints)
        """What each endpoint is hashed by."""
        self.is_even = len({one.weight for one in self.endpoints}) < 2  # noqa: PLR2004  # all the same
        # At most 2 × 3 × 8 kinds; two threads that find the same one store equal values.
        self._kinds: dict[_Kind, Able] = {}
        if not self.endpoints:
            raise SettingsError("There is no endpoint to route to; give at least one Endpoint(name=..., model=...).")
        if len(self.places) < len(self.endpoints):
            names = [one.name for one in self.endpoints]
            twice = next(name for name in names if names.count(name) > 1)
            raise SettingsError(
                f"{names.count(twice)} endpoints are named {twice!r}; give each one a name of its own.", endpoint=twice
            )

    def able(self, need: Need) -> Able:
        """Who may and can answer such a call: privacy first, then what it uses, then the tier."""
        kind = (need.private, need.tier, need.uses)
        found = self._kinds.get(kind)
        if found is None:
            found = self._kinds[kind] = self._sorted_out(need)
        return found

    def _sorted_out(self, need: Need) -> Able:
        own: list[int] = []
        clouds: list[int] = []
        dropped: list[Drop] = []
        for place, one in enumerate(self.endpoints):
            if need.private and not one.local:
                dropped.append(Drop(one.name, Reason.PRIVATE))
            elif not need.uses <= one.can:
                dropped.append(Drop(one.name, Reason.CANNOT))
            elif need.tier == "large" and one.tier == "small":
                dropped.append(Drop(one.name, Reason.TIER))
            else:
                (own if one.own else clouds).append(place)
        return Able(tuple(own), tuple(clouds), tuple(dropped))


def counterfactual(need: Need, fleet: Fleet) -> tuple[str, int] | None:
    """What the call would have cost without own hardware: the cheapest able cloud and whole pico-dollars.

    Privacy is left aside, because it is the price that is asked for and nothing is sent. None: no cloud is able.
    """
    prices = [
        (one.billed.cost_pico(need.prompt_tokens, need.output_tokens), one.name)
        for one in fleet.endpoints
        if not one.own and need.uses <= one.can and not (need.tier == "large" and one.tier == "small")
    ]
    cost_pico, name = min(prices, default=(0, ""))
    return (name, cost_pico) if prices else None
