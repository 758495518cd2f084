"""The latest rounds of one kind of evidence, and small memories that forget the oldest first."""

from __future__ import annotations

from typing import Any, Final

from tokenguard.loops.finding import Finding
from tokenguard.loops.rounds import Round, Seen

__all__ = ["FEW", "Track", "counts", "keep"]

FEW: Final = 32
"""So many names are remembered, the latest ones."""


_MET_MAX: Final = 8_192


class Track:
    """The latest rounds of one kind of evidence, oldest first, and what was refused since the last progress."""

    __slots__ = ("_met", "noted", "refused", "rounds")

    def __init__(self) -> None:
        self.rounds: list[Round] = []
        self.refused: dict[str, int] = {}
        self.noted = 0
        self._met: set[str] = set()
        """Calls of these rounds, and some of earlier ones."""

    def note(self, one: Round, most: int) -> None:
        """Put a round at the end, and the oldest of more than `most` out."""
        self.noted += 1
        keys = {seen.key for seen in one.seen}
        one.first = self._met.isdisjoint(keys)
        self._met |= keys
        self.rounds.append(one)
        if len(self.rounds) > most:
            del self.rounds[0]
        if len(self._met) > _MET_MAX:
            self.restore(self.rounds)

    def join(self, seen: Seen) -> None:
        """One more call of the latest round."""
        self.rounds[-1].add([seen])
        self.rounds[-1].first = False
        self._met.add(seen.key)

    def restore(self, rounds: list[Round]) -> None:
        """These rounds, oldest first, and no others."""
        self.rounds = rounds
        self._met = {seen.key for one in rounds for seen in one.seen}

    def latest(self, most: int) -> list[Round]:
        """At most so many rounds, the latest ones, oldest first."""
        return self.rounds[-most:] if most else []

    def progress(self, findings: list[Finding]) -> None:
        """Forget the refusals of whatever the latest round does not repeat."""
        if self.refused:
            repeated = {one.fingerprint for one in findings}
            self.refused = {name: count for name, count in self.refused.items() if name in repeated}


def keep(kept: dict[str, Any], name: str, value: Any, most: int = FEW) -> None:
    """Put an entry at the end, and the oldest out."""
    kept.pop(name, None)
    kept[name] = value
    if len(kept) > most:
        del kept[next(iter(kept))]


def counts(state: Any) -> dict[str, int]:
    """Names with whole numbers.

    Raises:
        ValueError: something else.
    """
    if not all(type(name) is str and type(count) is int for name, count in state.items()):
        raise ValueError("not names with whole numbers")
    return dict(state)
