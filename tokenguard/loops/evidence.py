"""What a conversation shows of its tool calls: rounds of calls with their results, the latest first.

A round is everything that one assistant turn asked for. Read are the chat shape (`tool_calls` and `tool` messages), the
Responses shape (`function_call`, `function_call_output`) and content blocks (`tool_use`, `tool_result`), as dicts or
as a library's objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias, cast

from tokenguard.core.untrusted import field_of, list_of

__all__ = [
    "BLOCKED_PREFIX",
    "FOLDED_PREFIX",
    "Called",
    "Ending",
    "Turn",
    "asked_for",
    "ending",
    "peek",
    "turns_from_end",
]

BLOCKED_PREFIX: Final = "[tokenguard] "
"""How the results begin that a model gets for a tool we did not run."""
FOLDED_PREFIX: Final = "[tokenguard folded "
"""How the marker begins that stands for a result we folded."""

_CALLS_MAX: Final = 128
"""Of one turn's calls so many are looked at."""
_SILENT_MAX: Final = 32
"""So many messages without a tool call are walked back over in search of one."""
_RESULTS_MAX: Final = 1_024
"""So many results in a row as well."""


Results: TypeAlias = dict[str, tuple[Any, bool]]
"""By a call's id what it gave, and whether the message calls it an error."""


class Called(NamedTuple):
    """One call of a turn, as it stands in the messages."""

    call_id: str
    tool: str
    arguments: Any
    result: Any
    answered: bool
    failed: bool
    """The message says itself that the result is an error."""


@dataclass(slots=True)
class Turn:
    """An assistant turn that called tools."""

    position: int
    """Of its message in the conversation."""
    calls: list[Called] = field(default_factory=list[Called])

    @property
    def answered(self) -> bool:
        """Whether any of its calls has a result."""
        calls = self.calls
        return calls[0].answered if len(calls) == 1 else any(call.answered for call in calls)

    @property
    def ids(self) -> str:
        """Its calls' ids in one text; empty where it has none."""
        calls = self.calls
        return calls[0].call_id if len(calls) == 1 else "\n".join([call.call_id for call in calls]).strip()


@dataclass(frozen=True, slots=True)
class Ending:
    """How a conversation ends."""

    monologue: int
    """Assistant messages in a row at the end, without tool calls, by one name."""
    name: str
    spoken: Any
    """What the user said after the latest tool round; None: nothing."""
    on_tools: bool
    """The latest tool round is what it ends with, apart from what the user or the system said after it."""


_NONE: Final[Results] = {}
_ON_TOOLS: Final = Ending(monologue=0, name="", spoken=None, on_tools=True)


def turns_from_end(messages: Sequence[Any]) -> Iterator[Turn]:
    """The turns whose calls were answered, the latest first."""
    results: Results = {}
    items: Turn | None = None
    silent = 0
    for position in range(len(messages) - 1, -1, -1):
        message = messages[position]
        if items is None and peek(message, "role") == "tool" and len(results) < _RESULTS_MAX:
            _note_results(message, results)
            continue
        calls = asked_for(message, results)
        if calls and peek(message, "type") == "function_call":
            # Calls of one turn are items in a row.
            items = Turn(position, calls + (items.calls if items else []))
            continue
        if items is not None:
            if items.answered:
                yield items
            items = None
            results = {}
        if calls:
            turn = Turn(position, calls)
            if turn.answered:
                yield turn
            results = {}
            silent = 0
        else:
            silent += not _note_results(message, results)
            if silent > _SILENT_MAX or len(results) >= _RESULTS_MAX:
                return
    if items is not None and items.answered:
        yield items


