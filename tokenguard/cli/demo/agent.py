"""The agent of the demo: it researches a question by researching the questions this raises. Nothing says "enough"."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeAlias

__all__ = ["QUESTION", "Ask", "Researcher", "open_questions"]

QUESTION: Final = "Why did our cloud bill double in March?"

Ask: TypeAlias = Callable[[str, list[dict[str, str]]], Awaitable[str]]
"""Sends messages to a model, by its name, and gives the text of its answer."""
Research: TypeAlias = Callable[[str, str, int], Coroutine[Any, Any, str]]

_SYSTEM: Final = (
    "You are a research agent. Say what you found in a few sentences, then list the questions that remain open, "
    "one per line, each starting with '- '."
)
_NOTES_KEPT: Final = 6_000
_FAN_OUT: Final = 3


class Researcher:
    """A recursive agent with the classic mistake: each answer raises new questions, and each question gets an agent.

    Args:
        ask: How a model is asked; the guarded and the unguarded agent differ in this and in `wrap`.
        models: The one that reads, and the one that researches.
        wrap: A decorator for the agent function.
    """

    def __init__(self, ask: Ask, models: tuple[str, str], wrap: Callable[[Research], Research] | None = None) -> None:
        self._ask = ask
        self._reader, self._thinker = models
        self.research: Research = self._research if wrap is None else wrap(self._research)
        self.depth = 0
        """How many levels deep it went; the first is 1."""

    async def _research(self, question: str, notes: str, level: int) -> str:
        self.depth = max(self.depth, level)
        digest = await self._ask(self._reader, [{"role": "user", "content": f"Summarize for {question!r}: {notes}"}])
        told = [
            {"role": "system", "content": _SYSTEM},
            {"role": "user", "content": f"Question: {question}\n\nNotes so far:\n{notes}\n{digest}"},
        ]
        findings = await self._ask(self._thinker, told)
        grown = f"{notes}\n{findings}"[-_NOTES_KEPT:]
        deeper = [self.research(one, grown, level + 1) for one in open_questions(findings, question)]
        # Every child ends before the first stop is passed on, so that no answer that was paid for is cut off.
        answers = await asyncio.gather(*deeper, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return findings


def open_questions(findings: str, question: str) -> list[str]:
    """The questions an answer leaves open; an agent like this always finds some."""
    found = [match.strip() for match in re.findall(r"^\s*[-*]\s+(.+)$", findings, flags=re.MULTILINE)]
    return [one[:300] for one in found][:_FAN_OUT] or [f"What is behind this, in detail: {question[:200]}"]
