"""A whole prompt through the stages, result by result, each a function of what stands before it.

What was decided for a result is remembered with the results before it, as a tree of conversations: the next request
of an agent walks down the path it took before and folds only what is new, so a byte that was sent is sent again, and
after a restart the same prompt becomes the same bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from tokenguard.core.folding import Folding, Level
from tokenguard.core.forks import renew_in_children
from tokenguard.prompt.entry import Entered, Entrance, Step
from tokenguard.prompt.learned import LearnedFolder
from tokenguard.prompt.markers import TOOL_NAME
from tokenguard.prompt.places import Place, places, written
from tokenguard.prompt.refer import History, referred_in

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Change", "Folded", "Folder"]

_CHARACTERS_MAX: Final = 16_000_000
"""So much text of results is remembered per generation; what is in use stays."""


@dataclass(frozen=True, slots=True)
class Change:
    """What was done to one tool result."""

    message: int
    """Index of its message."""
    tool: str
    """Empty: not known."""
    steps: tuple[Step, ...]
    marker: str | None = None
    """Under which the original is in the recovery store."""

    @property
    def tokens_saved(self) -> int:
        """Fewer tokens than as it came."""
        return sum(one.tokens_before - one.tokens_after for one in self.steps)


@dataclass(frozen=True, slots=True)
class Folded:
    """A prompt as it is sent, and what was done to it."""

    messages: list[Any]
    """Shares everything that was not changed with the prompt that was given."""
    changes: tuple[Change, ...] = ()
    originals: Mapping[str, str] = field(default_factory=dict[str, str])
    """Texts that must be in the recovery store before this is sent, by marker."""
    pinned: frozenset[int] = frozenset()
    """Indices of messages that other results refer to."""
    broken: int = 0
    """Tokens behind the first sent byte that this request changes, which the provider writes to its cache again."""
    restored: tuple[str, ...] = ()
    """Tools whose result came back because it had been folded, and is now sent as it came."""
    faults: tuple[tuple[str, Exception], ...] = ()
    """Stages that failed, by name; what they were to change was sent as it came."""
    defused: int = 0
    """Results that held what could be taken for a line of ours."""

    @property
    def tokens_saved(self) -> int:
        """Fewer tokens than as it came."""
        return sum(one.tokens_saved for one in self.changes)


class _Fate(Enum):
    """What may happen to a result on its way in."""

    FREE = 0
    """Whatever its level does."""
    NOTHING_LEFT_OUT = 1
    """Nothing may be left out: no way back exists. It may still be referred to."""
    IN_FULL = 2
    """It is neither referred to nor shortened."""


@dataclass(slots=True, eq=False)
class _Node:
    """One result on a path of results, with what was decided for it."""

    above: _Node | None
    place: Place | None
    entered: Entered
    restored: bool = False
    history: History | None = None
    """Of the path up to here, until the first node below takes it over."""
    below: dict[tuple[str, str, _Fate], _Node] = field(default_factory=dict[tuple[str, str, _Fate], "_Node"])

    def take_history(self) -> History:
        """The history up to here, to extend: the first who goes on takes it, whoever branches off reads it anew."""
        history, self.history = self.history, None
        if history is not None:
            return history
        path: list[_Node] = []
        node: _Node | None = self
        while node is not None and node.place is not None:
            path.append(node)
            node = node.above
        history = History()
        for one in reversed(path):
            assert one.place is not None, "only a root has none"
            _note(history, one.place, one.entered)
        return history


def _note(history: History, place: Place, entered: Entered) -> None:
    plain, shortened = entered.text == place.text, entered.marker is not None
    history.add(place.text, place.tool, plain=plain, shortened=shortened)


class Folder:
    """Folds the prompts of one guard. Safe to use from any thread.

    Args:
        folding: The level and what goes with it.
        count: Tokens of a text for a model.
        now_s: Monotonic seconds.
    """

    def __init__(
        self,
        folding: Folding,
        count: Callable[[str, str], int],
        now_s: Callable[[], float],
        *,
        characters_max: int = _CHARACTERS_MAX,
    ) -> None:
        self.folding = folding
        self._count, self._now_s = count, now_s
        self._characters_max = characters_max
        self._learned = LearnedFolder(folding.learned) if folding.learned else None
        self._roots: dict[str, _Node] = {}
        self._characters = 0
        self.renew_lock()
        renew_in_children(self)

    def renew_lock(self) -> None:
        """In a forked child: see `core.forks`."""
        self._lock = threading.Lock()

    def fold(
        self, model: str, messages: Sequence[Any], *, whole_from: int | None = None, leaves_out: bool = True
    ) -> Folded:
        """The prompt as it is sent.

        Args:
            model: Whose tokens count.
            messages: Of a chat, or items of the responses API; nothing in them is changed.
            whole_from: Results in messages from this index on are said in full: neither referred to nor shortened.
                None: all may be.
            leaves_out: Whether stages may act that leave text out.
        """
        if self.folding.level is Level.OFF:
            return Folded(list(messages))
        with self._lock:
            freest = _Fate.FREE if leaves_out else _Fate.NOTHING_LEFT_OUT
            return self._fold(model, messages, len(messages) if whole_from is None else whole_from, freest)

    def _fold(self, model: str, messages: Sequence[Any], whole_from: int, freest: _Fate) -> Folded:
        work = _Folding(messages)
        entrance = Entrance(self.folding, lambda text: self._count(model, text), self._now_s, self._learned)
        node = self._root(model)
        for place in places(messages):
            fate = _Fate.IN_FULL if place.message >= whole_from else freest
            key = place.text, place.tool, fate
            following = node.below.get(key)
            if following is None:
                following = node.below[key] = self._follow(node, place, entrance, fate)
                work.note_new(following)
            node = following
            work.note(place, node)
        return work.done()

    def _root(self, model: str) -> _Node:
        """Where the conversations of a model begin. A full memory begins anew: what is in use is folded once more."""
        if self._characters > self._characters_max:
            self._roots, self._characters = {}, 0
        root = self._roots.get(model)
        if root is None:
            root = self._roots[model] = _Node(None, None, Entered(""))
        return root

    def _follow(self, node: _Node, place: Place, entrance: Entrance, fate: _Fate) -> _Node:
        """The node of one more result: what is sent for it after these."""
        self._characters += len(place.text)
        history = node.take_history()
        restored = self.folding.level >= Level.LOSSLESS and history.comes_back(place.text)
        if entrance.shields(place.tool, place.text):
            entered = Entered(place.text)
        elif restored or place.tool == TOOL_NAME or entrance.is_short(place.text):
            entered = entrance.whole(place.text)
        else:
            entered = self._decided(place.text, history, entrance, fate)
        _note(history, place, entered)
        return _Node(node, place, entered, restored, history)

    def _decided(self, text: str, history: History, entrance: Entrance, fate: _Fate) -> Entered:
        """What is sent for a result that may be folded."""
        refers = fate is not _Fate.IN_FULL and self.folding.does("refer", Level.LOSSLESS)
        line = history.whole(text) if refers else None
        if line is not None:
            # The second time says where it stands; whoever asks a third time gets it again.
            return entrance.whole(text) if history.times(text) > 1 else entrance.take("refer", text, line)
        entered = entrance.enter(text, shortens=fate is _Fate.FREE)
        parts = history.parts(entered.text) if refers and not entered.steps else None
        if parts is None:
            return entered
        referred = entrance.take("refer", entered.text, parts)
        return replace(referred, faults=entered.faults) if referred.steps else entered


class _Folding:
    """One prompt while it is folded."""

    def __init__(self, messages: Sequence[Any]) -> None:
        self._messages = messages
        self._texts: dict[int, dict[Any, str]] = {}
        self._changes: list[Change] = []
        self._new: list[_Node] = []
        self._restored: list[str] = []
        self._originals: dict[str, str] = {}
        self._places: list[int] = []
        self._referred: set[int] = set()
        self._defused = 0

    def note_new(self, node: _Node) -> None:
        """A result that no earlier prompt had after the same results."""
        self._new.append(node)

    def note(self, place: Place, node: _Node) -> None:
        """What is sent for a result."""
        entered = node.entered
        if node.restored:
            self._restored.append(place.tool)
        self._places.append(place.message)
        if any(step.stage == "refer" for step in entered.steps):
            self._referred.update(self._places[position - 1] for position in referred_in(entered.text))
        if entered.text is not place.text:
            self._texts.setdefault(place.message, {})[place.path] = entered.text
            self._defused += entered.defused
        if entered.steps:
            self._changes.append(Change(place.message, place.tool, entered.steps, entered.marker))
        if entered.marker is not None:
            self._originals[entered.marker] = place.text

    def done(self) -> Folded:
        """All of it."""
        messages = written(self._messages, self._texts) if self._texts else list(self._messages)
        return Folded(
            messages,
            tuple(self._changes),
            self._originals,
            pinned=frozenset(self._referred),
            restored=tuple(self._restored),
            faults=tuple(fault for one in self._new for fault in one.entered.faults),
            defused=self._defused,
        )
