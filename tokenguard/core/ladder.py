"""What happens between the first warning and the stop: the rungs of a scope, as values.

Shares are of the caps on a call's path, the most spent one first; counts are equal rounds of a repetition. Every rung
may be off, and each one that acts is an event with its evidence.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final, Literal, TypeAlias, cast

from tokenguard.errors import BadAmount

__all__ = ["RULES", "SIMILAR_FROM", "Blocked", "Ladder", "Loops", "Rung"]

Blocked: TypeAlias = Literal["message", "raise"]

RULES: Final = (
    "same_call_same_result",
    "cycle",
    "same_call_same_error",
    "same_prompt_same_completion",
    "monologue",
    "text_tail",
    "refetch",
    "similar_answers",
)
"""The repetition rules, by the names that events, reports and `Loops(off=)` use."""

SIMILAR_FROM: Final = 3
"""So many answers that say the same in other words are a warning."""

_FEWEST: Final = 2
_LONGEST_WINDOW: Final = 100
_SHORTEST_ANSWER: Final = 256
"""Below it a reasoning model has no room to answer (calls/ceiling.py holds the same floor)."""


class Rung(StrEnum):
    """What was done, from the mildest to the last."""

    WARN = "warn"
    """It is said, and nothing is sent differently: the evidence is no proof."""
    STEER = "steer"
    """The model is told: what is left, or what repeats."""
    SHRINK = "shrink"
    """The answer is kept short."""
    REROUTE = "reroute"
    """Another model answers."""
    FINAL = "final"
    """One last answer without tools, out of `Budget(reserve_final=)`."""
    BLOCK = "block"
    """This call is refused; the run lives."""
    STOP = "stop"
    """The run is closed until a person resumes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loops:
    """From how many equal rounds on a repetition is steered, blocked and stopped. None: that rung is off.

    Raises:
        BadAmount: a count below 2, counts that do not rise, a window that cannot hold them, an unknown rule, or a model
            or similarity that cannot be meant.
    """

    steer_at: int | None
    """The next request ends with a note that says what repeats."""
    block_at: int | None
    """A guarded tool is not run again, and a call after it is refused; the run lives."""
    stop_at: int | None
    """The run is closed."""
    window: int
    """Among how many of the latest rounds equal ones are counted."""
    off: frozenset[str]
    """Rules that do not act, by name."""
    blocked: Blocked
    """What a blocked tool does: give the model a `message` to act on, or `raise` `LoopBlocked`."""
    similar_by: str | None
    """The folder of a model2vec model, by which answers that say the same in other words are warned of; None: none are.
    Needs the extra `semantic`. Nothing is downloaded."""
    similar_at: float
    """From this cosine on two answers are similar: above 0, at most 1. What is right depends on the model."""

    def __init__(
        self,
        *,
        steer_at: int | None = 3,
        block_at: int | None = 4,
        stop_at: int | None = 6,
        window: int = 10,
        off: Collection[str] = (),
        blocked: Blocked = "message",
        similar_by: str | os.PathLike[str] | None = None,
        similar_at: float = 0.9,
    ) -> None:
        rungs = [("steer_at", steer_at), ("block_at", block_at), ("stop_at", stop_at)]
        counts = [(name, count) for name, count in rungs if count is not None]
        for name, count in [*counts, ("window", window)]:
            if type(count) is not int or not _FEWEST <= count <= _LONGEST_WINDOW:
                raise BadAmount(
                    f"{name}={count!r}: give a whole number of rounds from {_FEWEST} to {_LONGEST_WINDOW}.",
                    amount=repr(count),
                )
        for (lower, few), (higher, many) in pairwise(counts):
            if few >= many:
                raise BadAmount(f"{higher}={many} must be above {lower}={few}.", amount=many)
        if counts and counts[-1][1] > window:
            raise BadAmount(f"{counts[-1][0]}={counts[-1][1]} cannot happen in window={window} rounds.", amount=window)
        unknown = sorted(set(off) - set(RULES))
        if unknown:
            raise BadAmount(f"off={unknown}: no such rule. The rules are {', '.join(RULES)}.", amount=repr(off))
        if blocked not in ("message", "raise"):
            raise BadAmount(f"blocked={blocked!r}: choose 'message' or 'raise'.", amount=repr(blocked))
        folder = _folder(similar_by, similar_at, window)
        values = (steer_at, block_at, stop_at, window, frozenset(off), blocked, folder, similar_at)
        for name, value in zip(self.__dataclass_fields__, values, strict=True):
            object.__setattr__(self, name, value)

    def rung(self, repeats: int) -> Rung | None:
        """The rung that so many equal rounds have reached; None: not one."""
        if self.stop_at is not None and repeats >= self.stop_at:
            return Rung.STOP
        if self.block_at is not None and repeats >= self.block_at:
            return Rung.BLOCK
        if self.steer_at is not None and repeats >= self.steer_at:
            return Rung.STEER
        return None


