"""A route: the endpoints that answer for one model's name, how they are chosen, and what one call may ask of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenguard.errors import BadAmount, SettingsError
from tokenguard.routing.endpoints import Endpoint, Tier
from tokenguard.routing.policies import Policy

__all__ = ["Route", "Routing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """What one call asks of its route, as the option `routing=`.

    Raises:
        BadAmount: a deadline or a number of tokens that is not above zero.
    """

    private: bool = False
    """Only endpoints with `local=True` may see it, whatever fails."""
    tier: Tier | None = None
    """The least that is good enough: `small` or `large`; None: anything."""
    deadline_s: float | None = None
    """Seconds from now until the whole answer is worthless."""
    session: str | None = None
    """Calls with the same name go to the replica that keeps their prefix; None: the run and how the
    conversation begins name it."""
    output_tokens: int | None = None
    """Expected; None: what `max_tokens` says, 256 at most."""

    def __post_init__(self) -> None:
        for name, value in (("deadline_s", self.deadline_s), ("output_tokens", self.output_tokens)):
            if value is not None and value <= 0:
                raise BadAmount(f"Routing({name}={value}): give more than 0, or leave it out.")


@dataclass(frozen=True, slots=True)
class Route:
    """Who answers for a model's name in `Guard(routes={name: Route(...)})`.

    Raises:
        SettingsError: no endpoint, or options for one that is not there.
        BadAmount: a time between two readings that is not above zero.
    """

    endpoints: Sequence[Endpoint | str]
    """A string is a cloud model by LiteLLM's name, with the rates of its price card."""
    policy: Policy | None = None
    options: Mapping[str, Mapping[str, Any]] | None = field(default=None, repr=False)
    """LiteLLM's options that go over a call's own, by endpoint: its `api_key`, for one."""
    private_scopes: Sequence[str] = ()
    """Calls of these scopes, and of all below them, are private."""
    poll_s: float = 1.0
    """Seconds between two readings of an own endpoint's metrics."""

    def __post_init__(self) -> None:
        if isinstance(self.endpoints, str) or not self.endpoints:
            raise SettingsError("A route has no endpoints: give a list, as in Route([Endpoint(...), 'openai/gpt-5']).")
        names = {one if isinstance(one, str) else one.name for one in self.endpoints}
        strangers = sorted(set(self.options or ()) - names)
        if strangers:
            raise SettingsError(
                f"A route has options for {', '.join(map(repr, strangers))}; its endpoints are "
                f"{', '.join(map(repr, sorted(names)))}."
            )
        if self.poll_s <= 0:
            raise BadAmount(f"Route(poll_s={self.poll_s}): give more than 0 seconds.")

    def is_private(self, scope: str) -> bool:
        """Whether calls of a scope, such as `acme/hr`, are private."""
        return any(scope == one or scope.startswith(f"{one}/") for one in self.private_scopes)