def asked_for(message: Any, results: Results = _NONE) -> list[Called]:
    """The tool calls of one message or item, or of a reply, with their results where there are any."""
    if peek(message, "role") == "tool":
        return []
    if calls := list_of(peek(message, "tool_calls")):
        return [_chat_call(call, results) for call in calls[:_CALLS_MAX]]
    if peek(message, "type") == "function_call":
        return [_called(peek(message, "call_id"), peek(message, "name"), peek(message, "arguments"), results)]
    content = peek(message, "content")
    if isinstance(content, list | tuple):
        return [
            _called(peek(block, "id"), peek(block, "name"), peek(block, "input"), results)
            for block in cast("Sequence[Any]", content)[:_CALLS_MAX]
            if peek(block, "type") == "tool_use"
        ]
    return []


def _chat_call(call: Any, results: Results) -> Called:
    function = peek(call, "function")
    return _called(peek(call, "id"), peek(function, "name"), peek(function, "arguments"), results)


def _called(call_id: Any, tool: Any, arguments: Any, results: Results) -> Called:
    call_id = _word(call_id)
    given = results.get(call_id)
    if given is None:
        return Called(call_id, _word(tool), arguments, result=None, answered=False, failed=False)
    return Called(call_id, _word(tool), arguments, given[0], answered=True, failed=given[1])


def calls_of(reply: Any) -> list[Called]:
    """The tool calls of an answer: of its first choice, its items or its content blocks."""
    if choices := list_of(peek(reply, "choices")):
        return asked_for(peek(choices[0], "message"))
    items = list_of(peek(reply, "output"))
    return [call for item in items for call in asked_for(item)] if items else asked_for(reply)


def reason_of(reply: Any) -> Any:
    """Why an answer ended, where it says so."""
    choices = list_of(peek(reply, "choices"))
    return peek(choices[0], "finish_reason") if choices else None


def ending(messages: Sequence[Any]) -> Ending:
    """How the conversation ends; looks at its last 64 messages at most."""
    if messages and peek(messages[-1], "role") == "tool":
        return _ON_TOOLS
    monologue, name, spoken, on_tools = 0, "", None, False
    for position in range(len(messages) - 1, max(-1, len(messages) - 1 - _SILENT_MAX), -1):
        message = messages[position]
        role = peek(message, "role")
        if role == "assistant" and not asked_for(message):
            if spoken is not None:
                break
            speaker = _word(peek(message, "name"))
            if monologue and speaker != name:
                break
            monologue, name = monologue + 1, speaker
        elif _note_results(message, {}):
            on_tools = not monologue
            break
        elif role == "user":
            if monologue:
                break
            spoken = peek(message, "content") if spoken is None else spoken
        elif asked_for(message):
            break
    return Ending(monologue, name, spoken, on_tools)


def _note_results(message: Any, results: Results) -> bool:
    """Note the results that a message carries; whether it carries any. The first of two for one call is the newer."""
    if peek(message, "role") == "tool":
        results.setdefault(_word(peek(message, "tool_call_id")), (peek(message, "content"), False))
        return True
    if peek(message, "type") == "function_call_output":
        results.setdefault(_word(peek(message, "call_id")), (peek(message, "output"), False))
        return True
    content = peek(message, "content")
    carries = False
    if isinstance(content, list | tuple):
        for block in cast("Sequence[Any]", content)[:_CALLS_MAX]:
            if peek(block, "type") == "tool_result":
                failed = peek(block, "is_error") is True
                results.setdefault(_word(peek(block, "tool_use_id")), (peek(block, "content"), failed))
                carries = True
    return carries


def peek(value: Any, name: str) -> Any:
    """A field, or None where there is none or reading it fails."""
    if type(value) is dict:
        return cast("Mapping[str, Any]", value).get(name)
    if value is None or isinstance(value, str):
        return None
    try:
        return field_of(value, name)
    # Messages may be anybody's objects, and what reads them must never harm the call they are for.
    except Exception:  # noqa: BLE001
        return None


def _word(value: Any) -> str:
    """A name or id as a short text; anything else as none."""
    return value[:200] if isinstance(value, str) else ""
