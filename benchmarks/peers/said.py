"""What every racer prints at its end: how long the race took, and how many calls were answered or refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from time import perf_counter

CALLS = 50
CAP_USD = "0.10"
MODEL = "gpt-4o"
OUTPUT_TOKENS = 999


def prompt(number: int) -> str:
    """A different question for every call."""
    return f"question {number}"


def say(outcomes: Sequence[str], began_s: float) -> None:
    """`outcomes` are `ok` or the name of what was raised."""
    print(json.dumps({"seconds": round(perf_counter() - began_s, 2), "outcomes": Counter(outcomes)}))
