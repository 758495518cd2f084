"""The latest rounds of one kind of evidence, and small memories that forget the oldest first."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from tokenguard.loops.finding import Finding
from tokenguard.loops.rounds import Round, Seen

__all__ = ["FEW", "ROUNDS_MAX", "Track", "counts", "keep"]

FEW: Final = 32
"""So many names are remembered, the latest ones."""
ROUNDS_MAX: Final = 200
"""Of no kind of evidence more rounds are kept."""


_MET_MAX: Final = 8_192
_REFUSED_MAX: Final = 8


class Track:
    """The latest rounds of one kind of evidence, oldest first, and what was refused since the last progress."""

    __slots__ = ("_met", "_named", "refused", "rounds")

    def __init__(self) -> None:
        self.rounds: dict[int, Round] = {}
        """By their numbers."""
        self.refused: dict[str, int] = {}
        self._named: dict[str, list[Round]] = {}
        self._met: set[str] = set()
        """Calls of these rounds, and some of earlier ones."""

    def note(self, one: Round, most: int) -> None:
        """Put a round at the end, and the oldest of more than `most` out."""
        keys = [seen.key for seen in one.seen]
        one.first = self._met.isdisjoint(keys)
        self._met.update(keys)
        self.rounds[one.seq] = one
        self._named.setdefault(one.name, []).append(one)
        if len(self.rounds) > most:
            old = self.rounds.pop(next(iter(self.rounds)))
            named = self._named[old.name]
            named.remove(old)
            if not named:
                del self._named[old.name]
        if len(self._met) > _MET_MAX:
            self._met = {seen.key for kept in self.rounds.values() for seen in kept.seen}

    def join(self, one: Round, seen: Seen) -> None:
        """One more call of a round."""
        one.add([seen])
        one.first = False
        self._met.add(seen.key)

    def restore(self, rounds: list[Round]) -> None:
        """These rounds, oldest first."""
        for one in rounds[-ROUNDS_MAX:]:
            self.note(one, ROUNDS_MAX)

    def named(self, name: str) -> list[Round]:
        """The rounds of this name, oldest first."""
        return self._named.get(name) or []

    def back_from(self, one: Round | None) -> Iterator[Round]:
        """A round and those before it in its conversation, as far as they are remembered."""
        while one is not None:
            yield one
            one = self.rounds.get(one.parent)

    def chain(self, one: Round, most: int) -> list[Round]:
        """At most so many rounds of one stretch of a conversation, oldest first; `one` is the last."""
        found, rounds, last = [one], self.rounds, one
        while not last.begins and len(found) < most:
            before = rounds.get(last.parent)
            if before is None:
                break
            found.append(before)
            last = before
        found.reverse()
        return found

    def latest(self, most: int) -> list[Round]:
        """At most so many rounds, the latest ones, oldest first."""
        return list(islice(self.rounds.values(), max(0, len(self.rounds) - most), None))

    def refuse(self, finding: Finding) -> None:
        """Count one more refusal."""
        key = f"{finding.chain} {finding.fingerprint}"
        keep(self.refused, key, self.refused.get(key, 0) + 1, _REFUSED_MAX)

    def refusals(self, finding: Finding) -> int:
        """How often it was refused since, in its conversation or before a restart."""
        refused = self.refused
        if not refused:
            return 0
        own = refused.get(f"{finding.chain} {finding.fingerprint}", 0)
        return own + (refused.get(f"0 {finding.fingerprint}", 0) if finding.chain else 0)

    def progress(self, chain: int, findings: list[Finding]) -> None:
        """Forget a chain's refusals of whatever its latest round does not repeat."""
        if self.refused:
            repeated = {one.fingerprint for one in findings}
            owners = (str(chain), "0")
            self.refused = {
                key: count
                for key, count in self.refused.items()
                if key.partition(" ")[0] not in owners or key.partition(" ")[2] in repeated
            }


def keep(kept: dict[Any, Any], name: Any, value: Any, most: int = FEW) -> None:
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
