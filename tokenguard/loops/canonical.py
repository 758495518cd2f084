"""Arguments as the same bytes whenever they are the same JSON: RFC 8785, within bounds, for whatever comes."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any, Final, cast

import rfc8785

__all__ = ["BYTES_MAX", "canonical", "clipped", "plain", "written"]

BYTES_MAX: Final = 65_536
"""Of longer texts the head, the tail and the length are compared: a digest must not cost more than a call."""

_NODES_MAX: Final = 4_096
_DEPTH_MAX: Final = 48
_OPENS: Final = frozenset("{[")
_DECODER: Final = json.JSONDecoder()
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))
# Where none of these occurs the standard encoder's output is the RFC's: no float, no integer beyond 2^53, no control
# character, no number that is none. Beyond ASCII the RFC sorts names by UTF-16 units, which Python does not.
_DELICATE: Final = re.compile(r"[0-9](?:[.eE][0-9+-]|[0-9]{15})|\\u|NaN|Infinity")


def canonical(value: Any) -> str:
    """The RFC 8785 text of a JSON value or of JSON text; of anything else a text that is the same for equal values.

    Never raises. Values that the RFC has no text for (numbers that are none, integers beyond 2^53, lone surrogates)
    keep the standard encoder's. What is no JSON is told by its type and its fields, text that is no JSON by itself.
    Only the first 4,096 parts, 48 levels deep, are looked at, and of longer texts what `clipped` leaves.
    """
    return written(plain(value))


def plain(value: Any) -> Any:
    """The value, or what the JSON text says, as bounded JSON."""
    return _read(value) if isinstance(value, str) else _plain(value, _Budget())


def written(value: Any) -> str:
    """The canonical text of what `plain` gave."""
    try:
        text = _ENCODER.encode(value)
    except (ValueError, TypeError, RecursionError):
        return f"?{type(value).__name__}"
    if text.isascii() and not _DELICATE.search(text):
        return text
    try:
        return rfc8785.dumps(value).decode()
    except (ValueError, RecursionError):
        return text


def clipped(text: str) -> str:
    """The text, or of a long one its head, its length and its tail."""
    if len(text) <= BYTES_MAX:
        return text
    half = BYTES_MAX // 2
    return f"{text[:half]}…{len(text)}…{text[-half:]}"


def _read(text: str) -> Any:
    """What the JSON text says; the text itself where it is none, too long or too deep."""
    if len(text) > BYTES_MAX:
        return clipped(text)
    try:
        if text[:1] in _OPENS:
            value, end = _DECODER.raw_decode(text)
            if end == len(text):
                return value
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        return text


class _Budget:
    """How many parts of a value may still be looked at."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = _NODES_MAX


def _plain(value: Any, budget: _Budget, depth: int = 0) -> Any:
    """The value as bounded, plain JSON."""
    budget.left -= 1
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clipped(value)
    if isinstance(value, int | float):
        return _number(value)
    if budget.left <= 0 or depth >= _DEPTH_MAX:
        return "…"
    return _compound(value, budget, depth)


def _compound(value: Any, budget: _Budget, depth: int) -> Any:
    if isinstance(value, Mapping):
        return _named(cast("Mapping[Any, Any]", cast("object", value)), budget, depth)
    if isinstance(value, list | tuple):
        return _listed(cast("Sequence[Any]", value), budget, depth)
    if isinstance(value, set | frozenset):
        return sorted(written(one) for one in _listed(cast("Collection[Any]", value), budget, depth))
    return _foreign(value, budget, depth)


def _number(value: float) -> Any:
    """Numbers of a caller's own classes as plain ones, so that none of their methods runs; huge ones by their size."""
    if isinstance(value, int):
        # Python refuses to write integers of more than some thousand digits.
        return int(value) if value.bit_length() <= BYTES_MAX // 16 else f"…{value.bit_length()}"
    return float(value)


def _named(value: Mapping[Any, Any], budget: _Budget, depth: int) -> Any:
    found: dict[str, Any] = {}
    try:
        for name, one in islice(value.items(), max(budget.left, 0)):
            found[clipped(name) if isinstance(name, str) else f"{type(name).__name__} {written(name)}"] = _plain(
                one, budget, depth + 1
            )
    # A mapping may be anybody's code; what it gave so far is what is known of it.
    except Exception:  # noqa: BLE001
        found["…"] = type(value).__name__
    return found


def _listed(value: Collection[Any], budget: _Budget, depth: int) -> list[Any]:
    found = [_plain(one, budget, depth + 1) for one in islice(value, max(budget.left, 0))]
    # A longer list is another list.
    return found if budget.left > 0 else [*found, f"…{len(value)}"]


def _foreign(value: Any, budget: _Budget, depth: int) -> Any:
    """A library's or the caller's own object: its type and fields, else what it says of itself."""
    kind = type(value).__name__
    try:
        fields = cast("Mapping[str, Any]", vars(value)) if hasattr(value, "__dict__") else None
        return {"…": kind, **_named(fields, budget, depth)} if fields is not None else f"{kind} {clipped(repr(value))}"
    # Its attributes and its repr are anybody's code: the type is all that is left to compare.
    except Exception:  # noqa: BLE001
        return kind
