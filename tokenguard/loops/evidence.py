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
from tokenguard.loops.canonical import plain, written

__all__ = [
    "BLOCKED_PREFIX",
    "FOLDED_PREFIX",
    "Called",
    "Ending",
    "Shown",
    "Turn",
    "asked_for",
    "ending",
    "ids_of",
    "messages_of",
    "peek",
    "reason_of",
    "same_value",
    "turns_from_end",
]

BLOCKED_PREFIX: Final = "[tokenguard] Not run: "
"""How the results begin that a model gets for a tool we did not run."""
FOLDED_PREFIX: Final = "[tokenguard folded "
"""How the marker begins that stands for a result we folded."""

_CALLS_MAX: Final = 128
"""Of one turn's calls so many are looked at."""
_SILENT_MAX: Final = 32
"""So many messages without a tool call are walked back over in search of one."""
_RESULTS_MAX: Final = 1_024
_ENDS: Final = 128
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

    @property
    def mark(self) -> int:
        """The same for the same tool and arguments, in this process."""
        return hash((self.tool, same_value(self.arguments)))


class Turn:
    """An assistant turn whose calls were answered, read only as far as it is asked about."""

    __slots__ = ("_calls", "_marks", "_messages", "_results", "after", "ids", "name", "position")

    def __init__(self, position: int, messages: list[Any], results: Results) -> None:
        self.position = position
        """Of its first message in the conversation."""
        self._messages = messages
        self._results = results
        self._calls: list[Called] | None = None
        self._marks: tuple[int, int] | None = None
        self.ids = ids_of(messages)
        """Its calls' ids, a line each; empty where it has none."""
        self.name = ""
        """Under which its round is noted; set by who looks for it."""
        self.after: Any = None
        """What a user said after it, where an answer in words came first; None: nothing. Known once it was found."""

    @classmethod
    def of_results(cls, results: Results) -> Turn:
        """The turn of calls that are not shown, by the ids in their results, the last one first."""
        turn = cls(0, [], results)
        turn._calls = [
            Called(call_id, "", None, result, answered=True, failed=failed)
            for call_id, (result, failed) in reversed(results.items())
            if call_id
        ]
        turn.ids = "\n".join([call.call_id for call in turn._calls])
        return turn

    @property
    def calls(self) -> list[Called]:
        """Its calls that have a result."""
        if self._calls is None:
            found = [call for one in self._messages for call in asked_for(one, self._results)]
            self._calls = [call for call in found if call.answered]
        return self._calls

    @property
    def is_answered(self) -> bool:
        """Whether any of its calls has a result."""
        ids = self.ids
        return ids in self._results or ("\n" in ids and any(map(self._results.__contains__, ids.split("\n"))))

    @property
    def marks(self) -> tuple[int, int]:
        """What it asked for and what it got, each as a number that is the same for the same in this process.

        What it asked for is 0 where only its results are known.
        """
        if self._marks is None:
            calls = self.calls
            if len(calls) == 1:
                (one,) = calls
                asked, got = one.mark, same_value(one.result)
            else:
                asked = hash(tuple([call.mark for call in calls]))
                got = hash(tuple([same_value(call.result) for call in calls]))
            self._marks = (asked if calls[0].tool else 0), got
        return self._marks


