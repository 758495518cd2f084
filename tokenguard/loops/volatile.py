"""What changes from one look to the next without being an answer: times, ids, addresses, temporary paths, noise."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from tokenguard.loops.canonical import clipped

__all__ = ["is_nonce", "settled", "unmarked"]

_NONCES: Final = frozenset(
    (
        "",
        "attempt",
        "attemptnumber",
        "cachebust",
        "cachebuster",
        "idempotencykey",
        "nonce",
        "rand",
        "random",
        "retry",
        "retrycount",
    )
)

_LEFT_MIN: Final = 64
"""Where less than this is left of a result without its ids, the ids are the result (the next job of a queue)."""

# Each pattern begins with one of a few characters, so that the search runs over ordinary text at some 2 ns a character;
# one pattern for all of it took 80.
_ANSI: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
# Times have a colon, durations their unit, ids eight hexadecimal digits in a row, looked for in a text of classes: a
# pattern of its own took 7 ns a character of a listing with line numbers. Where none is found nothing is taken out.
_COLON: Final = re.compile(r":[0-5][0-9]:[0-5][0-9]")
_IN: Final = re.compile(r"in [0-9]")
_BRACKETED: Final = re.compile(r"[(\[][0-9][0-9.]{0,12} ?(?:m?s|sec)")
_CLASSES: Final = bytes(ord("h") if chr(one) in "0123456789abcdefABCDEF" else ord(" ") for one in range(256))
_RUN: Final = b"hhhhhhhh"
_TIME: Final = re.compile(
    r"[0-9](?:"
    r"[0-9]{3}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-5][0-9]:[0-5][0-9](?:[.,][0-9]{1,9})?"
    r"(?:Z| ?[+-][0-9]{2}:?[0-9]{2})?"
    r"|[0-9]?:[0-5][0-9]:[0-5][0-9](?:[.,][0-9]{1,9})?"
    # "5 passed in 0.03s", "(12 ms)": elsewhere a duration may be what was asked for.
    r"|(?:(?<=in [0-9])|(?<=[(\[][0-9]))[0-9]{0,6}(?:\.[0-9]{1,9})? ?(?:m?s|sec|seconds)\b)"
)
_ID: Final = re.compile(
    r"(?<![0-9A-Za-z])(?:0x[0-9a-fA-F]{6,16}"
    r"|[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
    r"|(?=[0-9]{0,40}[a-f])(?=[a-f]{0,40}[0-9])[0-9a-f]{12,64})(?![0-9A-Za-z])"
)
_EPOCH: Final = re.compile(r"(?<![0-9A-Za-z.])1[0-9]{9}(?:[0-9]{3}|\.[0-9]{1,9})?(?![0-9A-Za-z])")
_TEMPORARY: Final = re.compile(r"/(?:tmp|var/folders)/[^\s'\":,;)\]}>]+")
_COUNTER: Final = re.compile(r"((?:[Aa]ttempt|[Rr]etry) [#:]? ?)[0-9]{1,6}")


def settled(text: str) -> str:
    """The text without its volatile parts. Plain numbers and dates stay: they are results.

    Source: what testing, build and database tools print around the same answer, on the runs of benchmarks/loops.py.
    """
    text = clipped(text)
    if "\x1b" in text:
        text = _ANSI.sub("", text)
    if " \n" in text or "\t" in text or "\r" in text or text[-1:].isspace():
        text = "\n".join(map(str.rstrip, text.split("\n"))).rstrip()
    if "/" in text and ("/tmp/" in text or "/var/folders/" in text):  # noqa: S108 - looked for, not used
        text = _TEMPORARY.sub("~", text)
    if "ttempt " in text or "etry " in text:
        text = _COUNTER.sub(r"\1~", text)
    if not _has_marks(text):
        return text
    text = _TIME.sub("~", text)
    without = _ID.sub("~", _EPOCH.sub("~", text))
    return without if len(without) - without.count("~") >= _LEFT_MIN else text


def unmarked(text: str) -> str:
    """A call's canonical arguments without the ids and times in them."""
    return _ID.sub("~", _EPOCH.sub("~", _TIME.sub("~", text))) if _has_marks(text) else text


@lru_cache(maxsize=1024)
def is_nonce(name: str) -> bool:
    """Whether an argument of this name only makes one call differ from the next."""
    return name.replace("_", "").replace("-", "").lower() in _NONCES


def _has_marks(text: str) -> bool:
    """Whether the text may contain a time or an id."""
    # One character is looked for ten times as fast as two, and often decides.
    return (
        _RUN in text.encode("utf-8", "surrogatepass").translate(_CLASSES)
        or ("x" in text and "0x" in text)
        or (":" in text and _COLON.search(text) is not None)
        or ("in " in text and _IN.search(text) is not None)
        or (("(" in text or "[" in text) and _has_bracketed(text))
    )


def _has_bracketed(text: str) -> bool:
    """Whether the text may contain a duration in brackets."""
    ends = (")" in text and "s)" in text) or ("]" in text and "s]" in text) or "sec" in text
    return ends and _BRACKETED.search(text) is not None
