"""Numbers of a config are read without believing them."""

from __future__ import annotations

import pytest

from tokenguard.errors import SettingsError
from tokenguard.hardware.fields import Fields


def test_a_field_is_read_and_a_missing_one_has_its_default() -> None:
    fields = Fields({"layers": 3, "none": None})

    assert fields.get("layers") == fields.count("layers") == 3
    assert fields.get("heads") is None
    assert fields.count("heads", 8) == fields.count("none", 8) == 8
    assert fields.count("shared", 0) == 0


def test_a_missing_field_is_named_with_its_place() -> None:
    with pytest.raises(SettingsError, match=r"config\.json has no vision_config.hidden_size: give the whole") as caught:
        Fields({}, "vision_config.").count("hidden_size")

    assert caught.value.facts == {"field": "hidden_size"}


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "32", [32], 10**9 + 1])
def test_a_number_that_counts_nothing_is_refused_with_what_it_was(value: object) -> None:
    with pytest.raises(SettingsError, match=r"layers=.* must be a whole number from 1 to 1,000,000,000") as caught:
        Fields({"layers": value}).count("layers")

    assert caught.value.facts["value"] == repr(value)


def test_zero_is_a_count_only_where_it_is_the_default() -> None:
    assert Fields({"shared": 0}).count("shared", 0) == 0
    with pytest.raises(SettingsError, match="shared=-1 must be a whole number from 0"):
        Fields({"shared": -1}).count("shared", 0)
