"""The model of the demo: it bills as a language model does, and every answer raises new questions."""

from __future__ import annotations

import random
from typing import Final

from tokenguard.testing.model_server import RecordedRequest, Reply

__all__ = ["READER", "THINKER", "answer"]

THINKER: Final = "openai/gpt-4o"
READER: Final = "openai/gpt-4o-mini"
"""Real names, so that the simulated bill has public prices."""

_THINKER_WORDS, _READER_WORDS = 340, 120
_LATENCY_S: Final = (0.10, 0.30)

_WHO: Final = ("the ingest job", "the staging cluster", "the search index", "the nightly export", "the event archive")
_WHAT: Final = ("egress", "idle capacity", "retries", "log volume", "snapshots", "cross-region traffic", "cold starts")
_WHEN: Final = ("since the migration", "on weekends", "after the March release", "at month end", "during backfills")
_VERBS: Final = ("grew", "doubled", "was never measured", "was billed twice", "moved to another account", "leveled off")


def answer(request: RecordedRequest) -> Reply:
    """A model's answer to one request."""
    # Seeded by what was asked: the same request gives the same answer, and no two agents ask the same.
    dice = random.Random(request.body)  # noqa: S311  # varied, not secret
    short = request.model == READER.partition("/")[2]
    size = _READER_WORDS if short else _THINKER_WORDS
    text = _prose(dice, size) if short else f"{_prose(dice, size)}\n\nOpen questions:\n{_questions(dice)}"
    return Reply(text=text, latency_s=dice.uniform(*_LATENCY_S) * (0.6 if short else 1.0))


def _prose(dice: random.Random, size: int) -> str:
    words: list[str] = []
    while len(words) < size:
        amount = f"{dice.randint(3, 97)} percent"
        sentence = (
            f"{dice.choice(_WHAT)} of {dice.choice(_WHO)} {dice.choice(_VERBS)} by {amount} {dice.choice(_WHEN)},"
        )
        words += sentence.split()
    return " ".join(words[:size])


def _questions(dice: random.Random) -> str:
    asked = (
        f"- Why did {what} of {dice.choice(_WHO)} change {dice.choice(_WHEN)}, ticket {dice.randint(1000, 9999)}?"
        for what in dice.sample(_WHAT, dice.choice((2, 3)))
    )
    return "\n".join(asked)
