"""Where caps are counted, and where windows begin and end."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenguard.core.account import Amounts, Path, Scope, Window, account_id, account_of, accounts_on, window_at
from tokenguard.core.budget import PERIODS, Budget, Per, Unit

NOON = datetime(2026, 11, 20, 12, 34, 56, 789, tzinfo=UTC)


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("per", "bucket", "ends_at"),
    [
        ("minute", "2026-11-20T12:34Z", utc(2026, 11, 20, 12, 35)),
        ("hour", "2026-11-20T12:00Z", utc(2026, 11, 20, 13)),
        ("day", "2026-11-20T00:00Z", utc(2026, 11, 21)),
        ("week", "2026-11-16T00:00Z", utc(2026, 11, 23)),
        ("month", "2026-11-01T00:00Z", utc(2026, 12, 1)),
    ],
)
def test_a_calendar_window_is_named_by_its_start_in_utc(per: Per, bucket: str, ends_at: datetime) -> None:
    assert window_at(per, "UTC", NOON) == Window(bucket, ends_at)


@pytest.mark.parametrize("per", ["run", "total"])
def test_a_run_and_a_total_never_roll(per: Per) -> None:
    assert window_at(per, "Europe/Berlin", NOON) == Window("", None)


@pytest.mark.parametrize(
    ("day", "hours"), [(utc(2026, 3, 29, 12), 23), (utc(2026, 10, 25, 12), 25), (utc(2026, 7, 1, 12), 24)]
)
def test_a_day_in_berlin_has_as_many_hours_as_the_calendar_says(day: datetime, hours: int) -> None:
    window = window_at("day", "Europe/Berlin", day)

    start = datetime.strptime(window.bucket, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)
    assert window.ends_at == start + timedelta(hours=hours)


def test_an_hour_that_berlin_repeats_in_autumn_is_two_windows() -> None:
    first, second = utc(2026, 10, 25, 0, 30), utc(2026, 10, 25, 1, 30)

    windows = [window_at("hour", "Europe/Berlin", at) for at in (first, second)]

    assert first.astimezone(ZoneInfo("Europe/Berlin")).hour == second.astimezone(ZoneInfo("Europe/Berlin")).hour == 2
    assert [window.bucket for window in windows] == ["2026-10-25T00:00Z", "2026-10-25T01:00Z"]
    assert windows[0].ends_at == utc(2026, 10, 25, 1)


def test_an_hour_that_berlin_skips_in_spring_does_not_stretch_its_neighbours() -> None:
    before, after = (window_at("hour", "Europe/Berlin", utc(2026, 3, 29, hour, 59)) for hour in (0, 1))

    assert before == Window("2026-03-29T00:00Z", utc(2026, 3, 29, 1))
    assert after == Window("2026-03-29T01:00Z", utc(2026, 3, 29, 2))


def test_india_begins_its_hours_and_days_on_the_half() -> None:
    assert window_at("hour", "Asia/Kolkata", utc(2026, 11, 20, 12, 10)).bucket == "2026-11-20T11:30Z"
    assert window_at("day", "Asia/Kolkata", utc(2026, 11, 20, 18, 29)).bucket == "2026-11-19T18:30Z"
    assert window_at("day", "Asia/Kolkata", utc(2026, 11, 20, 18, 30)).bucket == "2026-11-20T18:30Z"


def test_a_day_that_begins_at_one_because_midnight_is_skipped_is_still_one_day() -> None:
    window = window_at("day", "Africa/Cairo", utc(2026, 4, 24, 12))  # clocks go from 00:00 to 01:00

    assert window == Window("2026-04-23T22:00Z", utc(2026, 4, 24, 21))


@pytest.mark.parametrize(
    ("at", "bucket", "ends_at"),
    [
        (utc(2026, 12, 31, 23, 59), "2026-12-01T00:00Z", utc(2027, 1, 1)),
        (utc(2028, 2, 29, 12), "2028-02-01T00:00Z", utc(2028, 3, 1)),
        (utc(2026, 2, 28, 23, 59), "2026-02-01T00:00Z", utc(2026, 3, 1)),
    ],
)
def test_months_end_where_the_calendar_ends_them(at: datetime, bucket: str, ends_at: datetime) -> None:
    assert window_at("month", "UTC", at) == Window(bucket, ends_at)


def test_a_leap_day_is_a_day() -> None:
    assert window_at("day", "UTC", utc(2028, 2, 29, 5)) == Window("2028-02-29T00:00Z", utc(2028, 3, 1))


def test_weeks_begin_on_monday_across_years() -> None:
    assert window_at("week", "UTC", utc(2027, 1, 3, 23, 59)).bucket == "2026-12-28T00:00Z"
    assert window_at("week", "UTC", utc(2027, 1, 4)).bucket == "2027-01-04T00:00Z"


def test_a_week_with_a_clock_change_is_an_hour_shorter() -> None:
    window = window_at("week", "Europe/Berlin", utc(2026, 3, 25))

    assert window == Window("2026-03-22T23:00Z", utc(2026, 3, 29, 22))


ZONES = (
    "UTC",
    "Europe/Berlin",
    "Asia/Kolkata",
    "America/New_York",
    "America/Havana",
    "America/St_Johns",
    "Africa/Cairo",
    "Australia/Lord_Howe",
    "Pacific/Apia",
)
zones = st.sampled_from(ZONES)
calendar = st.sampled_from([per for per in PERIODS if per not in ("run", "total")])
instants = st.integers(946_684_800, 2_840_140_800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


def clock_changes(tz: str, year: int) -> list[datetime]:
    """The hours of a year in which a zone's clock changes."""
    hours = [utc(year, 1, 1) + timedelta(hours=number) for number in range(366 * 24)]
    offsets = [hour.astimezone(ZoneInfo(tz)).utcoffset() for hour in hours]
    return [hour for hour, before, after in zip(hours, offsets, offsets[1:], strict=False) if before != after]


