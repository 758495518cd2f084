"""What is done to one tool result when it is first sent. A function of the text alone, so it is done once.

A stage's output is taken only where the tokens fall; a stage that fails leaves the text as it was and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenguard.core.folding import Level
from tokenguard.prompt import lines, tables
from tokenguard.prompt.html import html_text
from tokenguard.prompt.markers import defused, marker_line, marker_of
from tokenguard.prompt.trimming import trim

if TYPE_CHECKING:
    from tokenguard.core.folding import Folding
    from tokenguard.prompt.learned import LearnedFolder

__all__ = ["Entered", "Entrance", "Step"]

_CHARACTERS_MIN: Final = 200
"""Shorter texts have nothing to fold that would pay for looking."""
_FEWEST_TOKENS: Final = 16
_LEAST_PERCENT: Final = 5
_CHARACTERS_PER_TOKEN: Final = 4

Transform = Callable[[str], "str | None"]


@dataclass(frozen=True, slots=True)
class Step:
    """What one stage did to one text."""

    stage: str
    tokens_before: int
    tokens_after: int
    chars_before: int
    chars_after: int
    elapsed_us: int
    """Counting included."""
    reversible: bool = True
    """The text decodes to what came in, or its original is in the recovery store."""


@dataclass(frozen=True, slots=True)
class Entered:
    """A text as it is sent, and how it came to that."""

    text: str
    steps: tuple[Step, ...] = ()
    marker: str | None = None
    """Under which the original must be in the recovery store; None: nothing was left out."""
    faults: tuple[tuple[str, Exception], ...] = ()
    """Stages that failed, by name; the text went on without them."""
    defused: bool = False
    """It held what could be taken for a line of ours."""

    @property
    def tokens_saved(self) -> int:
        """By all stages."""
        return sum(one.tokens_before - one.tokens_after for one in self.steps)


class Entrance:
    """The stages of one level, for the texts of tools.

    Args:
        folding: The level, and which tools and stages are left out.
        count: Tokens of a text.
        now_s: Monotonic seconds.
        learned: What leaves words out of prose; None: nothing.
    """

    def __init__(
        self,
        folding: Folding,
        count: Callable[[str], int],
        now_s: Callable[[], float],
        learned: LearnedFolder | None = None,
    ) -> None:
        self._folding, self._count, self._now_s = folding, count, now_s
        self._learned = learned

    def shields(self, tool: str, text: str) -> bool:
        """Whether the caller said that a text stays as it is: its tool is shielded, or it says `<keep>`."""
        return self._folding.shields(tool, text)

    def is_short(self, text: str) -> bool:
        """Whether there is too little of a text to matter."""
        return len(text) < _CHARACTERS_MIN

    def whole(self, text: str) -> Entered:
        """A text that is said in full: but for what could be taken for a line of ours, as it came."""
        safe = self._defused(text)
        return Entered(safe, defused=safe is not text)

    def take(self, stage: str, text: str, new: str) -> Entered:
        """What another stage made of a text, where that is fewer tokens."""
        work = self._work(text)
        work.apply(stage, lambda _: new, strict=True)
        return work.done()

    def enter(self, text: str, *, shortens: bool = True) -> Entered:
        """A text that is neither shielded nor short, as it is sent.

        Args:
            text: As the tool gave it.
            shortens: Whether stages may act that leave text out.
        """
        work = self._work(text)
        folding = self._folding
        tabular = folding.does("json", Level.LOSSLESS)
        if folding.does("json", Level.COMPACT) and text.lstrip()[:1] in ("{", "["):
            work.apply("json", tables.fold if tabular else tables.minify, strict=tabular)
        if not work.steps and folding.does("text", Level.COMPACT):
            work.apply("text", _cleaned)
            if folding.does("text", Level.LOSSLESS):
                work.apply("text", lines.fold, strict=True)
        marker = self._shortened(text, work) if shortens and folding.level >= Level.SAFE else None
        # Of the text as it is sent: escapes of JSON and entities of HTML are letters by now.
        work.replace(self._defused(work.text))
        if marker is not None:
            what = f"{len(text):,} characters shortened to {len(work.text):,}; the rest is"
            work.append(f"\n{marker_line(marker, what, folding.recovery)}")
        return work.done(marker)

    def _defused(self, text: str) -> str:
        return defused(text) if self._folding.level >= Level.LOSSLESS else text

    def _work(self, text: str) -> _Work:
        return _Work(text, self._count, self._now_s)

    def _shortened(self, original: str, work: _Work) -> str | None:
        """HTML becomes text, and the middle of a very long result is left out; the marker where something was."""
        before = len(work.steps)
        if self._folding.does("html", Level.SAFE):
            work.apply("html", html_text, strict=True)
        if self._learned is not None and self._folding.does("learned", Level.GATED):
            work.apply("learned", self._learned.fold, strict=True)
        if self._folding.does("trim", Level.SAFE):
            keep_chars = self._folding.trim_above * _CHARACTERS_PER_TOKEN
            work.apply("trim", lambda text: _trimmed(text, keep_chars), strict=True)
        return None if len(work.steps) == before else marker_of(original)


class _Work:
    """A text on its way through the stages."""

    def __init__(self, text: str, count: Callable[[str], int], now_s: Callable[[], float]) -> None:
        self.text = text
        self.steps: list[Step] = []
        self._count, self._now_s = count, now_s
        self._tokens: int | None = None
        self._faults: list[tuple[str, Exception]] = []
        self._defused = False

    def apply(self, stage: str, transform: Transform, *, strict: bool = False) -> None:
        """Take what a stage makes of the text, where that is fewer tokens; strict: at least 16 and 5 % fewer."""
        began_s = self._now_s()
        try:
            new = transform(self.text)
            if new is None or len(new) >= len(self.text):
                return
            before = self._count(self.text) if self._tokens is None else self._tokens
            after = self._count(new)
        except Exception as fault:  # noqa: BLE001  # told to the sinks; the text goes on as it is
            self._faults.append((stage, fault))
            return
        self._tokens = before
        saved = before - after
        if saved < 1 or (strict and (saved < _FEWEST_TOKENS or saved * 100 < before * _LEAST_PERCENT)):
            return
        elapsed_us = max(0, round((self._now_s() - began_s) * 1_000_000))
        self.steps.append(Step(stage, before, after, len(self.text), len(new), elapsed_us))
        self.text, self._tokens = new, after

    def replace(self, safe: str) -> None:
        """Take the text in which nothing can be taken for a line of ours; some brackets more, which nobody counts."""
        self._defused = safe is not self.text
        self.text = safe

    def append(self, line: str) -> None:
        """Add a line of ours, on the account of the last stage."""
        text, last = self.text + line, self.steps[-1]
        self.text, self._tokens = text, self._count(text)
        self.steps[-1] = Step(
            last.stage, last.tokens_before, self._tokens, last.chars_before, len(text), last.elapsed_us
        )

    def done(self, marker: str | None = None) -> Entered:
        """As it stands."""
        return Entered(self.text, tuple(self.steps), marker, tuple(self._faults), self._defused)


def _cleaned(text: str) -> str | None:
    clean = lines.clean(text)
    return None if clean is text else clean


def _trimmed(text: str, keep_chars: int) -> str | None:
    trimmed = trim(text, keep_chars=keep_chars)
    return None if trimmed is None else trimmed.text
