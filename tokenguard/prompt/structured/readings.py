"""What an answer says: a value, or what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

__all__ = ["UNREAD", "Problem", "Reading"]

M = TypeVar("M")

UNREAD: Final = frozenset({"cut", "unreadable"})
"""Kinds of problems that are no pydantic's: there is no JSON to check, because the tokens ended, or for another
reason."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an answer."""

    path: str
    """Such as `items[2].quantity`; empty: the answer itself."""
    place: str
    """The path with names that only the answer knows as `*`, for sentences that are kept."""
    kind: str
    """Pydantic's name of the error, such as `int_parsing`; or one of `UNREAD`."""
    message: str
    """The validator's sentence."""
    value: str = ""
    """The value as compact JSON, where it is short and there is one."""
    quotes: bool = False
    """Whether the message may quote the answer, as those of a user's own validators do."""

    @property
    def sentence(self) -> str:
        """What is wrong, without any word of the answer."""
        said = f"{self.kind} (its words are in .problems)" if self.quotes else self.message
        return f"{self.place or 'the answer'}: {said}"


@dataclass(frozen=True, slots=True)
class Reading(Generic[M]):
    """A value, or what is wrong with it."""

    value: M | None
    repairs: tuple[str, ...] = ()
    """What was repaired without asking again, such as `code fence`; empty where nothing had to be."""
    problems: tuple[Problem, ...] = ()
    """Empty: the value is valid."""

    @property
    def valid(self) -> bool:
        """Whether there is a value; None may be one."""
        return not self.problems