@pytest.mark.parametrize("tz", ["Europe/Berlin", "America/New_York", "America/Havana", "Australia/Lord_Howe"])
@pytest.mark.parametrize("per", ["minute", "hour", "day", "week", "month"])
def test_windows_meet_without_gap_or_overlap_around_both_clock_changes_of_a_year(tz: str, per: Per) -> None:
    changes = clock_changes(tz, 2026)
    minutes = [change + timedelta(minutes=number) for change in changes for number in range(-2880, 2880)]

    windows = [window_at(per, tz, at) for at in minutes]

    starts = [datetime.strptime(one.bucket, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC) for one in windows]
    ends = [one.ends_at for one in windows]
    assert len(changes) == 2
    assert all(start <= at < end for start, at, end in zip(starts, minutes, ends, strict=True) if end)
    for number in range(len(minutes) - 1):
        if minutes[number + 1] - minutes[number] == timedelta(minutes=1) and windows[number] != windows[number + 1]:
            assert ends[number] == starts[number + 1] == minutes[number + 1]


@pytest.mark.parametrize(
    ("tz", "per", "hours"),
    [
        ("Europe/Berlin", "day", {23, 25}),
        ("America/New_York", "day", {23, 25}),
        ("Australia/Lord_Howe", "day", {23.5, 24.5}),
        ("Europe/Berlin", "week", {167, 169}),
        ("Europe/Berlin", "month", {743, 745}),
        ("America/New_York", "month", {743, 721}),
    ],
)
def test_the_windows_of_both_clock_changes_are_as_long_as_the_calendar_says(
    tz: str, per: Per, hours: set[float]
) -> None:
    windows = [window_at(per, tz, change + timedelta(minutes=59)) for change in clock_changes(tz, 2026)]

    lengths = [
        one.ends_at - datetime.strptime(one.bucket, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)
        for one in windows
        if one.ends_at
    ]
    assert {length / timedelta(hours=1) for length in lengths} == hours


@settings(max_examples=300)
@given(calendar, zones, instants)
def test_every_instant_lies_in_its_window_and_the_next_window_begins_where_it_ends(
    per: Per, tz: str, at: datetime
) -> None:
    window = window_at(per, tz, at)

    start = datetime.strptime(window.bucket, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)
    assert window.ends_at is not None
    assert start <= at < window.ends_at
    assert window_at(per, tz, start) == window
    assert window_at(per, tz, window.ends_at).bucket == window.ends_at.strftime("%Y-%m-%dT%H:%MZ")


def test_the_accounts_of_a_path_are_outermost_first_in_the_order_of_precedence() -> None:
    outer = Scope("scope:acme", "acme", (Budget(usd="5", tokens=9, per="day"),))
    inner = Scope("run:1", "run nightly", (Budget(usd="1", steps=3, calls=4),))

    accounts = accounts_on([outer, Scope("step:2", "step"), inner], NOON)

    assert [(account.scope_key, account.unit) for account in accounts] == [
        ("scope:acme", Unit.TOKENS),
        ("scope:acme", Unit.USD),
        ("run:1", Unit.STEPS),
        ("run:1", Unit.CALLS),
        ("run:1", Unit.USD),
    ]


