"""Draws and places by hashing: no state, no randomness, the same answer in every process.

Rendezvous hashing: each endpoint scores each key, and the lowest score has it. An endpoint that leaves moves only the
keys that it had; one that joins takes only what it wins. Weights follow Schindelhauer and Schomaker (2005):
−ln(u) ÷ weight, the lowest wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from math import log
from typing import Final

__all__ = ["MASK", "digest64", "distance", "drawn", "nearness", "seed_of"]

MASK: Final = (1 << 64) - 1
_SPAN: Final = float(1 << 64)


def digest64(text: str) -> int:
    """64 bits that stand for a text."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def seed_of(name: str) -> int:
    """What an endpoint is hashed by: odd, so that no two keys are the same to it."""
    return digest64(name) | 1


def nearness(key: int, seed: int) -> int:
    """64 bits that look random in a digest and an endpoint's odd seed; the lowest is the nearest.

    Multiply-shift hashing (Dietzfelbinger et al., 1997). A digest of both texts would do as well, and take 30 µs for 32
    endpoints.
    """
    return (key * seed) & MASK


def distance(key: int, seed: int, weight: int) -> float:
    """How far a digest is from an endpoint, >= 0, where weights differ; it belongs to the nearest one."""
    return -log((nearness(key, seed) + 1) / _SPAN) / weight


def drawn(key: int, weights: Sequence[int]) -> int:
    """A position, drawn by weight (each >= 1) with a digest; `weights` is not empty."""
    left = key % sum(weights)
    position = 0
    while left >= weights[position]:
        left -= weights[position]
        position += 1
    return position
