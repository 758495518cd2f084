"""What may be spent: `Budget` and `Limits` as frozen values. Enforcement is a scope in a tree: `core/account.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tokenguard.core.money import Money, UsdLike
from tokenguard.core.rolling import is_rolling, read_rolling
from tokenguard.errors import BadAmount

__all__ = ["DEFAULT_ALLOWANCE", "PERIODS", "Budget", "Limits", "Per", "Unit"]

Per: TypeAlias = str
"""One of `PERIODS`, or a rolling one: `rolling 24h` (minutes `m`, hours `h`, days `d`; 1 minute to 366 days)."""
PERIODS: Final[tuple[str, ...]] = ("run", "minute", "hour", "day", "week", "month", "total")
DEFAULT_ALLOWANCE: Final = Money("0.25")
"""What `allowance=True` means; chosen from the curve in benchmarks/README.md."""


class Unit(StrEnum):
    """What a cap counts, in the order of precedence when several are spent."""

    STEPS = "steps"
    CALLS = "calls"
    TOKENS = "tokens"
    USD = "usd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Caps on one scope. Every field is None (no cap) or a value; a call is sent only if it fits all of them.

    Raises:
        BadAmount: a float as money, a negative or fractional count, an unknown period or time zone.
    """

    usd: Money | None
    """Checked before each call against its worst case; a call in flight is never cut by it."""
    tokens: int | None
    """Input plus output, cached ones included; checked before each call against its worst case."""
    calls: int | None
    """Attempts sent, retries and fallbacks included."""
    steps: int | None
    """Entries of `@guard.step`; a call outside any step is one."""
    wall: timedelta | None
    """Time since the run began; checked before each call and at each chunk. Only with `per="run"`."""
    per: Per
    """`run` counts one entry of the run or agent; `minute` to `month` are calendar windows in `tz`; `rolling 24h` is
    any 24 hours; `total` never rolls."""
    tz: str
    warn_at: tuple[float, ...]
    """Shares of each cap at which a `Warned` event is sent, once per window."""
    reserve_final: Money | None
    """Part of `usd` kept back for one last answer without tools, after the rest is spent."""
    allowance: Money | None
    """The most that one process leases of this budget at a time and spends without asking the ledger for each call;
    zero: never. None: never where the budget outlives a run; a run's follows the budgets above it."""

    def __init__(
        self,
        *,
        usd: UsdLike | Money | None = None,
        tokens: int | None = None,
        calls: int | None = None,
        steps: int | None = None,
        wall: timedelta | None = None,
        per: Per = "run",
        tz: str = "UTC",
        warn_at: Sequence[float] = (0.5, 0.8),
        reserve_final: UsdLike | Money | None = None,
        allowance: UsdLike | Money | bool | None = None,
    ) -> None:
        values = {
            "usd": _money("usd", usd),
            "tokens": _count("tokens", tokens),
            "calls": _count("calls", calls),
            "steps": _count("steps", steps),
            "wall": _span(wall, per),
            "per": _period(per),
            "tz": _zone(tz, per),
            "warn_at": _shares(warn_at),
            "reserve_final": _money("reserve_final", reserve_final),
            "allowance": _allowance(allowance, per),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        if self.reserve_final is not None and (self.usd is None or self.reserve_final > self.usd):
            raise BadAmount(
                f"reserve_final={self.reserve_final} is part of the usd cap ({self.usd}) and cannot be above it.",
                amount=self.reserve_final,
            )

    def caps(self) -> tuple[tuple[Unit, int], ...]:
        """The caps that accounts can count, as (unit, limit); usd in pico-dollars. `wall` is not an account."""
        limits = (
            (Unit.STEPS, self.steps),
            (Unit.CALLS, self.calls),
            (Unit.TOKENS, self.tokens),
            (Unit.USD, None if self.usd is None else self.usd.pico),
        )
        return tuple((unit, limit) for unit, limit in limits if limit is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Shape of the run tree, counted on its root. None switches one off.

    Defaults are DESIGN §8's: generous for a working agent, far below what the recorded incidents reached (361
    agents, 188 in one minute, 50 levels).
    """

    depth: int | None = 16
    """How deep runs and agents may nest; the root is 1."""
    children: int | None = 64
    """Children of one run that live at the same time."""
    descendants: int | None = 1_000
    """Runs and agents ever started below the root."""
    spawns_per_minute: int | None = 120
    usd_per_minute: Money | None = None
    tokens_per_minute: int | None = None

    def __init__(
        self,
        *,
        depth: int | None = 16,
        children: int | None = 64,
        descendants: int | None = 1_000,
        spawns_per_minute: int | None = 120,
        usd_per_minute: UsdLike | Money | None = None,
        tokens_per_minute: int | None = None,
    ) -> None:
        object.__setattr__(self, "depth", _count("depth", depth))
        object.__setattr__(self, "children", _count("children", children))
        object.__setattr__(self, "descendants", _count("descendants", descendants))
        object.__setattr__(self, "spawns_per_minute", _count("spawns_per_minute", spawns_per_minute))
        object.__setattr__(self, "usd_per_minute", _money("usd_per_minute", usd_per_minute))
        object.__setattr__(self, "tokens_per_minute", _count("tokens_per_minute", tokens_per_minute))


def _money(name: str, usd: UsdLike | Money | None) -> Money | None:
    """A cap in dollars, 0 or more."""
    if usd is None:
        return None
    money = Money(usd)
    if money.pico < 0:
        raise BadAmount(f"{name}={money.json()!r}: a cap cannot be below zero.", amount=money)
    return money


def _allowance(allowance: Any, per: str) -> Money | None:
    """The largest lease in dollars; True is the default size, False and 0 are none."""
    if isinstance(allowance, bool):
        allowance = DEFAULT_ALLOWANCE if allowance else 0
    money = _money("allowance", allowance)
    if money is not None and money.pico and is_rolling(per):
        raise BadAmount(
            f"allowance={money.json()!r}: what a process leases has no place in a rolling window ({per}), because it "
            "leaves the window slice by slice. Choose a calendar window such as day, or leave allowance out.",
            amount=money,
        )
    return money


def _count(name: str, count: int | None) -> int | None:
    """A cap in whole things, 0 or more."""
    if count is not None and (type(count) is not int or count < 0):
        raise BadAmount(f"{name}={count!r}: a cap is a whole number, 0 or more.", amount=repr(count))
    return count


def _span(wall: Any, per: str) -> timedelta | None:
    """A duration above zero, for one run only."""
    if wall is None:
        return None
    if not isinstance(wall, timedelta) or wall <= timedelta(0):
        raise BadAmount(f"wall={wall!r}: give a timedelta above zero, as in timedelta(minutes=5).", amount=repr(wall))
    if per != "run":
        raise BadAmount(f"wall= counts one run's time and cannot be combined with per={per!r}.", amount=repr(wall))
    return wall


def _period(per: str) -> str:
    found = per if per in PERIODS else read_rolling(str(per))
    if found is None:
        raise BadAmount(
            f"per={per!r} is not a period. Choose one of {', '.join(PERIODS)}, or a rolling window of 1 minute to 366 "
            "days, as in 'rolling 24h'.",
            amount=per,
        )
    return found


def _zone(tz: str, per: str) -> str:
    if is_rolling(per) and tz != "UTC":
        raise BadAmount(
            f"tz={tz!r} names a calendar, and per={per!r} follows none. Leave tz out, or choose a period such as day.",
            amount=tz,
        )
    try:
        ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError):
        raise BadAmount(
            f"tz={tz!r} is not a time zone of the IANA database, as in 'Europe/Berlin'.", amount=tz
        ) from None
    return tz


def _shares(warn_at: Sequence[float]) -> tuple[float, ...]:
    try:
        shares = tuple(sorted({share + 0.0 for share in warn_at}))
    except TypeError:
        text = repr(warn_at)
        raise BadAmount(f"warn_at={text}: give shares of the cap, as in (0.5, 0.8).", amount=text) from None
    if any(not 0 < share < 1 for share in shares):
        raise BadAmount(f"warn_at={warn_at!r}: shares lie between 0 and 1, as in (0.5, 0.8).", amount=repr(warn_at))
    return shares
