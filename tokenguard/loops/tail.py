"""Whether a stream has begun to say the same words over and over: at most the last sixteen words are looked at."""

from __future__ import annotations

import re
from collections import deque
from hashlib import blake2b
from typing import Final

from tokenguard.core.ladder import Loops
from tokenguard.loops.finding import Finding

__all__ = ["Tail"]

_PERIOD_MAX: Final = 16
_REPEATS_MIN: Final = 8
_SHORTEST_PERIOD: Final = 3
"""Fewer words than these count as so many: eight repetitions are at least twenty-four words."""
_WORD_MAX: Final = 32
"""Longer runs without a space are cut: some languages write none."""
_INDENTED: Final = 2

_PIECE: Final = re.compile(r"\n|[^\S\n]{1,64}|[^\s。！？；，、]{1,32}[。！？；，、]?|[。！？；，、]")  # noqa: RUF001 - marks of languages without spaces
_LISTED: Final = re.compile(r"[-*+•–—]$|\(?[0-9A-Za-z]{1,3}[.)]$")
_DATA: Final = tuple("|#>{}[]\"'`<=~_:-*+")
"""How lines of tables, headings, quotes, lists, markup, dividers and JSON begin, which repeat by nature."""


class Tail:
    """The end of one stream of text, fed as it arrives, cut anywhere.

    Code fences, indented lines, tables, lists, headings, quotes and lines of data are left out: each interrupts a
    repetition. What has no letter at all is none. Rule `text_tail`: a period of at most 16 words, at least eight times,
    at least 24 words: twice the numbers of OpenRouter's typescript-agent, for a refrain of four lines is a poem, and
    what closes a paid stream must be surer than that.
    """

    def __init__(self, loops: Loops, *, model: str = "", key: bytes = b"") -> None:
        """Nothing said yet.

        Args:
            loops: Where `text_tail` is off nothing is found.
            model: Names the finding.
            key: For its fingerprint: a secret of the ledger.
        """
        self._off = "text_tail" in loops.off
        self._model = model
        self._key = key[:64]
        self._rest = ""
        """The last piece, which the next text may go on with."""
        self._words: deque[str] = deque(maxlen=_PERIOD_MAX)
        self._matching = [0] * (_PERIOD_MAX + 1)
        """By period: how many of the latest words are the ones that stood a period before them."""
        self._indent = 0
        self._begun = False
        """The current line has a word."""
        self._left_out = False
        """The current line is not looked at."""
        self._fence = ""
        """What opened the code fence that the stream is in."""

    def feed(self, text: str) -> Finding | None:
        """Read on; the repetition that the text ends in, if it is one."""
        if self._off or not text:
            return None
        pieces = _PIECE.findall(self._rest + text)
        # A word or an indent may go on; a line's end may not.
        self._rest = pieces.pop() if pieces and pieces[-1] != "\n" else ""
        found: Finding | None = None
        for piece in pieces:
            if piece == "\n":
                self._begun = self._left_out = False
                self._indent = 0
            elif piece.isspace():
                self._indent += 0 if self._begun else len(piece.expandtabs(4))
            elif self._reads(piece):
                found = self._said(piece)
            else:
                found = None
        return found

    def _reads(self, word: str) -> bool:
        """Whether the word is prose, by the line it stands in."""
        if not self._begun:
            self._begun = True
            mark = word[:3]
            if mark in ("```", "~~~"):
                self._fence = "" if self._fence == mark else self._fence or mark
                self._left_out = True
            else:
                self._left_out = (
                    bool(self._fence)
                    or self._indent >= _INDENTED
                    or word.startswith(_DATA)
                    or _LISTED.match(word) is not None
                )
        elif word == "|":
            self._left_out = True
        if self._left_out:
            self._words.clear()
            self._matching = [0] * (_PERIOD_MAX + 1)
        return not self._left_out

    def _said(self, word: str) -> Finding | None:
        """Note the word; what it repeats."""
        words, matching = self._words, self._matching
        best = period = 0
        for back, earlier in enumerate(reversed(words), 1):
            if earlier != word:
                matching[back] = 0
                continue
            matching[back] += 1
            repeats = (matching[back] + back) // max(back, _SHORTEST_PERIOD)
            if repeats > best:
                best, period = repeats, back
        words.append(word)
        if best < _REPEATS_MIN:
            return None
        phrase = list(words)[-period:]
        if not any(character.isalpha() for one in phrase for character in one):
            return None
        return self._finding(phrase, best, matching[period] + period)

    def _finding(self, phrase: list[str], repeats: int, words: int) -> Finding:
        turned = min(phrase[start:] + phrase[:start] for start in range(len(phrase)))
        text = " ".join(turned)
        return Finding(
            rule="text_tail",
            repeats=repeats,
            window=words,
            subject=self._model,
            fingerprint=blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=self._key).hexdigest(),
            result_bytes=len(text),
            source="answers",
        )
