"""Text that an earlier result already holds: said by a line that names where, instead of sent again.

Only results that stand in the prompt as they came are referred to, never a reference itself, so every reference can be
read at the place it names. A result is referred to when it comes in and never later: rewriting it once it was sent
would cost the cache more than it saves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from tokenguard.prompt.markers import MARKER, defused, same_line

__all__ = ["History", "referred_in", "resolved"]

_REFERENCE: Final = re.compile(rf"{re.escape(MARKER)}text: the same as (?:lines \d+ to \d+ of )?tool result (\d+)")
_LINES_MIN: Final = 6
_RUN_CHARACTERS_MIN: Final = 240
"""A reference has about 80 characters; below three times that it does not pay."""
_SHOWN: Final = 40
_SOON: Final = 6
"""Within so many results: three rounds of two calls."""
_LINES_MAX: Final = 20_000
"""So many lines of one conversation are looked up; what comes after is only compared as a whole."""


@dataclass(slots=True)
class _Seen:
    position: int
    tool: str
    times: int
    plain: bool
    """It stands there as it came."""
    changed_at: int | None
    """The latest result that was this text and was sent otherwise."""


@dataclass(slots=True)
class History:
    """The results of one conversation up to some point, by what they say."""

    results: int = 0
    _whole: dict[str, _Seen] = field(default_factory=dict[str, _Seen])
    _runs: dict[tuple[str, ...], tuple[int, int]] = field(default_factory=dict[tuple[str, ...], tuple[int, int]])
    """By six lines in a row: (which plain result, its line)."""
    _plain: dict[int, tuple[str, list[str]]] = field(default_factory=dict[int, tuple[str, list[str]]])
    """Tool and lines of the plain results, by position."""
    _lines: int = 0
    _shortened: set[str] = field(default_factory=set[str])
    """Texts of which something was left out, without blanks at their ends."""

    def times(self, text: str) -> int:
        """How often a text came before."""
        seen = self._whole.get(text)
        return seen.times if seen else 0

    def comes_back(self, text: str) -> bool:
        """Whether the model asks for a text again that it was not given as it is.

        Of a text that was shortened that is so at any time, because reading it again is how its original comes back.
        """
        seen = self._whole.get(text)
        if seen is not None and seen.changed_at is not None and self.results - seen.changed_at < _SOON:
            return True
        return bool(self._shortened) and text.strip() in self._shortened

    def whole(self, text: str) -> str | None:
        """The line that stands for a text, where an earlier result is that text and stands as it came."""
        seen = self._whole.get(text)
        if seen is None or not seen.plain:
            return None
        return same_line(seen.position, seen.tool, _beginning(text))

    def parts(self, text: str) -> str | None:
        """The text with runs of lines that earlier results hold replaced by lines that say so; None: it has none."""
        if not self._runs or MARKER in text:
            return None
        lines = text.split("\n")
        out: list[str] = []
        at, found = 0, False
        while at < len(lines):
            run = self._run_at(lines, at)
            if run is None:
                out.append(lines[at])
                at += 1
                continue
            line, length = run
            out.append(line)
            at, found = at + length, True
        return "\n".join(out) if found else None

    def add(self, text: str, tool: str, *, plain: bool, shortened: bool = False) -> None:
        """Note a result that was sent.

        Args:
            text: As the tool gave it.
            tool: Its tool.
            plain: Whether it was sent as it came.
            shortened: Whether something of it was left out.
        """
        self.results += 1
        if shortened:
            self._shortened.add(text.strip())
        seen = self._whole.get(text)
        if seen is None:
            self._whole[text] = _Seen(self.results, tool, 1, plain, None if plain else self.results)
            if plain:
                self._index(text, tool)
            return
        seen.times += 1
        if plain:
            seen.plain, seen.position, seen.tool = True, self.results, tool
        else:
            seen.changed_at = self.results

    def _index(self, text: str, tool: str) -> None:
        lines = text.split("\n")
        if len(lines) < _LINES_MIN or self._lines + len(lines) > _LINES_MAX:
            return
        self._lines += len(lines)
        self._plain[self.results] = tool, lines
        for at in range(len(lines) - _LINES_MIN + 1):
            self._runs.setdefault(tuple(lines[at : at + _LINES_MIN]), (self.results, at))

    def _run_at(self, lines: list[str], at: int) -> tuple[str, int] | None:
        """The reference to what begins at a line, and how many lines it stands for."""
        known = self._runs.get(tuple(lines[at : at + _LINES_MIN]))
        if known is None:
            return None
        position, start = known
        tool, theirs = self._plain[position]
        length = _LINES_MIN
        while (
            at + length < len(lines) and start + length < len(theirs) and lines[at + length] == theirs[start + length]
        ):
            length += 1
        if sum(map(len, lines[at : at + length])) < _RUN_CHARACTERS_MIN:
            return None
        begins = next((line for line in lines[at : at + length] if line.strip()), "")
        what = f"lines {start + 1} to {start + length} of "
        return same_line(position, tool, _beginning(begins), what), length


def referred_in(text: str) -> list[int]:
    """The results that a text refers to, the first of the conversation being 1."""
    return [int(number) for number in _REFERENCE.findall(text)]


def resolved(text: str, results: list[str]) -> str:
    """The text that references stand for.

    Args:
        text: As `History.whole` or `History.parts` wrote it.
        results: The results before it, as they came; the first is number 1.
    """
    out: list[str] = []
    for line in text.split("\n"):
        if not line.startswith(f"{MARKER}text: the same as "):
            out.append(line)
            continue
        words = line.removeprefix(f"{MARKER}text: the same as ")
        first = last = None
        if words.startswith("lines "):
            bounds, _, words = words.removeprefix("lines ").partition(" of ")
            first, last = map(int, bounds.split(" to "))
        position = int(words.removeprefix("tool result ").split(" ", 1)[0].rstrip(","))
        source = results[position - 1]
        out.append(source if first is None else "\n".join(source.split("\n")[first - 1 : last]))
    return "\n".join(out)


def _beginning(text: str) -> str:
    """How a text begins, in at most 40 printable characters."""
    line = text.strip().split("\n", 1)[0][:_SHOWN]
    return defused("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line))
