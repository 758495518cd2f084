"""What one run did lately, and what of it repeats."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from tokenguard.core.forks import renew_in_children
from tokenguard.core.ladder import Loops
from tokenguard.core.untrusted import list_of
from tokenguard.loops.answers import Answers, Said
from tokenguard.loops.canonical import clipped
from tokenguard.loops.conversations import Conversations
from tokenguard.loops.evidence import FOLDED_PREFIX, Ending, Shown, ending, reason_of
from tokenguard.loops.finding import Finding
from tokenguard.loops.rounds import Digester, Round, of_state
from tokenguard.loops.rules import about_to_repeat, found, history_of, strongest
from tokenguard.loops.semantic import SimilarAnswers
from tokenguard.loops.track import FEW, ROUNDS_MAX, Track, counts, keep

__all__ = ["LoopMemory"]

_STATE_BYTES_MAX: Final = 15_000
_DUMPED_MAX: Final = 72
"""Of each kind of evidence so many rounds are written down at most: more of the usual size are too large."""
_CONVERSATIONS: Final = 4
"""So many full histories are kept, of all conversations together."""
_FORMAT: Final = "tokenguard loops 2"
_LONG_AGO: Final = float("-inf")
_ALL: Final[Mapping[str, Any]] = {}
"""All arguments count."""
_LOOKING_BACK: Final = Loops(window=100)


class LoopMemory:
    """What one run (or agent) did lately, as keyed digests, counts and sizes; never text.

    Callers hold `lock` around every method. Bounded: some dozens of rounds, whatever comes.
    """

    changed: bool
    """Something happened since the last `dump`."""
    lock: threading.RLock
    """Its own, for a user's `loop_key` function may run under it. Renewed in forked children."""
    similar: SimilarAnswers
    """The latest answers by what they mean; never dumped."""

    def __init__(self, *, key: bytes = b"", keys: Mapping[str, Any] = _ALL, folded: str = FOLDED_PREFIX) -> None:
        """An empty memory.

        Args:
            key: For the digests: a secret of the ledger.
            keys: What makes two calls of a tool equal in a conversation (`loops/keys.py`); looked up at each call.
            folded: Near their start, results that were folded carry this; empty: none are.
        """
        self.changed = False
        self.renew_lock()
        renew_in_children(self)
        self._digester = Digester(key, folded)
        self.similar = SimilarAnswers(self._digester)
        self._answers = Answers(self._digester, keys)
        self._talks = Conversations(self._digester, self._answers)
        self._tools = Track()
        self._tracks = {"messages": self._talks.track, "speech": Track(), "tools": self._tools, "answers": Track()}
        self._loops = Loops()
        self._history = history_of(self._loops)
        self._kept = _CONVERSATIONS * self._history
        self._forgiven: dict[str, None] = {}
        self._cut = False
        """The last answer ended because it was too long: the next one goes on with it."""
        self._first_ends_s: dict[int, float] = {}
        """By caller: when the first of the tools ended that are its latest round."""
        self._ends_s: dict[str, float] = {}

    def renew_lock(self) -> None:
        """Make the lock anew, in a forked child."""
        self.lock = threading.RLock()

    def asked(self, messages: Sequence[Any], loops: Loops) -> Finding | None:
        """Note the rounds that a conversation shows, before it is sent; the strongest repetition it ends in.

        The same conversation sent again counts nothing twice, and other conversations count nothing in this one. Where
        it ends with words of a user, these were said after an earlier round too (a framework's "go on"), or nothing is
        found: a person took part.

        Args:
            messages: Of a chat, or the items of the Responses API.
            loops: Its window, and the rules that are off. The rungs are the caller's to apply.
        """
        shown, most = Shown(messages), self._most(loops)
        latest, fresh = self._talks.read(shown, most, self._kept)
        self.changed = self.changed or fresh
        end = ending(messages)
        if end.monologue:
            return self._monologue(end, loops)
        self._tracks["speech"].refused = {}
        if latest is None:
            if not end.on_tools:
                self._talks.begun(shown)
            return None
        turn = shown.turn(0)
        if turn is not None and turn.after is not None:
            self.changed = self._talks.is_persons(turn.after, latest, ends=True) or self.changed
            return None
        if not end.on_tools or (end.spoken is not None and self._talks.is_persons(end.spoken, latest, ends=False)):
            return None
        track = self._talks.track
        findings: list[Finding] = []
        if not latest.first or any(seen.error for seen in latest.seen):
            findings = found(track.chain(latest, most), loops, self._digester)
        if fresh:
            track.progress(latest.root, findings)
        return self._told("messages", findings, latest.root) if findings else None

    def answered(
        self,
        answer_key: str,
        reply: Mapping[str, Any],
        loops: Loops,
        *,
        model: str,
        began_s: float,
        ended_s: float,
        cost_pico: int,
        caller: int = 0,
    ) -> Finding | None:
        """Note an answer, by a key that is equal for equal prompt and completion.

        A call that began before its equal had ended belongs to the same round and is not counted again.

        Args:
            answer_key: Opaque; only its digest is kept.
            reply: The answer: what its tool calls ask for and cost is known by their ids.
            loops: Its window, and the rules that are off.
            model: Names the finding.
            began_s: On the monotonic clock, as `ended_s`.
            ended_s: When it was complete.
            cost_pico: What it cost.
            caller: Names the task or thread; only its own answers count.
        """
        self.changed = True
        seq = self._answers.note(reply, cost_pico, caller)
        self._cut = reason_of(reply) == "length"
        name = self._digester.of(clipped(answer_key))
        if self._in_flight(f"{caller} {name}", began_s, ended_s):
            return None
        self._answers.say(Said(name, seq, cost_pico, caller))
        findings: list[Finding] = []
        equal = self._answers.equal(name, caller, loops.window)
        if len(equal) > 1 and "same_prompt_same_completion" not in loops.off:
            costs_pico = [one.cost_pico for one in equal]
            findings.append(
                Finding(
                    rule="same_prompt_same_completion",
                    repeats=len(equal),
                    window=loops.window,
                    subject=model,
                    fingerprint=name,
                    wasted_pico=sum(costs_pico[1:]),
                    mean_pico=sum(costs_pico) // len(costs_pico),
                    members=tuple(one.seq for one in equal[1:]),
                )
            )
        if self._tracks["answers"].refused:
            self._tracks["answers"].progress(caller, findings)
        return self._told("answers", findings, caller) if findings else None

    def calling(self, tool: str, arguments: Any, loops: Loops, *, caller: int = 0) -> Finding | None:
        """What running a tool would repeat, this time counted; None: nothing, or its results changed the last time.

        Args:
            tool: Its name.
            arguments: Those that count.
            loops: Its window, and the rules that are off.
            caller: Names the task or thread; only what it ran since the latest conversation began counts.
        """
        own = self._own(caller, self._most(loops))
        call = self._digester.asked(tool, arguments)
        return self._told("tools", about_to_repeat(own, call, loops, self._digester), caller)

    def returned(
        self,
        tool: str,
        arguments: Any,
        result: Any,
        loops: Loops,
        *,
        began_s: float,
        ended_s: float,
        caller: int = 0,
    ) -> Finding | None:
        """Note what a tool gave (or the exception it raised); calls that were in flight together are one round.

        Args:
            tool: Its name.
            arguments: Those that count.
            result: What it gave.
            loops: Its window, and the rules that are off.
            began_s: On the monotonic clock, as `ended_s`.
            ended_s: When it returned.
            caller: Names the task or thread.
        """
        most = self._most(loops)
        own = self._own(caller, most)
        call = self._digester.asked(tool, arguments)
        seen = self._digester.seen(call, result, failed=False, past=reversed(own))
        together = bool(own) and began_s < self._first_ends_s.get(caller, _LONG_AGO)
        flying = self._in_flight(f"{caller} {seen.key}", began_s, ended_s)
        if together:
            if flying or any(one.pair == seen.pair for one in own[-1].seen):
                return None
            self._tools.join(own[-1], seen)
        elif flying:
            return None
        else:
            keep(self._first_ends_s, caller, ended_s)
            one = Round(self._answers.number(), "", [seen])
            one.caller, one.root = caller, self._talks.stretch
            self._tools.note(one, self._kept)
            own = [*own[-most + 1 :], one]
        self.changed = True
        findings = found(own, loops, self._digester, seen)
        self._tools.progress(caller, findings)
        return self._told("tools", findings, caller)

    def refused(self, finding: Finding) -> Finding:
        """Count a call or tool that was refused for a finding as one more repetition, until the run makes progress."""
        self.changed = True
        self._tracks[finding.source].refuse(finding)
        return replace(finding, repeats=finding.repeats + 1)

    def attribute(self, finding: Finding) -> int:
        """What a finding's repetitions cost that no finding was told to have wasted before, in pico-USD."""
        wasted_pico = sum(self._answers.paid.pop(member, 0) for member in finding.members)
        self.changed = self.changed or wasted_pico > 0
        return wasted_pico

    def forgive(self, fingerprint: str) -> None:
        """A person resumed the run: that repetition, and what else goes with it now, is never found again."""
        self.changed = True
        forgiven = {fingerprint}
        track = self._talks.track
        parents = {one.parent for one in track.rounds.values()}
        ends = [track.chain(one, ROUNDS_MAX) for one in track.rounds.values() if one.seq not in parents]
        latest = self._tools.latest(1)
        ends += [self._own(one.caller, ROUNDS_MAX) for one in latest]
        for rounds in filter(None, ends):
            shown = {one.fingerprint for one in found(rounds, _LOOKING_BACK, self._digester)}
            forgiven |= shown if fingerprint in shown else set()
        for one in sorted(forgiven, key=lambda name: name == fingerprint):
            keep(self._forgiven, one, None)
        for track in self._tracks.values():
            track.refused.clear()

    def dump(self) -> dict[str, Any]:
        """The memory as JSON of less than 16 kB; the oldest rounds are left out where it would be more."""
        self.changed = False
        # Copies: what the caller keeps must not change with the next call.
        state: dict[str, Any] = {
            "by": self._digester.of(_FORMAT),
            "refused": {name: _of_anybody(name, track.refused) for name, track in self._tracks.items()},
            "ids_recur": self._talks.ids_recur,
            "voiced": dict(self._talks.voiced),
            "stretch": self._talks.stretch,
            "forgiven": list(self._forgiven),
            "cut": self._cut,
        }
        most = _DUMPED_MAX
        while True:
            kept = {name: track.latest(most) for name, track in self._tracks.items()}
            state["rounds"] = {name: [one.state() for one in rounds] for name, rounds in kept.items()}
            state["answers"] = self._answers.state({one.paid_by for one in kept["messages"]}, most)
            if not most or len(json.dumps(state)) <= _STATE_BYTES_MAX:
                return state
            most = most * 2 // 3

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
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
            return cls(key=key, keys=keys, folded=folded)
        return memory

    def _restore(self, state: Mapping[str, Any]) -> None:
        if state["by"] != self._digester.of(_FORMAT):
            raise ValueError("written by another ledger or version")
        for name, track in self._tracks.items():
            track.restore([of_state(one) for one in list_of(state["rounds"][name])])
            track.refused = counts(state["refused"][name])
        self._answers.restore(state["answers"])
        self._talks.ids_recur = bool(state["ids_recur"])
        self._talks.voiced = counts(state["voiced"])
        self._talks.stretch = int(state["stretch"])
        self._forgiven = dict.fromkeys(str(one) for one in list_of(state["forgiven"])[-FEW:])
        self._cut = bool(state["cut"])

    def _most(self, loops: Loops) -> int:
        """So many rounds matter to these rules, and several times as many are kept from now on."""
        if loops is not self._loops:
            self._loops, self._history = loops, history_of(loops)
            self._kept = min(ROUNDS_MAX, max(self._kept, _CONVERSATIONS * self._history))
        return self._history

    def _in_flight(self, name: str, began_s: float, ended_s: float) -> bool:
        """Whether a call began before its equal had ended; its own end is noted."""
        flying = began_s < self._ends_s.get(name, _LONG_AGO)
        keep(self._ends_s, name, ended_s)
        return flying

    def _own(self, caller: int | None, most: int) -> list[Round]:
        """What a caller ran since the latest conversation began, at most so many rounds, oldest first."""
        own: list[Round] = []
        for one in reversed(self._tools.rounds.values()):
            if one.root != self._talks.stretch or len(own) == most:
                break
            if one.caller == caller or one.caller is None:
                own.append(one)
        own.reverse()
        return own

    def _monologue(self, end: Ending, loops: Loops) -> Finding | None:
        """Several answers in a row with nothing between them; not the pieces of one that was too long."""
        if end.monologue < 2 or self._cut or "monologue" in loops.off:  # noqa: PLR2004 - once is no repetition
            return None
        said = self._answers.said[-end.monologue :]
        if len({one.caller for one in said}) > 1:
            said = []  # Whose they are is not known.
        finding = Finding(
            rule="monologue",
            repeats=end.monologue,
            window=end.monologue,
            subject=end.name or "assistant",
            fingerprint=self._digester.of(f"monologue\n{end.name}"),
            wasted_pico=sum(one.cost_pico for one in said[1:]),
            mean_pico=sum(one.cost_pico for one in said) // len(said) if said else 0,
            members=tuple(one.seq for one in said[1:]),
        )
        return self._told("speech", [finding], 0)

    def _told(self, source: str, findings: list[Finding], chain: int) -> Finding | None:
        """The strongest of them, with the refusals since, without what a person forgave."""
        track = self._tracks[source]
        own = [replace(one, source=source, chain=chain) for one in findings if one.fingerprint not in self._forgiven]
        return strongest(replace(one, repeats=one.repeats + track.refusals(one)) for one in own)


def _of_anybody(source: str, refused: dict[str, int]) -> dict[str, int]:
    """Refusals as another process may read them: there the callers have other numbers."""
    if source in ("messages", "speech"):
        return dict(refused)
    found: dict[str, int] = {}
    for key, count in refused.items():
        name = f"0 {key.partition(' ')[2]}"
        found[name] = max(count, found.get(name, 0))
    return found
