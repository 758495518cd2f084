"""What is done to prompts before they are sent: the levels, and what goes with them, as values.

`compact` changes nothing that a model could read differently. `lossless` writes tables and templates that decode to
what came in. `safe` and `gated` leave text out and keep the original in the ledger, so they need a way back.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, TypeAlias

from tokenguard.errors import BadAmount

__all__ = ["STAGES", "Folding", "Level", "LevelName", "Recovery"]

LevelName: TypeAlias = Literal["off", "compact", "lossless", "safe", "gated"]
Recovery: TypeAlias = Literal["off", "tool", "shell"]

STAGES: Final = ("steady", "json", "text", "refer", "html", "learned", "trim", "retire", "mark")
"""The stages, in their order, by the names that receipts, reports and `Folding(off=)` use."""

_RECOVERIES: Final = ("off", "tool", "shell")
_LONGEST_DAYS: Final = 365
_FEWEST_KEPT: Final = 5
_SHORTEST_TRIM: Final = 1_000


class Level(IntEnum):
    """How far a prompt may be changed; each level does what the ones before it do."""

    OFF = 0
    """Nothing is changed."""
    COMPACT = 1
    """JSON without blanks, terminal codes and trailing blanks removed, cache marks where they pay."""
    LOSSLESS = 2
    """Tables, log templates, path trees and references: they decode to exactly what came in."""
    SAFE = 3
    """HTML as text, passing tests counted, very long results trimmed; the original is in the recovery store."""
    GATED = 4
    """Old results are replaced by stubs where the provider's own prices say that it pays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folding:
    """What is done to tool results, and how the model gets back what was left out.

    Only tool results are changed, and each when it is first sent: system, user and assistant text and the arguments of
    tool calls stay as they are, and a byte that was sent is sent again. Text with a `<keep>` span stays whole.

    Raises:
        BadAmount: a level, stage or mode that does not exist, a number out of its range, or a level that leaves text
            out without a way back.
    """

    level: Level
    """How far prompts may be changed."""
    recovery: Recovery
    """How a model reads what was left out: `tool` (put `guard.recovery_tool` into the tools of every call, and answer
    it with `guard.unfold`) or `shell` (it runs `tokenguard show MARKER`). Switching it on is the consent to store
    results in the ledger's database; `off` stores nothing."""
    recovery_days: int
    """So long originals are kept after they were last left out: 1 to 365 days."""
    shield: tuple[str, ...]
    """Tools whose results stay as they are, by name; `*` stands for any characters (`read_*`)."""
    off: frozenset[str]
    """Stages that do not act, by name."""
    keep_results: int
    """So many of the latest tool results are never replaced by stubs: 5 or more."""
    trim_above: int
    """Results with more tokens than this are trimmed at level `safe`: 1,000 or more."""
    learned: str | None
    """A LLMLingua-2 model, by which prose loses words at level `gated`; None: none does. Needs the extra `learned`."""
    holdout: float
    """This share of runs is left as it is, so that steps with and without folding can be compared: 0 to 0.5."""

    def __init__(
        self,
        level: LevelName = "compact",
        *,
        recovery: Recovery = "off",
        recovery_days: int = 7,
        shield: Collection[str] = (),
        off: Collection[str] = (),
        keep_results: int = 5,
        trim_above: int = 20_000,
        learned: str | None = None,
        holdout: float = 0.0,
    ) -> None:
        chosen = _level(level)
        if recovery not in _RECOVERIES:
            raise BadAmount(f"recovery={recovery!r}: choose 'off', 'tool' or 'shell'.", amount=repr(recovery))
        if chosen >= Level.SAFE and recovery == "off":
            raise BadAmount(
                f"level {level!r} leaves text out, and with recovery='off' nothing brings it back. Choose "
                "recovery='tool' or 'shell', or level 'lossless'.",
                amount=repr(level),
            )
        names = _names(shield)
        unknown = sorted({off} if isinstance(off, str) else set(off) - set(STAGES))
        if unknown:
            raise BadAmount(f"off={unknown}: no such stage. The stages are {', '.join(STAGES)}.", amount=repr(off))
        _in_range("recovery_days", recovery_days, 1, _LONGEST_DAYS)
        _in_range("keep_results", keep_results, _FEWEST_KEPT, None)
        _in_range("trim_above", trim_above, _SHORTEST_TRIM, None)
        if learned is not None and chosen < Level.GATED:
            raise BadAmount(f"learned={learned!r} leaves words out, which only level 'gated' does.", amount=learned)
        if type(holdout) not in (int, float) or not 0 <= holdout <= 0.5:  # noqa: PLR2004 - half of all runs
            raise BadAmount(f"holdout={holdout!r}: give a share of runs from 0 to 0.5.", amount=repr(holdout))
        kept = keep_results, trim_above, learned, holdout
        values = (chosen, recovery, recovery_days, names, frozenset(off), *kept)
        for name, value in zip(self.__dataclass_fields__, values, strict=True):
            object.__setattr__(self, name, value)

    def shields(self, tool: str, text: str) -> bool:
        """Whether a result stays as it is: its tool is shielded, or it says `<keep>`."""
        return "<keep>" in text or any(fnmatchcase(tool, pattern) for pattern in self.shield)

    def does(self, stage: str, level: Level) -> bool:
        """Whether a stage of a level acts."""
        return self.level >= level and stage not in self.off


def _level(name: Any) -> Level:
    try:
        return Level[name.upper()]
    except (AttributeError, KeyError):
        names = ", ".join(repr(one.name.lower()) for one in Level)
        raise BadAmount(f"level={name!r}: choose one of {names}.", amount=repr(name)) from None


def _names(shield: Any) -> tuple[str, ...]:
    """Typed as a collection of text, but users bring one name."""
    given: tuple[Any, ...] = () if isinstance(shield, str) else tuple(shield)
    if isinstance(shield, str) or not all(isinstance(name, str) for name in given):
        raise BadAmount(f"shield={shield!r}: give a list of tool names.", amount=repr(shield))
    return given


def _in_range(name: str, value: Any, least: int, most: int | None) -> None:
    if type(value) is not int or value < least or (most is not None and value > most):
        bound = f"from {least} to {most}" if most is not None else f"of {least:,} or more"
        raise BadAmount(f"{name}={value!r}: give a whole number {bound}.", amount=repr(value))
