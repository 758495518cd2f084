"""Rolling windows: how they are spelled, sliced and emptied."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tokenguard as tg
from tokenguard.core.account import Scope, accounts_on
from tokenguard.core.rolling import SLICES, counted_from, length_of, read_rolling, room_at, slice_at

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
periods = st.sampled_from(["rolling 1m", "rolling 90m", "rolling 24h", "rolling 7d", "rolling 366d"])
instants = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("rolling 24h", "rolling 24h"),
        ("rolling 1440m", "rolling 24h"),
        ("rolling 1d", "rolling 24h"),
        ("rolling 48h", "rolling 2d"),
        ("rolling 36h", "rolling 36h"),
        ("rolling 90m", "rolling 90m"),
        ("rolling 366d", "rolling 366d"),
    ],
)
def test_one_length_has_one_spelling(text: str, spelled: str) -> None:
    assert read_rolling(text) == spelled
    assert tg.Budget(usd=1, per=text).per == spelled


@pytest.mark.parametrize(
    "text",
    ["rolling", "rolling 0h", "rolling 30s", "rolling 1.5h", "rolling -1h", "rolling 367d", "24h", "Rolling 24h"],
)
def test_what_is_no_rolling_window_is_refused_with_the_way_to_write_one(text: str) -> None:
    with pytest.raises(tg.BadAmount, match="as in 'rolling 24h'"):
        tg.Budget(usd=1, per=text)


def test_a_rolling_window_follows_no_calendar() -> None:
    with pytest.raises(tg.BadAmount, match="Leave tz out"):
        tg.Budget(usd=1, per="rolling 24h", tz="Europe/Berlin")


def test_a_rolling_account_is_one_for_good() -> None:
    scope = Scope("scope:acme", "acme", (tg.Budget(usd=1, per="rolling 24h"),))

    now, later = (accounts_on((scope,), at) for at in (NOON, NOON + timedelta(days=400)))

    assert now == later
    assert (now[0].bucket, now[0].ends_at) == ("", None)


@given(periods, instants)
def test_what_counts_reaches_back_the_whole_window_and_at_most_a_sixtieth_more(per: str, at: datetime) -> None:
    since = counted_from(per, at)

    assert since <= at - length_of(per) < since + length_of(per) / SLICES
    assert slice_at(per, at) <= at


@given(periods, instants, st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), min_size=1, max_size=8), st.data())
def test_there_is_room_at_the_named_instant_and_not_a_microsecond_before(
    per: str, at: datetime, spent: list[tuple[int, int]], data: st.DataObject
) -> None:
    width = length_of(per) // SLICES
    slices = sorted((slice_at(per, at) - age * width, amount) for age, amount in spent)
    missing = data.draw(st.integers(1, sum(amount for _, amount in slices)))

    when = room_at(per, slices, missing)

    assert when is not None
    gone = [
        sum(amount for start, amount in slices if start < counted_from(per, instant))
        for instant in (when - timedelta(microseconds=1), when)
    ]
    assert gone[0] < missing <= gone[1]


def test_more_than_the_window_holds_never_leaves_it() -> None:
    assert room_at("rolling 24h", [(NOON, 3)], 4) is None