def _folder(similar_by: Any, similar_at: Any, window: int) -> str | None:
    """The folder as text, once what goes with it can be meant."""
    if type(similar_at) not in (int, float) or not 0 < similar_at <= 1:
        raise BadAmount(f"similar_at={similar_at!r}: give a cosine above 0, at most 1.", amount=repr(similar_at))
    if similar_by is None:
        return None
    # Anybody's path: what its type parameter is matters to nobody here.
    path = cast("str | os.PathLike[Any]", similar_by)
    folder: Any = os.fspath(path) if isinstance(similar_by, str | os.PathLike) else ""
    if not isinstance(folder, str) or not folder.strip():
        raise BadAmount(f"similar_by={path!r}: give the path of a folder.", amount=repr(path))
    if window < SIMILAR_FROM:
        raise BadAmount(f"similar_by needs a window of {SIMILAR_FROM} answers or more, not {window}.", amount=window)
    return folder


_DEFAULT_LOOPS: Final = Loops()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """What a scope does before it must refuse or stop. An inner scope's ladder stands in for the outer one's.

    Warnings and the money kept back for a last answer belong to one budget: `Budget(warn_at=, reserve_final=)`.

    Raises:
        BadAmount: a share outside 0 to 1, or half of a pair.
    """

    steer_at: float | None
    """From this share of a cap on, each request ends with a note that says what is left. Checked before each call,
    against what is settled in the ledger; calls in flight do not count. The note's own tokens are priced and held."""
    shrink_at: float | None
    """From this share on answers are held to `shrink_to` tokens."""
    shrink_to: int | None
    """At least 256."""
    reroute_at: float | None
    """From this share on `reroute_to` answers instead of the model that was asked for."""
    reroute_to: str | Mapping[str, Any] | None
    """A model, or `{"model": ..., "api_base": ...}`: options that go over the call's own, as in `fallbacks`."""
    loops: Loops | None
    """The repetition rules; None: off."""

    def __init__(
        self,
        *,
        steer_at: float | None = None,
        shrink_at: float | None = None,
        shrink_to: int | None = None,
        reroute_at: float | None = None,
        reroute_to: str | Mapping[str, Any] | None = None,
        loops: Loops | None = _DEFAULT_LOOPS,
    ) -> None:
        for name, share in (("steer_at", steer_at), ("shrink_at", shrink_at), ("reroute_at", reroute_at)):
            if share is not None and not 0 <= share < 1:
                raise BadAmount(f"{name}={share!r}: give a share of the cap, as in 0.8.", amount=repr(share))
        if (shrink_at is None) != (shrink_to is None):
            raise BadAmount(
                "shrink_at and shrink_to belong together: from which share, to how many tokens.", amount=None
            )
        if shrink_to is not None and (type(shrink_to) is not int or shrink_to < _SHORTEST_ANSWER):
            raise BadAmount(
                f"shrink_to={shrink_to!r}: give a whole number of tokens, {_SHORTEST_ANSWER} or more.",
                amount=repr(shrink_to),
            )
        if (reroute_at is None) != (reroute_to is None):
            raise BadAmount("reroute_at and reroute_to belong together: from which share, to which model.", amount=None)
        if not (reroute_to is None or isinstance(reroute_to, str) or isinstance(reroute_to.get("model"), str)):
            raise BadAmount('reroute_to names no model: give its name, or {"model": ...} with options.', amount=None)
        values = (steer_at, shrink_at, shrink_to, reroute_at, reroute_to, loops)
        for name, value in zip(self.__dataclass_fields__, values, strict=True):
            object.__setattr__(self, name, value)

    @property
    def looks(self) -> bool:
        """Whether a rung asks how much of the caps is spent."""
        return any(share is not None for share in (self.steer_at, self.shrink_at, self.reroute_at))
