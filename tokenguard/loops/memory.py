"""What one run did lately, and what of it repeats."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from tokenguard.core.ladder import Loops
from tokenguard.core.untrusted import list_of
from tokenguard.loops.canonical import clipped
from tokenguard.loops.evidence import (
    FOLDED_PREFIX,
    Ending,
    Turn,
    ending,
    ids_of,
    messages_of,
    reason_of,
    turns_from_end,
)
from tokenguard.loops.finding import Finding
from tokenguard.loops.keys import EXEMPT, keyed
from tokenguard.loops.rounds import Digester, Round, Seen, of_state, text_of
from tokenguard.loops.rules import PERIODS, about_to_repeat, found, strongest
from tokenguard.loops.track import FEW, Track, counts, keep

__all__ = ["LoopMemory"]

_STATE_BYTES_MAX: Final = 15_000
_IDS_MAX: Final = 40
_KNOWN_MAX: Final = 96
_REFUSED_MAX: Final = 8
_HISTORY_MAX: Final = 200
_FORMAT: Final = "tokenguard loops 1"
_SOURCES: Final = ("messages", "speech", "tools", "answers")
_LONG_AGO: Final = float("-inf")
_ALL: Final[Mapping[str, Any]] = {}
"""All arguments count."""


class LoopMemory:
    """What one run (or agent) did lately, as keyed digests, counts and sizes; never text.

    Not thread-safe: callers hold the tree lock. Bounded: some dozens of rounds, whatever comes.
    """

    changed: bool
    """Something happened since the last `dump`."""

    def __init__(
        self, *, key: bytes = b"", keys: Mapping[str, Any] = _ALL, folded: str = FOLDED_PREFIX
    ) -> None:
        """An empty memory.

        Args:
            loops: Its window, and the rules that are off. The rungs are the caller's to apply.
            key: For the digests: a secret of the ledger.
            keys: What makes two calls of a tool equal in a conversation (`loops/keys.py`); looked up at each call.
            folded: Near their start, results that were folded carry this; empty: none are.
        """
        self.changed = False
        self._loops = loops = Loops()
        self.lock = threading.RLock()
        self._keys = keys
        self._digester = Digester(key, folded)
        rungs = [one for one in (loops.steer_at, loops.block_at, loops.stop_at) if one is not None]
        self._history = min(_HISTORY_MAX, max(loops.window, max(rungs, default=0) * PERIODS[-1]))
        self._tracks = {name: Track() for name in _SOURCES}
        self._answers: list[tuple[str, int]] = []
        """Digest of prompt and completion, and what it cost; the latest ones, oldest first."""
        self._known: dict[str, int] = {}
        """A noted turn's name -> where its message stood."""
        self._ids_recur = False
        """The server gives the same ids again and again: then the position tells rounds apart."""
        self._costs: dict[str, int] = {}
        """A reply's name by its ids -> what it cost; taken out when its round is noted."""
        self._voiced: dict[str, int] = {}
        """Digest of what a user said after a round -> how many rounds there were then."""
        self._forgiven: dict[str, None] = {}
        self._cut = False
        """The last answer ended because it was too long: the next one goes on with it."""
        self._first_end_s = _LONG_AGO
        self._ends_s: dict[str, float] = {}

    def asked(self, messages: Sequence[Any], loops: Loops) -> Finding | None:
        self._loops = loops
        return self._asked(messages)

    def _asked(self, messages: Sequence[Any]) -> Finding | None:
        """Note the rounds that a conversation shows, before it is sent; the strongest repetition it ends in.

        The same conversation sent again counts nothing twice. Where it ends with words of a user, these were said after
        an earlier round too (a framework's "go on"), or nothing is found: a person took part.
        """
        fresh: list[tuple[str, Turn]] = []
        latest: str | None = None
        for turn in turns_from_end(messages):
            name = self._named(turn.ids)
            latest = name if latest is None else latest
            if len(fresh) >= self._history or not self._is_new(name, turn, messages, latest=not fresh):
                break
            fresh.append((name, turn))
        track = self._tracks["messages"]
        for name, turn in reversed(fresh):
            self._note(track, name, turn)
        end = ending(messages)
        if end.monologue:
            return self._monologue(end)
        self._tracks["speech"].refused.clear()
        if latest is None or not end.on_tools or (end.spoken is not None and not self._said_before(end.spoken)):
            return None
        return self._told("messages", self._found(track, latest, fresh=bool(fresh)))

    def answered(
        self, answer_key: str, reply: Mapping[str, Any], loops: Loops, *, model: str, began_s: float, ended_s: float, cost_pico: int, caller: int = 0
    ) -> Finding | None:
        """Note an answer, by a key that is equal for equal prompt and completion.

        A call that began before its equal had ended belongs to the same round and is not counted again.

        Args:
            answer_key: Opaque; only its digest is kept.
            reply: The answer: what its tool calls cost is known by their ids.
            model: Names the finding.
            began_s: On the monotonic clock, as `ended_s`.
            ended_s: When it was complete.
            cost_pico: What it cost.
        """
        self.changed = True
        if ids := ids_of(messages_of(reply)):
            keep(self._costs, self._named(ids), cost_pico)
        self._cut = reason_of(reply) == "length"
        name = self._digester.of(clipped(answer_key))
        if began_s < self._ends_s.get(name, _LONG_AGO):
            return None
        keep(self._ends_s, name, ended_s)
        self._answers.append((name, cost_pico))
        if len(self._answers) > self._loops.window:
            del self._answers[0]
        if refused := self._tracks["answers"].refused:
            self._tracks["answers"].refused = {one: count for one, count in refused.items() if one == name}
        costs_pico = [one_pico for one, one_pico in self._answers if one == name]
        if len(costs_pico) < 2 or self._is_off("same_prompt_same_completion"):  # noqa: PLR2004 - once is no repetition
            return None
        return self._told(
            "answers",
            [
                Finding(
                    rule="same_prompt_same_completion",
                    repeats=len(costs_pico),
                    window=self._loops.window,
                    subject=model,
                    fingerprint=name,
                    wasted_pico=sum(costs_pico[1:]),
                    mean_pico=sum(costs_pico) // len(costs_pico),
                )
            ],
        )

    def calling(self, tool: str, arguments: Any, loops: Loops, *, caller: int = 0) -> Finding | None:
        """What running a tool would repeat, this time counted; None: nothing, or its results changed the last time."""
        call = self._digester.asked(tool, arguments)
        return self._told("tools", about_to_repeat(self._tracks["tools"].rounds, call, self._loops, self._digester))

    def returned(self, tool: str, arguments: Any, result: Any, loops: Loops, *, caller: int = 0, began_s: float, ended_s: float) -> Finding | None:
        """Note what a tool gave (or the exception it raised); calls that were in flight together are one round."""
        track = self._tracks["tools"]
        call = self._digester.asked(tool, arguments)
        seen = self._digester.seen(call, result, failed=False, past=track.rounds)
        together = began_s < self._first_end_s
        if together or began_s < self._ends_s.get(seen.key, _LONG_AGO):
            keep(self._ends_s, seen.key, ended_s)
            if not together or any(one.pair == seen.pair for one in track.rounds[-1].seen):
                return None
            track.join(seen)
        else:
            self._first_end_s = ended_s
            keep(self._ends_s, seen.key, ended_s)
            track.note(Round("", [seen]), self._history)
        self.changed = True
        findings = found(track.rounds, self._loops, self._digester, seen)
        track.progress(findings)
        return self._told("tools", findings)

    def refused(self, finding: Finding) -> Finding:
        """Count a call or tool that was refused for a finding as one more repetition, until the run makes progress."""
        self.changed = True
        refused = self._tracks[finding.source].refused
        keep(refused, finding.fingerprint, refused.get(finding.fingerprint, 0) + 1, _REFUSED_MAX)
        return replace(finding, repeats=finding.repeats + 1)

    def attribute(self, finding: Finding) -> int:
        before = self.__dict__.setdefault('_att', {}).get(finding.fingerprint, 0)
        self._att[finding.fingerprint] = max(before, finding.wasted_pico)
        return max(0, finding.wasted_pico - before)

    def forgive(self, fingerprint: str) -> None:
        """A person resumed the run: that repetition, and what else the run shows now, is never found again."""
        self.changed = True
        keep(self._forgiven, fingerprint, None)
        for name in ("messages", "tools"):
            rounds = self._tracks[name].rounds
            for one in found(rounds, self._loops, self._digester) if rounds else ():
                keep(self._forgiven, one.fingerprint, None)
        for track in self._tracks.values():
            track.refused.clear()

    def dump(self) -> dict[str, Any]:
        """The memory as JSON of less than 16 kB; the oldest rounds are left out where it would be more."""
        self.changed = False
        # Copies: what the caller keeps must not change with the next call.
        state: dict[str, Any] = {
            "by": self._digester.of(_FORMAT),
            "answers": [list(one) for one in self._answers],
            "refused": {name: dict(track.refused) for name, track in self._tracks.items()},
            "known": dict(self._known),
            "ids_recur": self._ids_recur,
            "costs": dict(self._costs),
            "voiced": dict(self._voiced),
            "noted": self._tracks["messages"].noted,
            "forgiven": list(self._forgiven),
            "cut": self._cut,
        }
        rounds = self._history
        while True:
            state["rounds"] = {
                name: [one.state() for one in track.latest(rounds)] for name, track in self._tracks.items()
            }
            if not rounds or len(json.dumps(state)) <= _STATE_BYTES_MAX:
                return state
            rounds //= 2

    @classmethod
    def load(
        cls,
        state: Mapping[str, Any],
        *,
        key: bytes = b"",
        keys: Mapping[str, Any] = _ALL,
        folded: str = FOLDED_PREFIX,
    ) -> LoopMemory:
        """The memory that `dump` wrote; an empty one where the state is damaged or another ledger's."""
        memory = cls(key=key, keys=keys, folded=folded)
        try:
            memory._restore(state)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return cls(key=key, keys=keys, folded=folded)
        return memory

    def _restore(self, state: Mapping[str, Any]) -> None:
        if state["by"] != self._digester.of(_FORMAT):
            raise ValueError("written by another ledger or version")
        for name, track in self._tracks.items():
            track.restore([of_state(one) for one in list_of(state["rounds"][name])[-self._history :]])
            track.refused = counts(state["refused"][name])
        self._answers = [
            (str(one), int(cost_pico)) for one, cost_pico in list_of(state["answers"])[-self._loops.window :]
        ]
        self._known = counts(state["known"])
        self._ids_recur = bool(state["ids_recur"])
        self._costs = counts(state["costs"])
        self._voiced = counts(state["voiced"])
        self._tracks["messages"].noted = int(state["noted"])
        self._forgiven = dict.fromkeys(str(one) for one in list_of(state["forgiven"])[-FEW:])
        self._cut = bool(state["cut"])

    def _named(self, ids: str) -> str:
        """A turn's name: its ids, which are a server's counters or dice, or their digest where they are long."""
        return ids if len(ids) <= _IDS_MAX and ids.isprintable() and ids.isascii() else self._digester.of(ids)

    def _is_new(self, name: str, turn: Turn, messages: Sequence[Any], *, latest: bool) -> bool:
        """Whether a turn was not noted yet: by its ids, and where a server repeats them by its place."""
        known = self._known.get(name)
        if known is None:
            return True
        if latest and name in self._costs:
            # An answer with these ids came after they were noted: they are another round's.
            self._ids_recur = True
            return True
        if turn.position <= known:
            return False
        if not self._ids_recur and turn.ids:
            before = (one for one in turns_from_end(messages) if one.position < turn.position)
            self._ids_recur = any(one.ids == turn.ids for one in islice(before, self._history))
        return self._ids_recur or not turn.ids

    def _note(self, track: Track, name: str, turn: Turn) -> None:
        digester, past, seen = self._digester, track.rounds, list[Seen]()
        for one in turn.answered():
            arguments = keyed(one.tool, one.arguments, self._keys) if self._keys else one.arguments
            asked = digester.asked(one.tool, None if arguments is EXEMPT else arguments)
            shown = digester.seen(asked, one.result, failed=one.failed, past=past)
            # What is asked again on purpose is noted and never found, like what time will heal.
            seen.append(shown._replace(transient=True) if arguments is EXEMPT else shown)
        track.note(Round(name, seen, self._costs.pop(name, 0)), self._history)
        keep(self._known, name, turn.position, _KNOWN_MAX)
        self.changed = True

    def _found(self, track: Track, name: str, *, fresh: bool) -> list[Finding]:
        """What the round of this name repeats; a new one that does not repeat what was refused was progress."""
        rounds = track.rounds
        if rounds and rounds[-1].name != name:
            # Another conversation of the same run was noted since.
            rounds = rounds[: next((at for at in range(len(rounds), 0, -1) if rounds[at - 1].name == name), 0)]
        if not rounds:
            return []
        findings = found(rounds, self._loops, self._digester)
        if fresh:
            track.progress(findings)
        return findings

    def _said_before(self, words: Any) -> bool:
        noted = self._tracks["messages"].noted
        digest = self._digester.of(text_of(words))
        first = self._voiced.get(digest)
        if first is None:
            keep(self._voiced, digest, noted)
            self.changed = True
        return first is not None and first != noted

    def _monologue(self, end: Ending) -> Finding | None:
        """Several answers in a row with nothing between them; not the pieces of one that was too long."""
        if end.monologue < 2 or self._cut or self._is_off("monologue"):  # noqa: PLR2004 - once is no repetition
            return None
        costs_pico = [one_pico for _, one_pico in self._answers[-end.monologue :]]
        return self._told(
            "speech",
            [
                Finding(
                    rule="monologue",
                    repeats=end.monologue,
                    window=end.monologue,
                    subject=end.name or "assistant",
                    fingerprint=self._digester.of(f"monologue\n{end.name}"),
                    wasted_pico=sum(costs_pico[1:]),
                    mean_pico=sum(costs_pico) // len(costs_pico) if costs_pico else 0,
                )
            ],
        )

    def _told(self, source: str, findings: list[Finding]) -> Finding | None:
        """The strongest of them, with the refusals since, without what a person forgave."""
        if not findings:
            return None
        refused = self._tracks[source].refused
        return strongest(
            replace(one, repeats=one.repeats + refused.get(one.fingerprint, 0), source=source)
            for one in findings
            if one.fingerprint not in self._forgiven
        )

    def _is_off(self, rule: str) -> bool:
        return rule in self._loops.off
