"""What a conversation shows of its tool calls: rounds of calls with their results, the latest first.

A round is everything that one assistant turn asked for. Read are the chat shape (`tool_calls` and `tool` messages), the
Responses shape (`function_call`, `function_call_output`) and content blocks (`tool_use`, `tool_result`), as dicts or
as a library's objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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


class Turn:
    """An assistant turn that called tools, read only as far as it is asked about."""

    __slots__ = ("_messages", "_results", "ids", "position")

    def __init__(self, position: int, messages: list[Any], results: Results) -> None:
        self.position = position
        """Of its first message in the conversation."""
        self._messages = messages
        self._results = results
        self.ids = ids_of(messages)
        """Its calls' ids, a line each; empty where it has none."""

    def answered(self) -> list[Called]:
        """Its calls that have a result."""
        found = [call for one in self._messages for call in asked_for(one, self._results)]
        return [call for call in found if call.answered]

    @property
    def is_answered(self) -> bool:
        """Whether any of its calls has a result."""
        return any(map(self._results.__contains__, self.ids.split("\n")))


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


_GET: Callable[[Any, str], Any] = cast("Any", dict).get
_NONE: Final[Results] = {}
_ON_TOOLS: Final = Ending(monologue=0, name="", spoken=None, on_tools=True)


def turns_from_end(messages: Sequence[Any]) -> Iterator[Turn]:
    """The turns whose calls were answered, the latest first."""
    results: Results = {}
    items: list[Any] = []
    silent = 0
    for position in range(len(messages) - 1, -1, -1):
        message = messages[position]
        role = peek(message, "role")
        if role == "tool" and not items and len(results) < _RESULTS_MAX:
            results.setdefault(_word(peek(message, "tool_call_id")), (peek(message, "content"), False))
            continue
        if role is None and peek(message, "type") == "function_call":
            # Calls of one turn are items in a row.
            items.append(message)
            continue
        if items:
            yield from _answered(position + 1, items[::-1], results)
            items, results = [], {}
        if _calls_tools(message):
            yield from _answered(position, [message], results)
            results, silent = {}, 0
        else:
            silent += not _note_results(message, results)
            if silent > _SILENT_MAX or len(results) >= _RESULTS_MAX:
                return
    if items:
        yield from _answered(0, items[::-1], results)


def _answered(position: int, messages: list[Any], results: Results) -> Iterator[Turn]:
    turn = Turn(position, messages, results)
    if turn.is_answered:
        yield turn


def _calls_tools(message: Any) -> bool:
    return bool(list_of(peek(message, "tool_calls"))) or bool(asked_for(message))


def ids_of(messages: Sequence[Any]) -> str:
    """The ids of the calls of one turn or reply, a line each; empty where they have none."""
    found: list[str] = []
    for message in messages:
        if calls := list_of(peek(message, "tool_calls")):
            found += [_word(peek(call, "id")) for call in calls[:_CALLS_MAX]]
        else:
            found += [call.call_id for call in asked_for(message)]
    return found[0] if len(found) == 1 else "\n".join(found).strip()


def asked_for(message: Any, results: Results = _NONE) -> list[Called]:
    """The tool calls of one message or item, or of a reply, with their results where there are any."""
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


def messages_of(reply: Any) -> list[Any]:
    """What of an answer may call tools: its first choice's message, its items, or itself."""
    if choices := list_of(peek(reply, "choices")):
        return [peek(choices[0], "message")]
    return list(list_of(peek(reply, "output"))[:_CALLS_MAX]) or [reply]


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
        return _GET(value, name)
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