class Shown:
    """A conversation's turns, the latest first, read only as far back as they are looked at."""

    __slots__ = ("_head", "_left", "_turns", "messages")

    def __init__(self, messages: Sequence[Any]) -> None:
        self.messages = messages
        self._left = turns_from_end(messages)
        self._turns: list[Turn] = []
        self._head: int | None = None

    def turn(self, back: int) -> Turn | None:
        """The latest turn is 0; None: there are not so many."""
        turns = self._turns
        while len(turns) <= back:
            found = next(self._left, None)
            if found is None:
                return None
            turns.append(found)
        return turns[back]

    @property
    def head(self) -> int:
        """The same for conversations that begin with the same words, in this process; 0: it begins with none."""
        if self._head is None:
            first = next(iter(self.messages), None)
            if len(self.messages) > 1 and peek(first, "role") in ("system", "developer"):
                first = self.messages[1]
            content = None if peek(first, "role") == "assistant" else peek(first, "content")
            self._head = 0 if content is None else same_value(content)
        return self._head

    def begins(self) -> bool:
        """Whether nobody has answered yet: a conversation's first request."""
        latest = self.messages[-_SILENT_MAX:]
        return bool(latest) and all(peek(one, "role") in ("system", "developer", "user") for one in latest)


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
    """The turns whose calls were answered, the latest first; of a request with only results one turn of these."""
    walk = _Walk()
    found = False
    for position in range(len(messages) - 1, -1, -1):
        message = messages[position]
        role = peek(message, "role")
        if role == "tool" and not walk.items:
            walk.result(message)
        elif role is None and peek(message, "type") == "function_call":
            # Calls of one turn are items in a row.
            walk.items.append(message)
        else:
            if walk.items and (turn := walk.items_turn(position + 1)):
                found = True
                yield turn
            if turn := walk.own_turn(position, message):
                found = True
                yield turn
            elif not walk.goes_on(message, role):
                return
    last = walk.items_turn(0) or (None if found else walk.orphans())
    if last:
        yield last


class _Walk:
    """What was read since the latest turn was found, on the way back."""

    __slots__ = ("called", "items", "results", "silent", "spoken", "words")

    def __init__(self) -> None:
        self.results: Results = {}
        self.items: list[Any] = []
        self.called = False
        """The message at hand calls tools."""
        self.silent = 0
        self.words: Any = None
        """What a user said last."""
        self.spoken = False
        """An answer in words stands before them."""

    def result(self, message: Any) -> None:
        """Note a tool's message."""
        if len(self.results) < _RESULTS_MAX:
            self.results.setdefault(_word(peek(message, "tool_call_id")), (peek(message, "content"), False))

    def own_turn(self, position: int, message: Any) -> Turn | None:
        """The turn that one message is."""
        self.called = bool(list_of(peek(message, "tool_calls"))) or bool(asked_for(message))
        return self.turn(position, [message]) if self.called else None

    def items_turn(self, position: int) -> Turn | None:
        """The turn of the items in a row."""
        items, self.items = self.items[::-1], []
        return self.turn(position, items[:_CALLS_MAX]) if items else None

    def orphans(self) -> Turn | None:
        """The results of calls that the provider keeps (previous_response_id): only they are sent."""
        turn = Turn.of_results(self.results)
        return self.with_words(turn) if turn.calls else None

    def turn(self, position: int, messages: list[Any]) -> Turn | None:
        """The turn of these messages; None: not one of its calls was answered."""
        turn = Turn(position, messages, self.results)
        self.results, self.silent = {}, 0
        return self.with_words(turn) if turn.is_answered else None

    def with_words(self, turn: Turn) -> Turn:
        if self.spoken:
            turn.after = self.words
        self.words, self.spoken = None, False
        return turn

    def goes_on(self, message: Any, role: Any) -> bool:
        """Note a message that calls no tool; False: there are too many of them."""
        if self.called:
            return True
        if not _note_results(message, self.results):
            self.silent += 1
            if role == "user":
                self.words = peek(message, "content") if self.words is None else self.words
            elif role == "assistant" and self.words is not None:
                self.spoken = True
        return self.silent <= _SILENT_MAX and len(self.results) < _RESULTS_MAX


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


def same_value(value: Any) -> int:
    """A number that is the same for equal values, in this process; of a long text its length and its ends tell."""
    text = value if isinstance(value, str) else written(plain(value))
    return hash(text) if len(text) <= _ENDS else hash((len(text), text[:_ENDS], text[-_ENDS:]))


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
