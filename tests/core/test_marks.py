"""What messages and tools carry besides text: cache marks, sounds and pictures."""

from typing import Any

import pytest

from tokenguard.core.marks import cache_life, dearest_life, part_kinds

FIVE_MINUTES = {"type": "ephemeral"}
AN_HOUR = {"type": "ephemeral", "ttl": "1h"}


@pytest.mark.parametrize(
    ("carrier", "life"),
    [
        ({"role": "user", "content": "Why?"}, None),
        ({"role": "user", "content": "Why?", "cache_control": FIVE_MINUTES}, "5m"),
        ({"role": "user", "content": [{"type": "text", "text": "Why?", "cache_control": AN_HOUR}]}, "1h"),
        ({"content": [{"cache_control": FIVE_MINUTES}, {"cache_control": AN_HOUR}]}, "1h"),
        ({"type": "function", "function": {"name": "read"}, "cache_control": FIVE_MINUTES}, "5m"),
        ({"role": "user", "content": "Why?", "cache_control": None}, None),
        ("Why?", None),
        (None, None),
    ],
)
def test_the_dearest_cache_write_that_marks_can_cause(carrier: Any, life: str | None) -> None:
    assert cache_life(carrier) == life


def test_an_hour_is_dearer_than_five_minutes_and_both_than_nothing() -> None:
    assert dearest_life(["5m", None, "1h"]) == "1h"
    assert dearest_life([None, "5m"]) == "5m"
    assert dearest_life([None, None]) is None


@pytest.mark.parametrize(
    ("message", "kinds"),
    [
        ({"role": "user", "content": "Why?"}, set()),
        ({"role": "assistant", "content": None}, set()),
        ({"content": [{"type": "text", "text": "Look:"}, {"type": "image_url"}]}, {"text", "image_url"}),
        ({"content": ({"type": "input_audio"},)}, {"input_audio"}),
        ("Why?", set()),
    ],
)
def test_the_types_of_a_messages_parts(message: Any, kinds: set[str]) -> None:
    assert part_kinds(message) == kinds
