"""What this process saw last of the caps: the most spent first, windows that are open, and not of too many scopes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tokenguard.calls.shares import Shares
from tokenguard.core.account import Account
from tokenguard.core.budget import Unit
from tokenguard.core.verdict import AccountState

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)


def state(
    scope: str, settled: int, *, cap: int = 100, bucket: str = "", ends_at: datetime | None = None
) -> AccountState:
    account = Account(f"{scope}/{bucket}", scope, scope, Unit.CALLS, "day" if bucket else "run", bucket, cap, ends_at)
    return AccountState(account, cap, settled, held=0, live=0)


def test_the_most_spent_cap_comes_first() -> None:
    shares = Shares()
    shares.note([state("scope:a", 10), state("scope:b", 90), state("scope:c", 50), state("scope:d", 0, cap=0)])

    seen = shares.of(["scope:a", "scope:b", "scope:c", "scope:d", "scope:never"], NOON)

    assert [one.account.scope_key for one in seen] == ["scope:b", "scope:c", "scope:a"]


def test_a_window_that_has_rolled_is_not_counted() -> None:
    shares = Shares()
    shares.note([state("scope:a", 90, bucket="2026-12-01", ends_at=NOON)])

    assert shares.of(["scope:a"], NOON - timedelta(seconds=1)) != []
    assert shares.of(["scope:a"], NOON) == []


def test_the_next_window_takes_the_place_of_the_last() -> None:
    shares = Shares()
    shares.note([state("scope:a", 90, bucket="2026-12-01", ends_at=NOON)])
    shares.note([state("scope:a", 1, bucket="2026-12-02", ends_at=NOON + timedelta(days=1))])

    assert [one.settled for one in shares.of(["scope:a"], NOON)] == [1]


def test_of_very_many_scopes_the_latest_are_remembered() -> None:
    shares = Shares()
    for number in range(1_100):
        shares.note([state(f"scope:{number}", number)])

    assert shares.of(["scope:0"], NOON) == []
    assert [one.settled for one in shares.of(["scope:1099"], NOON)] == [1_099]
