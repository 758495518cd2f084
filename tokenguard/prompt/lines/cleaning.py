"""A terminal's output as a reader saw it: codes gone, lines that were written over said once."""

from __future__ import annotations

import re
from typing import Final

from tokenguard.prompt.lines.kinds import PROTECTED, kind_of

__all__ = ["clean"]

_SOMETHING: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]|[ \t]\n|\s\Z")
_ESCAPES: Final = re.compile(
    r"\x1b\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)?"  # titles and links
    r"|\x1b\[[0-?]{0,64}[ -/]{0,8}[@-~]?"  # colours, cursor
    r"|\x1b[()*+][A-Za-z0-9]"  # character sets
    r"|\x1b.?",
    re.DOTALL,
)
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_TRAILING: Final = re.compile(r"[ \t]+(?=\n|\Z)")
_FENCE: Final = re.compile(r"^(?:```|~~~)", re.MULTILINE)


def clean(text: str) -> str:
    """The text without what only a terminal needs; itself where nothing changes.

    Escape codes and other control characters go, text that a carriage return or a backspace wrote over is said as it
    stood in the end, blanks at the ends of lines and empty lines at the end go. What is protected (`PROTECTED`) stays
    as it is; of text with fenced code only the escape codes go.
    """
    if _SOMETHING.search(text) is None or kind_of(text) in PROTECTED:
        return text
    if _FENCE.search(text):
        return _ESCAPES.sub("", text) if "\x1b" in text else text
    new = _ESCAPES.sub("", text) if "\x1b" in text else text
    if "\x08" in new:
        new = _without_backspaces(new)
    if "\r" in new:
        new = "\n".join(map(_overwritten, new.replace("\r\n", "\n").split("\n")))
    new = _TRAILING.sub("", _CONTROLS.sub("", new)).rstrip("\n")
    return text if new == text else new


def _overwritten(line: str) -> str:
    """What is left of a line after everything that was written over it."""
    if "\r" not in line:
        return line
    shown = ""
    for part in line.split("\r"):
        shown = part + shown[len(part) :]
    return shown


def _without_backspaces(text: str) -> str:
    """What is left where a backspace took a character back, as in bold text of manual pages."""
    kept: list[str] = []
    for character in text:
        if character != "\x08":
            kept.append(character)
        elif kept and kept[-1] != "\n":
            kept.pop()
    return "".join(kept)
