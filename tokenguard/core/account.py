"""Where caps are counted: a `Scope` owns budgets, an `Account` is one cap in one window, a balance row in the ledger.

A path of scopes runs root → leaf: guard scope, named scopes, runs and agents, steps. A call must fit every account
on its path. Windows are keys of accounts: nothing is ever reset, a new window is a new account.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from tokenguard.core.budget import Budget, Per, Unit
from tokenguard.core.rolling import is_rolling

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Account",
    "Amounts",
    "Path",
    "Scope",
    "Window",
    "account_id",
    "account_of",
    "accounts_on",
    "scope_key",
    "window_at",
]


@dataclass(frozen=True, slots=True)
class Amounts:
    """What one call takes from accounts of each unit; each >= 0."""

    usd_pico: int = 0
    tokens: int = 0
    calls: int = 0
    steps: int = 0

    def of(self, unit: Unit) -> int:
        """The amount in one unit; usd in pico-dollars."""
        if unit is Unit.USD:
            return self.usd_pico
        if unit is Unit.TOKENS:
            return self.tokens
        return self.calls if unit is Unit.CALLS else self.steps


@dataclass(frozen=True, slots=True)
class Scope:
    """A place that may own budgets. `key` is stable across processes, `label` is what people read.

    Keys: `scope:acme/search`, `agent:acme/search/researcher` (an agent's name over time), `run:<id>`, `step:<id>`.
    """

    key: str
    label: str
    budgets: tuple[Budget, ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """A calendar window: its key, and when it ends (None: never)."""

    bucket: str
    ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class Account:
    """One cap of one scope in one window. `id` is the same in every process; rows are locked in its order."""

    id: str
    scope_key: str
    scope_label: str
    unit: Unit
    per: Per
    bucket: str
    cap: int
    """As declared by the code; the ledger's row holds the cap in force, after top-ups."""
    ends_at: datetime | None = None
    warn_at: tuple[float, ...] = ()
    reserve_final_pico: int = 0
    allowance_pico: int | None = None
    """The most that one process leases at a time; 0: never. None: nobody said (core/allowance.py)."""


class Path:
    """The scopes that pay for a call, root → leaf, and the accounts that it must fit.

    Every call of a run asks for the same accounts, so those of the last minute are remembered: windows begin and end on
    whole minutes. Safe to use from any thread.
    """

    __slots__ = ("_latest", "keys", "scopes")

    def __init__(self, scopes: tuple[Scope, ...]) -> None:
        self.scopes = scopes
        self.keys = tuple([scope.key for scope in scopes])
        self._latest: tuple[datetime, tuple[Account, ...]] | None = None

    def accounts(self, at: datetime) -> tuple[Account, ...]:
        """Every account a call at `at` (aware) must fit, outermost scope first, units in their precedence."""
        minute = _minute_of(at)
        latest = self._latest
        if latest is None or latest[0] != minute:
            latest = self._latest = minute, accounts_on(self.scopes, minute)
        return latest[1]


def scope_key(text: str) -> str | None:
    """The key of the scope that a person means: a key, or a path such as `acme/search`; None where it names none."""
    kind, _, name = text.partition(":")
    key = text if kind in _KINDS and name else f"scope:{text.strip('/')}"
    return None if key == "scope:" or not key.isprintable() else key


_KINDS = ("scope", "agent", "run", "step")
_FOREVER = Window("", None)
_MINUTE = timedelta(minutes=1)


def accounts_on(path: Sequence[Scope], at: datetime) -> tuple[Account, ...]:
    """Every account a call at `at` must fit, outermost scope first, units in their precedence."""
    return tuple(
        account_of(scope, budget, unit, cap, at)
        for scope in path
        for budget in scope.budgets
        for unit, cap in budget.caps()
    )


def account_of(scope: Scope, budget: Budget, unit: Unit, cap: int, at: datetime) -> Account:
    """The account of one cap in the window that holds `at`."""
    window = window_at(budget.per, budget.tz, at)
    return Account(
        id=account_id(scope.key, unit, budget.per, budget.tz, window.bucket),
        scope_key=scope.key,
        scope_label=scope.label,
        unit=unit,
        per=budget.per,
        bucket=window.bucket,
        cap=cap,
        ends_at=window.ends_at,
        warn_at=budget.warn_at,
        reserve_final_pico=budget.reserve_final.pico if budget.reserve_final and unit is Unit.USD else 0,
        allowance_pico=None if budget.allowance is None else budget.allowance.pico,
    )


@lru_cache(maxsize=4096)
def account_id(scope_key: str, unit: Unit, per: Per, tz: str, bucket: str) -> str:
    """The id of one cap in one window, the same in every process: 32 hexadecimal digits."""
    # A digest, not the text: keys are as long as users' names, and an index over 32 characters is not.
    text = f"{scope_key}\x1f{unit}\x1f{per}\x1f{tz}\x1f{bucket}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def window_at(per: Per, tz: str, at: datetime) -> Window:
    """The window of `per` that holds the instant `at` (aware), by the calendar of `tz`.

    A rolling one is a single account for good, whose amounts are kept in slices (core/rolling.py).

    Weeks begin on Monday. The bucket names the window's start in UTC, so an hour that a time zone repeats in autumn
    is two windows, and a day of 23 or 25 hours is one.
    """
    if per in ("run", "total") or is_rolling(per):
        return _FOREVER
    # Windows begin and end on whole minutes, so that one look a minute is enough.
    return _window_in(per, tz, _minute_of(at))


def _minute_of(at: datetime) -> datetime:
    """The minute that holds `at`, in UTC, because instants that a zone's clock shows twice are equal in that zone."""
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return utc.replace(second=0, microsecond=0)


@lru_cache(maxsize=256)
def _window_in(per: Per, tz: str, at: datetime) -> Window:
    """The calendar window that holds the minute `at`."""
    if per == "minute":
        return Window(at.strftime("%Y-%m-%dT%H:%MZ"), at + _MINUTE)
    local = at.astimezone(ZoneInfo(tz))
    if per == "hour":
        return _hour_in(local, at)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if per == "day":
        first, after = midnight, midnight + timedelta(days=1)
    elif per == "week":
        first = midnight - timedelta(days=local.weekday())
        after = first + timedelta(days=7)
    else:
        first = midnight.replace(day=1)
        after = (first + timedelta(days=32)).replace(day=1)
    return Window(first.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ"), after.astimezone(UTC))


def _hour_in(local: datetime, at: datetime) -> Window:
    """The hour of a zone's clock that holds the minute `at` (UTC), which the zone shows as `local`."""
    # Offsets are whole minutes but not whole hours (India), so the local field decides, in UTC arithmetic.
    start = at - timedelta(minutes=local.minute)
    end = start + timedelta(hours=1)
    # A clock that moves by half an hour (Lord Howe Island) cuts an hour short on either side of the change.
    while start.astimezone(local.tzinfo).utcoffset() != local.utcoffset():
        start += _MINUTE
    while (end - _MINUTE).astimezone(local.tzinfo).utcoffset() != local.utcoffset():
        end -= _MINUTE
    return Window(start.strftime("%Y-%m-%dT%H:%MZ"), end)
