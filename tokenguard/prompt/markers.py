"""What stands in a prompt where text was left out, and how text from outside is kept from posing as it.

A marker names the original by the first digits of its SHA-256, so it is the same in every process and after a restart.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

__all__ = ["MARKER", "TOOL_NAME", "defused", "marker_line", "marker_of", "markers_in", "recovery_tool", "same_line"]

TOOL_NAME: Final = "tokenguard_show"
"""What the tool is called by which a model reads what was left out."""
MARKER: Final = "[tokenguard folded "
"""How every line of ours begins that stands for text; the repetition rules know it (`loops/evidence.py`)."""

_ID: Final = re.compile(r"(?<!\[)\[tokenguard folded ([0-9a-f]{12,64})\b")
_DIGITS: Final = 12


def marker_of(text: str) -> str:
    """The name of a text: 12 hex digits of its SHA-256 (UTF-8, surrogates as they are)."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def marker_line(marker: str, what: str, recovery: str) -> str:
    """The line that stands for what was left out.

    Args:
        marker: As `marker_of` gives it.
        what: What was left out, as "812 lines".
        recovery: `tool` or `shell`: how it is read.
    """
    how = f'{TOOL_NAME}("{marker}")' if recovery == "tool" else f"`tokenguard show {marker}`"
    return f"{MARKER}{marker}: {what} left out; {how} gives the original]"


def same_line(position: int, tool: str, begins: str, what: str = "") -> str:
    """The line that stands for text which an earlier result holds, byte for byte.

    Args:
        position: Which tool result of the conversation it is, from 1.
        tool: Its tool; empty: not known.
        begins: How the text begins, in a few words.
        what: Which part of it, as "lines 3 to 80 of "; empty: all of it.
    """
    name = f" ({tool})" if tool else ""
    return f"{MARKER}text: the same as {what}tool result {position}{name} above, beginning {begins!r}]"


def markers_in(text: str) -> list[str]:
    """The markers that a text of ours holds."""
    return _ID.findall(text)


def defused(text: str) -> str:
    """Text from outside in which nothing can be taken for a line of ours; itself where nothing could."""
    return text.replace(MARKER, f"[{MARKER}") if MARKER in text else text


def recovery_tool() -> dict[str, object]:
    """The definition of the tool by which a model reads what was left out, as chat APIs take it."""
    return {
        "type": "function",
        "function": {
            "name": TOOL_NAME,
            "description": "The original text behind a [tokenguard folded …] marker.",
            "parameters": {"type": "object", "properties": {"marker": {"type": "string"}}, "required": ["marker"]},
        },
    }
