from datetime import UTC, datetime, timedelta, timezone

import pytest

from tokenguard.errors import SettingsError
from tokenguard.reports.instants import instant

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("30min", timedelta(minutes=30)),
        ("12h", timedelta(hours=12)),
        ("7d", timedelta(days=7)),
        (" 2w ", timedelta(weeks=2)),
    ],
)
def test_a_span_is_that_long_ago(text: str, ago: timedelta) -> None:
    assert instant(text, NOW) == NOW - ago


def test_a_date_is_its_midnight_in_utc() -> None:
    assert instant("2026-11-01", NOW) == datetime(2026, 11, 1, tzinfo=UTC)


def test_an_instant_keeps_its_offset() -> None:
    found = instant("2026-11-01T06:00+02:00", NOW)

    assert found == datetime(2026, 11, 1, 6, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize("text", ["", "yesterday", "7", "7y", "-1d", "2026-13-01", "999999w"])
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(SettingsError, match="Write 7d"):
        instant(text, NOW)
