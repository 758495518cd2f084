"""Ids that sort by time, and the one place that asks the time."""

import os
import time
import uuid
from datetime import UTC, timedelta

import pytest

from tokenguard.core.clock import Clock, SystemClock, since_boot
from tokenguard.core.ids import Ids, RandomIds


def test_an_id_is_a_uuid_of_version_7() -> None:
    ids: Ids = RandomIds()

    parsed = uuid.UUID(ids.new())

    assert parsed.version == 7
    assert parsed.variant == uuid.RFC_4122


def test_an_id_begins_with_the_milliseconds_it_was_made_in() -> None:
    clock = SystemClock()
    before = clock.now()

    milliseconds = int(RandomIds().new().replace("-", "")[:12], 16)

    assert int(before.timestamp() * 1_000) <= milliseconds <= int(clock.now().timestamp() * 1_000)


def test_ten_thousand_ids_are_all_different_and_36_characters_long() -> None:
    made = RandomIds()

    ids = {made.new() for _ in range(10_000)}

    assert len(ids) == 10_000
    assert {len(one) for one in ids} == {36}
    assert all(one == one.lower() for one in ids)


def test_the_instant_is_aware_and_in_utc() -> None:
    clock: Clock = SystemClock()

    assert clock.now().tzinfo is UTC


def test_the_monotonic_clock_never_goes_back() -> None:
    clock = SystemClock()

    readings = [clock.monotonic() for _ in range(1_000)]

    assert readings == sorted(readings)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_makes_ids_of_its_own() -> None:
    ids = RandomIds()
    ids.new()  # From here on randomness lies ready.
    reader, writer = os.pipe()

    child = os.fork()
    if child == 0:
        os.write(writer, "".join(ids.new() for _ in range(100)).encode())
        os._exit(0)
    mine = {ids.new()[14:] for _ in range(100)}
    os.waitpid(child, 0)
    text = os.read(reader, 36 * 100).decode()

    theirs = {text[start : start + 36][14:] for start in range(0, len(text), 36)}
    assert len(theirs) == 100
    assert not mine & theirs


def test_time_since_boot_only_grows_and_is_unknown_where_the_system_does_not_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = since_boot(), since_boot()
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)

    assert first is None or (second is not None and timedelta(0) < first <= second)
    assert since_boot() is None
