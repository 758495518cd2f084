from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenguard.core.usage import INPUT_METERS, METERS, OUTPUT_METERS, Meter, Usage
from tokenguard.errors import BadAmount

COUNTS = st.fixed_dictionaries({str(meter): st.integers(0, 10**9) for meter in METERS})


@given(COUNTS)
def test_totals_are_sums_of_disjoint_leaves(counts: dict[str, int]) -> None:
    usage = Usage(**counts)

    assert usage.input_total == sum(counts[meter] for meter in INPUT_METERS)
    assert usage.output_total == sum(counts[meter] for meter in OUTPUT_METERS)
    assert usage.tokens == usage.input_total + usage.output_total
    assert usage.quantities() == tuple(counts[meter] for meter in METERS)


@pytest.mark.parametrize("count", [-1, 1.0, math.nan, True, "3", None])
def test_a_count_that_cannot_be_meant_is_refused_by_name(count: Any) -> None:
    with pytest.raises(BadAmount, match="cache_read_tokens") as caught:
        Usage(cache_read_tokens=count)

    assert caught.value.bucket == "cache_read_tokens"  # type: ignore[attr-defined]  # facts are attributes


def test_every_meter_is_a_field_and_none_is_both_input_and_output() -> None:
    assert set(METERS) == set(Meter)
    assert not set(INPUT_METERS) & set(OUTPUT_METERS)
    assert Usage().requests == 1
    assert Usage().tokens == 0
