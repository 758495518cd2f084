"""Bound a prompt's tokens before it is sent, and count a text where nobody reported it."""

from tokenguard.counting.counter import Counter
from tokenguard.counting.words import HEAVY_CHARACTERS, is_heavy

__all__ = ["HEAVY_CHARACTERS", "Counter", "is_heavy"]
