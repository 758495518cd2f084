"""What the model answered lately: which calls each answer asked for, what it cost, and which came back equal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from tokenguard.core.untrusted import list_of
from tokenguard.loops.evidence import Called, asked_for, ids_of, messages_of, peek
from tokenguard.loops.keys import EXEMPT, keyed
from tokenguard.loops.rounds import Asked, Digester
from tokenguard.loops.track import FEW, counts, keep

__all__ = ["Answer", "Answers", "Reply", "Said"]

_SAID_MAX: Final = 200
_REPLIES_MAX: Final = 64
_PAID_MAX: Final = 512
_IDS_MAX: Final = 40


class Answer:
    """An answer that asked for tools."""

    __slots__ = ("before", "caller", "cost_pico", "noted", "seq")

    def __init__(self, seq: int, caller: int | None, before: int, cost_pico: int) -> None:
        self.seq = seq
        self.caller = caller
        self.before = before
        """The answer before it of this caller, in this conversation; 0: unknown."""
        self.cost_pico = cost_pico
        self.noted = False
        """Its round was noted."""


class Reply(NamedTuple):
    """One call that an answer asked for."""

    answer: Answer
    asked: Asked | None
    """None: the messages will say."""
    exempt: bool
    mark: int
    """Of the call (`Called.mark`), in this process; 0: unknown."""


class Said(NamedTuple):
    """A prompt with its completion."""

    name: str
    seq: int
    cost_pico: int
    caller: int | None
    """None: anybody."""


class Answers:
    """The latest answers of all callers."""

    def __init__(self, digester: Digester, keys: Mapping[str, Any]) -> None:
        self.seq = 0
        """The number of the latest answer or round."""
        self.start = 0
        """When a conversation was last begun."""
        self.said: list[Said] = []
        """Oldest first."""
        self._times: dict[str, int] = {}
        """By name: how often it was said."""
        self.paid: dict[int, int] = {}
        """By answer: what is not attributed to a repetition yet."""
        self.completes = False
        """An answer was noted whose calls the next request need not show."""
        self._replies: dict[str, Reply] = {}
        self._responses: dict[str, int] = {}
        """By the provider's id: the number of an answer that asked for tools."""
        self._last: dict[int, int] = {}
        """By caller: the latest answer that asked for tools."""
        self._digester = digester
        self._keys = keys

    def number(self) -> int:
        """The next number."""
        self.seq += 1
        return self.seq

    def named(self, ids: str) -> str:
        """A name of ids, which are a server's counters or dice, or of their digest where they are long."""
        return ids if len(ids) <= _IDS_MAX and ids.isprintable() and ids.isascii() else self._digester.of(ids)

    def note(self, reply: Any, cost_pico: int, caller: int) -> int:
        """Remember an answer's calls and its cost; its number."""
        self.seq = seq = self.seq + 1
        if cost_pico:
            keep(self.paid, seq, cost_pico, _PAID_MAX)
        messages = messages_of(reply)
        ids = ids_of(messages)
        if ids:
            answer = Answer(seq, caller, self._before(reply, seq, caller), cost_pico)
            keep(self._last, caller, seq)
            if list_of(peek(reply, "output")):
                self._note_calls(answer, messages)
                return seq
            for call_id in ids.split("\n")[:_REPLIES_MAX]:
                if call_id:
                    keep(self._replies, self.named(call_id), Reply(answer, None, exempt=False, mark=0), _REPLIES_MAX)
        return seq

    def _before(self, reply: Any, seq: int, caller: int) -> int:
        """The answer before one: the one it names, else its caller's latest since a conversation began."""
        if isinstance(own := peek(reply, "id"), str):
            keep(self._responses, self.named(own), seq)
        if isinstance(previous := peek(reply, "previous_response_id"), str):
            return self._responses.get(self.named(previous), 0)
        before = self._last.get(caller, 0)
        return before if before > self.start else 0

    def _note_calls(self, answer: Answer, messages: list[Any]) -> None:
        """Remember what an answer of the Responses API asks for: the next request may send nothing but the results."""
        self.completes = True
        calls = [call for message in messages for call in asked_for(message) if call.call_id]
        for call in calls[:_REPLIES_MAX]:
            asked, exempt = self.digest(call)
            keep(self._replies, self.named(call.call_id), Reply(answer, asked, exempt, call.mark), _REPLIES_MAX)

    def digest(self, call: Called) -> tuple[Asked, bool]:
        """A call's digests, and whether it is asked again on purpose."""
        arguments = keyed(call.tool, call.arguments, self._keys) if self._keys else call.arguments
        exempt = arguments is EXEMPT
        return self._digester.asked(call.tool, None if exempt else arguments), exempt

    def reply_to(self, name: str) -> Reply | None:
        """The answer's call of this name."""
        return self._replies.get(name)

    def reply_of(self, call: Called) -> Reply | None:
        """The answer's call that a call in the messages is, by its id."""
        return self._replies.get(self.named(call.call_id)) if call.call_id else None

    def equal(self, name: str, caller: int, window: int) -> list[Said]:
        """The answers equal to this caller's latest one, oldest first.

        Only those since the last answer that came once in the window: among ever new prompts equal ones are chance.
        """
        if self._times.get(name, 0) < 2:  # noqa: PLR2004 - once is no repetition
            return []
        own: list[Said] = []
        for one in reversed(self.said):
            if one.caller == caller or one.caller is None:
                own.append(one)
                if len(own) == window:
                    break
        times = Counter([one.name for one in own])
        found: list[Said] = []
        for one in own:
            if times[one.name] < 2:  # noqa: PLR2004 - once is no repetition
                break
            if one.name == name:
                found.append(one)
        return found[::-1]

    def say(self, one: Said) -> None:
        """Put an answer at the end, and the oldest out."""
        self.said.append(one)
        self._times[one.name] = self._times.get(one.name, 0) + 1
        if len(self.said) > _SAID_MAX:
            old = self.said.pop(0).name
            self._times[old] -= 1
            if not self._times[old]:
                del self._times[old]

    def state(self, rounds: set[int], most: int) -> dict[str, Any]:
        """As JSON: at most so many answers, and the costs of these and of the rounds."""
        said = self.said[-most:] if most else []
        replies = list(self._replies.items())[-min(most, FEW) :] if most else []
        known = rounds | {one.seq for one in said} | {one.answer.seq for _, one in replies}
        return {
            "seq": self.seq,
            "start": self.start,
            "said": [[one.name, one.seq, one.cost_pico] for one in said],
            "paid": {str(seq): cost_pico for seq, cost_pico in self.paid.items() if seq in known},
            "responses": dict(self._responses),
            "replies": [[name, *_reply_state(one)] for name, one in replies],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """What `state` wrote.

        Raises:
            ValueError: something else wrote it.
        """
        self.seq, self.start = int(state["seq"]), int(state["start"])
        for name, seq, cost_pico in list_of(state["said"]):
            self.say(Said(str(name), int(seq), int(cost_pico), None))
        self.paid = {int(seq): int(cost_pico) for seq, cost_pico in state["paid"].items()}
        self._responses = counts(state["responses"])
        answers: dict[int, Answer] = {}
        for name, numbers, words, keys in list_of(state["replies"])[-_REPLIES_MAX:]:
            seq, before, cost_pico, noted, exempt, bytes_ = map(int, numbers)
            tool, strict, loose = map(str, words)
            answer = answers.setdefault(seq, Answer(seq, None, before, cost_pico))
            answer.noted = bool(noted)
            asked = Asked(tool, strict, loose, tuple(str(key) for key in list_of(keys)), bytes_) if strict else None
            self.completes = self.completes or asked is not None
            self._replies[str(name)] = Reply(answer, asked, exempt=bool(exempt), mark=0)


def _reply_state(one: Reply) -> list[Any]:
    answer, asked = one.answer, one.asked
    bytes_ = asked.argument_bytes if asked else 0
    numbers = [answer.seq, answer.before, answer.cost_pico, int(answer.noted), int(one.exempt), bytes_]
    if asked is None:
        return [numbers, ["", "", ""], []]
    return [numbers, [asked.tool, asked.strict, asked.loose], list(asked.keys)]
