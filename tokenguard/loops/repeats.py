"""Two exact-repeat rules, over digests and counts, never over text.

- `same_call_same_result`: a tool is called with the same arguments and gives the same result, again and again. The
  evidence is in the messages themselves: the calls in the assistant's turns and the results in the turns after them.
- `same_prompt_same_completion`: the same prompt is sent after the same completion came back for it.

Both count *rounds*: calls that were in flight together are one round, so a fan-out is no loop. On 9,089 labelled
runs "same action and same result at least 4 times in the last 10" fires on 61.1 % of failing and 0.82 % of
succeeding runs; rules on the tool's name alone fire on 12 % of good runs and are not here (docs/loops.md).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from tokenguard.core.untrusted import field_of, list_of, mapping_of

__all__ = ["STOP_AT", "WINDOW", "Finding", "Repeats", "call_evidence", "digest", "repeated_call"]

WINDOW = 10
"""How many of the latest rounds are looked at."""
STOP_AT = 6
"""How many equal ones among them stop the run."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule fired."""

    rule: str
    repeats: int
    window: int
    subject: str
    """The tool's name, or the model's."""
    fingerprint: str


@dataclass(slots=True)
class Repeats:
    """The latest rounds of one run. Not thread-safe by itself: the guard holds its tree lock."""

    completions: deque[str] = field(default_factory=lambda: deque[str](maxlen=WINDOW))
    last_round_s: dict[str, float] = field(default_factory=dict[str, float])
    forgiven: set[str] = field(default_factory=set[str])
    """Fingerprints after which a person resumed the run: they do not stop it again."""

    def completed(
        self,
        fingerprint: str,
        *,
        model: str,
        began_s: float,
        ended_s: float,
        rule: str = "same_prompt_same_completion",
    ) -> Finding | None:
        """Note one answered call, by the fingerprint of prompt and completion and its monotonic begin and end.

        A call that began before its equal had ended belongs to the same round and is not counted again.
        """
        if began_s < self.last_round_s.get(fingerprint, float("-inf")):
            return None
        self.completions.append(fingerprint)
        self.last_round_s[fingerprint] = ended_s
        if len(self.last_round_s) > 4 * WINDOW:
            self.last_round_s = {key: self.last_round_s[key] for key in set(self.completions)}
        return _finding(rule, self.completions, fingerprint, model)


def repeated_call(messages: Sequence[Mapping[str, Any]]) -> Finding | None:
    """Whether the conversation's latest tool round repeats the same call with the same result too often.

    Looks at the last `WINDOW` rounds of tool calls only, from the end, so its cost does not grow with the conversation.
    """
    if not messages or mapping_of(messages[-1]).get("role") != "tool":
        return None
    rounds = _rounds(messages)
    for tool, fingerprint in rounds[-1] if rounds else ():
        repeats = sum(1 for one in rounds if (tool, fingerprint) in one)
        if repeats >= STOP_AT:
            return Finding("same_call_same_result", repeats, WINDOW, tool, fingerprint)
    return None


def digest(value: Any) -> str:
    """A 16-hex-digit digest of a JSON-like value, keys sorted; anything else by its type and repr."""
    if not isinstance(value, str):
        value = json.dumps(value, sort_keys=True, default=repr, separators=(",", ":"))
    return blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def call_evidence(arguments: Any, result: Any) -> str:
    """The fingerprint of one tool call and its result. Arguments that are JSON text are compared as JSON."""
    if isinstance(arguments, str):
        with suppress(ValueError):
            arguments = json.loads(arguments)
    return f"{digest(arguments)}:{digest(result)}"


def _finding(rule: str, latest: deque[str], fingerprint: str, subject: str) -> Finding | None:
    repeats = latest.count(fingerprint)
    return Finding(rule, repeats, WINDOW, subject, fingerprint) if repeats >= STOP_AT else None


def _rounds(messages: Sequence[Mapping[str, Any]]) -> list[frozenset[tuple[str, str]]]:
    """The latest tool rounds, oldest first: for each assistant turn the set of (tool, call + result)."""
    results: dict[str, Any] = {}
    found: list[frozenset[tuple[str, str]]] = []
    for message in map(mapping_of, reversed(messages)):
        if len(found) >= WINDOW:
            break
        if message.get("role") == "tool":
            results[str(message.get("tool_call_id"))] = message.get("content")
        elif message.get("tool_calls"):
            calls = frozenset(_calls(message, results))
            if calls:
                found.append(calls)
            results.clear()
    return found[::-1]


def _calls(message: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The answered calls of one assistant turn."""
    for call in list_of(message["tool_calls"]):
        function = field_of(call, "function")
        call_id = str(field_of(call, "id"))
        if call_id in results:
            yield str(field_of(function, "name")), call_evidence(field_of(function, "arguments"), results[call_id])