def test_an_account_carries_what_its_budget_says() -> None:
    budget = Budget(usd="5", per="day", warn_at=(0.9,), reserve_final="0.10")
    scope = Scope("scope:acme", "acme", (budget,))

    account = account_of(scope, budget, Unit.USD, 5 * 10**12, NOON)

    assert (account.cap, account.bucket, account.per) == (5 * 10**12, "2026-11-20T00:00Z", "day")
    assert (account.warn_at, account.reserve_final_pico) == ((0.9,), 10**11)
    assert account.ends_at == utc(2026, 11, 21)


def test_the_reserve_is_kept_in_usd_only() -> None:
    budget = Budget(usd="5", tokens=100, reserve_final="0.10")

    tokens, usd = accounts_on([Scope("run:1", "run", (budget,))], NOON)

    assert tokens.reserve_final_pico == 0
    assert usd.reserve_final_pico == 10**11


def test_an_account_has_the_same_id_in_every_process_and_another_for_every_cap() -> None:
    ids = {
        account_id(key, unit, per, tz, bucket)
        for key in ("run:1", "run:2")
        for unit in Unit
        for per in ("day", "week")
        for tz in ("UTC", "Asia/Kolkata")
        for bucket in ("a", "b")
    }

    assert account_id("run:1", Unit.USD, "run", "UTC", "") == "b6f9f8b096416c915e1ddb645c15119d"
    assert len(ids) == 2 * 4 * 2 * 2 * 2
    assert {len(one) for one in ids} == {32}


def test_an_account_id_takes_any_name() -> None:
    assert len(account_id("scope:\ud800/ä", Unit.USD, "run", "UTC", "")) == 32


def test_amounts_are_read_by_unit() -> None:
    amounts = Amounts(usd_pico=1, tokens=2, calls=3, steps=4)

    assert [amounts.of(unit) for unit in (Unit.USD, Unit.TOKENS, Unit.CALLS, Unit.STEPS)] == [1, 2, 3, 4]


def test_a_path_gives_the_accounts_of_the_minute_it_is_asked_for() -> None:
    scopes = (Scope("scope:acme", "acme", (Budget(usd=9, per="hour"),)), Scope("run:1", "run 1", (Budget(usd=1),)))
    path = Path(scopes)

    answers = [path.accounts(NOON + timedelta(minutes=minutes)) for minutes in (0, 0, 1, 30, 0)]

    assert answers == [accounts_on(scopes, NOON + timedelta(minutes=minutes)) for minutes in (0, 0, 1, 30, 0)]
    assert path.keys == ("scope:acme", "run:1")


def test_a_path_tells_an_hour_apart_that_a_zone_repeats_in_autumn() -> None:
    path = Path((Scope("scope:acme", "acme", (Budget(usd=9, per="hour", tz="Europe/Berlin"),)),))
    first = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))

    before, after = path.accounts(first)[0], path.accounts(first.replace(fold=1))[0]

    assert (before.bucket, after.bucket) == ("2026-10-25T00:00Z", "2026-10-25T01:00Z")


@pytest.mark.parametrize("midnight", [utc(2026, 4, 4, 13), utc(2026, 10, 3, 13)], ids=["April", "October"])
def test_hours_meet_where_a_clock_moves_by_half_of_one(midnight: datetime) -> None:
    minutes = [midnight + timedelta(minutes=minute) for minute in range(6 * 60)]

    windows = [window_at("hour", "Australia/Lord_Howe", at) for at in minutes]

    starts = [datetime.strptime(one.bucket, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC) for one in windows]
    assert all(start <= at < (one.ends_at or at) for start, at, one in zip(starts, minutes, windows, strict=True))
    for (one, start), (other, later) in pairwise(zip(windows, starts, strict=True)):
        assert other is one or later in (one.ends_at, start)


def test_an_hour_in_which_a_clock_jumps_ends_there() -> None:
    # Venezuela went from 02:30 to 03:00 on 1 May 2016.
    assert window_at("hour", "America/Caracas", utc(2016, 5, 1, 6, 40)) == Window(
        "2016-05-01T06:30Z", utc(2016, 5, 1, 7)
    )
