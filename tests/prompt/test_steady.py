"""Tools in one order, where that can be said."""

from __future__ import annotations

from typing import Any

from tokenguard.prompt.steady import in_one_order


def chat(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def test_functions_stand_by_name_in_both_shapes() -> None:
    assert in_one_order([chat("b"), chat("a")]) == [chat("a"), chat("b")]
    assert in_one_order([{"type": "function", "name": "b"}, {"type": "function", "name": "a"}])[0]["name"] == "a"


def test_what_stands_so_or_has_no_name_is_left_as_it_is() -> None:
    ordered = [chat("a"), chat("b")]
    hosted = [{"type": "web_search"}, chat("a")]

    assert in_one_order(ordered) is ordered
    assert in_one_order(hosted) is hosted
    assert list(in_one_order([])) == []
