"""The shortest exact form of a text of lines, behind a line that says which form it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from tokenguard.errors import SettingsError
from tokenguard.prompt.lines.kinds import PROTECTED, Kind, kind_of
from tokenguard.prompt.lines.paths import read_tree, tree
from tokenguard.prompt.lines.templates import read_templates, templates

__all__ = ["fold", "is_folded", "unfold"]

_TREE: Final = "[paths as a tree]"
_LOG: Final = "[log: numbered templates, then each line as its template's number and values; *n: n times more]"
_CHARACTERS_MAX: Final = 2_000_000
_LINES_MIN: Final = 6
_LEAST: Final = 48
_LEAST_PERCENT: Final = 5
_USUAL: Final = frozenset({Kind.PATHS, Kind.LOG, Kind.TESTS})
_UNUSUAL_PERCENT: Final = 30
"""What other text must save to be said as a log."""

Read: TypeAlias = Callable[[list[str]], list[str]]

_READS: Final[Mapping[str, Read]] = {_TREE: read_tree, _LOG: read_templates}


def fold(text: str) -> str | None:
    """The text in fewer characters, exactly.

    Verified: `unfold` gives the text back, byte for byte. What is protected (`PROTECTED`) is left alone.

    Returns:
        None: at least 48 characters and 5 % (30 % of what is neither paths nor a log) would not be saved, or the text
            is larger than two million characters.
    """
    if len(text) > _CHARACTERS_MAX or text.count("\n") < _LINES_MIN - 1 or text.startswith((_TREE, _LOG)):
        return None
    kind = kind_of(text)
    if kind in PROTECTED or kind is Kind.HTML:
        return None
    lines = text.split("\n")
    best: str | None = None
    for head, body in ((_TREE, tree(lines) if kind is Kind.PATHS else None), (_LOG, templates(lines))):
        if body is not None:
            made = "\n".join([head, *body])
            best = made if best is None or len(made) < len(best) else best
    if best is None or not _pays(text, best, kind) or unfold(best) != text:
        return None
    return best


def _pays(text: str, folded: str, kind: Kind) -> bool:
    """Whether a form is worth reading. Text that is no list of paths and no log is plain to a model as it is."""
    saved = len(text) - len(folded)
    percent = _LEAST_PERCENT if kind in _USUAL or folded.startswith(_TREE) else _UNUSUAL_PERCENT
    return saved >= _LEAST and saved * 100 >= len(text) * percent


def unfold(folded: str) -> str:
    """The text that was folded.

    Raises:
        SettingsError: no fold wrote this.
    """
    head, *lines = folded.split("\n")
    try:
        return "\n".join(_READS[head](lines))
    except (KeyError, ValueError, IndexError):
        raise SettingsError(f"{head[:40]!r} begins no folded text.") from None


def is_folded(text: str) -> bool:
    """Whether a text is one that `fold` wrote."""
    try:
        unfold(text)
    except SettingsError:
        return False
    return True
