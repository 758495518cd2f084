"""One round of tool calls as digests, counts and sizes, and how it is written down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple, cast

from tokenguard.core.untrusted import list_of, mapping_of
from tokenguard.loops.canonical import clipped, plain, written
from tokenguard.loops.evidence import BLOCKED_PREFIX
from tokenguard.loops.faults import error_class, is_transient
from tokenguard.loops.volatile import is_nonce, settled, unmarked

__all__ = ["Asked", "Digester", "Round", "Seen", "of_state", "text_of"]

_TELLING: Final = 200
"""So long a result, the same for calls that differ only in ids and times, is no acknowledgement of different work."""
_NAME_MAX: Final = 64
_KEYS_MAX: Final = 8
_SHORT: Final = 256
"""Names within so short arguments need no cutting."""
_CALLS_MAX: Final = 16
"""So many different calls of one round are kept."""


class Asked(NamedTuple):
    """A call before its result is known."""

    tool: str
    strict: str
    loose: str
    """Without ids and times; the same digest where there are none."""
    keys: tuple[str, ...]
    argument_bytes: int

    @property
    def either(self) -> tuple[str, str]:
        """Under these a `Seen` may have filed it."""
        return self.strict, self.loose


class Seen(NamedTuple):
    """A call with its result."""

    tool: str
    key: str
    """Digest of the tool and its arguments."""
    result: str
    error: str
    """Digest of the class of error that the result is; empty: none."""
    transient: bool
    blocked: bool
    folded: bool
    keys: tuple[str, ...]
    argument_bytes: int
    result_bytes: int

    @property
    def pair(self) -> str:
        """The same for the same call with the same result."""
        return self.key + self.result


class Round:
    """What one assistant turn asked for, or what ran together: each different call once."""

    __slots__ = (
        "answer",
        "begins",
        "caller",
        "cost_pico",
        "first",
        "folded",
        "head",
        "marks",
        "name",
        "pairs",
        "parent",
        "position",
        "root",
        "seen",
        "seq",
        "signature",
    )

    def __init__(self, seq: int, name: str, seen: Sequence[Seen], cost_pico: int = 0) -> None:
        self.seq = seq
        self.name = name
        self.cost_pico = cost_pico
        self.answer = 0
        """The number of the answer that asked for it and paid; 0: unknown."""
        self.parent = 0
        """The round before it in its conversation; 0: it is the first, -1: unknown."""
        self.root = seq
        """The first round of its conversation; of a tool, the stretch that its caller was in."""
        self.begins = False
        """A person spoke before it: it is not counted with those before."""
        self.position = 0
        """Where it stood in its conversation."""
        self.caller: int | None = None
        """Who ran it; None: anybody."""
        self.marks: tuple[int, int] = (0, 0)
        """Of its turn (`Turn.marks`), in this process; 0: unknown."""
        self.head = 0
        """Of its conversation (`Shown.head`), in this process; 0: unknown."""
        self.first = False
        """None of its calls was seen before: it can repeat nothing but an error."""
        self.seen: tuple[Seen, ...] = ()
        self.pairs: frozenset[str] = frozenset()
        self.folded = False
        """The result of one of its calls was folded by us."""
        self.signature = ""
        """The same for rounds of the same calls with the same results; empty where waiting may change them."""
        self.add(seen)

    @property
    def paid_by(self) -> int:
        """What it is known by where its cost is added up."""
        return self.answer or self.seq

    def add(self, seen: Sequence[Seen]) -> None:
        """More calls of the same round; equal ones count once."""
        if len(seen) == 1 and not self.seen:
            one = seen[0]
            self.seen, self.folded = (one,), one.folded
            if not one.transient:
                self.signature = one.key + one.result
                self.pairs = frozenset((self.signature,))
            return
        if len(seen) > 1 or self.seen:
            by_pair = {one.pair: one for one in (*self.seen, *seen)}
            seen = [by_pair[pair] for pair in sorted(by_pair)[:_CALLS_MAX]]
        self.seen = tuple(seen)
        self.pairs = frozenset([one.pair for one in seen if not one.transient])
        self.folded = any(one.folded for one in seen)
        self.signature = "".join([one.pair for one in seen]) if self.pairs else ""

    def state(self) -> list[Any]:
        """As JSON."""
        calls = [
            [
                one.tool,
                one.key,
                one.result,
                one.error,
                one.transient + 2 * one.blocked + 4 * one.folded,
                list(one.keys),
                one.argument_bytes,
                one.result_bytes,
            ]
            for one in self.seen
        ]
        places = [self.seq, self.cost_pico, self.answer, self.parent, self.root, int(self.begins), self.position]
        return [self.name, places, calls]


def of_state(state: Any) -> Round:
    """The round that `Round.state` wrote.

    Raises:
        ValueError: something else wrote it.
    """
    name, places, calls = list_of(state)
    if type(name) is not str or not all(type(one) is int for one in places):
        raise ValueError("not a round of ours")
    seen: list[Seen] = []
    for tool, key, result, error, flags, keys, *sizes in calls:
        words = (tool, key, result, error, *keys)
        if not all(type(one) is str for one in words) or not all(type(one) is int for one in (flags, *sizes)):
            raise ValueError("not a round of ours")
        marks = bool(flags & 1), bool(flags & 2), bool(flags & 4)
        seen.append(Seen(tool, key, result, error, *marks, tuple(keys), *sizes))
    seq, cost_pico, answer, parent, root, begins, position = places
    one = Round(seq, name, seen, cost_pico)
    one.answer, one.parent, one.root, one.begins, one.position = answer, parent, root, bool(begins), position
    return one


class Digester:
    """Makes keyed digests, so that equal texts show only to those who have the ledger."""

    __slots__ = ("_empty", "_folded")

    def __init__(self, key: bytes, folded: str) -> None:
        # Copying it is twice as fast as taking the key in again.
        self._empty = blake2b(digest_size=8, key=key[:64])
        self._folded = folded

    def of(self, text: str) -> str:
        """16 hex digits."""
        digest = self._empty.copy()
        digest.update(text.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def asked(self, tool: str, arguments: Any) -> Asked:
        """A call, by its tool and arguments; those that only make it differ from the last one are left out."""
        value = plain(arguments)
        keys: tuple[str, ...] = ()
        if type(value) is dict:
            named = cast("dict[str, Any]", value)
            keys = tuple(named)
            if True in map(is_nonce, keys):
                value = {name: one for name, one in named.items() if not is_nonce(name)}
            keys = tuple(sorted(keys[:_KEYS_MAX]))
        text = written(value)
        if len(text) > _SHORT:
            keys = tuple(name[:_NAME_MAX] for name in keys)
        tool = tool[:_NAME_MAX]
        strict = self.of(f"{tool}\n{text}")
        loose = unmarked(text)
        return Asked(tool, strict, strict if loose is text else self.of(f"{tool}\n{loose}"), keys, len(text))

    def seen(self, call: Asked, result: Any, *, failed: bool, past: Iterable[Round]) -> Seen:
        """The call with its result. One of our own blocks repeats what it gave before, in `past`, the latest first."""
        text = text_of(result)
        if text.startswith(BLOCKED_PREFIX):
            return _blocked(call, past)
        error = error_class(text, failed=failed or isinstance(result, BaseException))
        transient = is_transient(text, error)
        bytes_ = len(text)
        # Text of a tool that poses as a line of ours was sent with a bracket more.
        folded = bool(self._folded) and self._folded in text[:_TELLING].replace(f"[{self._folded}", "")
        text = settled(text)
        key = call.loose if len(text) >= _TELLING else call.strict
        kind = self.of(f"{call.tool}\n{error}") if error else ""
        return Seen(
            tool=call.tool,
            key=key,
            result=self.of(text),
            error=kind,
            transient=transient,
            blocked=False,
            folded=folded,
            keys=call.keys,
            argument_bytes=call.argument_bytes,
            result_bytes=bytes_,
        )


def _blocked(call: Asked, past: Iterable[Round]) -> Seen:
    """What the call gave the last time, as one more of the same."""
    earlier = (seen for one in past for seen in one.seen if seen.key in call.either)
    if latest := next(earlier, None):
        return latest._replace(blocked=True)
    return Seen(
        tool=call.tool,
        key=call.strict,
        result="blocked",
        error="",
        transient=False,
        blocked=True,
        folded=False,
        keys=call.keys,
        argument_bytes=call.argument_bytes,
        result_bytes=0,
    )


def text_of(result: Any) -> str:
    """A result as text: as it is, the text of its content blocks, an exception's name and words, else as JSON."""
    if isinstance(result, str):
        return clipped(result)
    if isinstance(result, BaseException):
        try:
            return clipped(f"{type(result).__name__}: {result}")
        # An exception's words are anybody's code.
        except Exception:  # noqa: BLE001
            return type(result).__name__
    if isinstance(result, list | tuple):
        blocks = cast("Sequence[Any]", result)[:_CALLS_MAX]
        texts = [mapping_of(block).get("text") for block in blocks]
        if texts and all(isinstance(text, str) for text in texts):
            return clipped("\n".join(cast("list[str]", texts)))
    return written(plain(result))
