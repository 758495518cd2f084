"""Who pays: the tree of live runs, agents and steps, and the context variable that says where a call is made.

A `Node` is a run, agent or step that lives in this process; a `Frame` is one entry of the context: a node, or a plain
`guard.scope(...)`. Frames of several guards may interleave; each guard sees its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tokenguard.calls.holders import Holders
from tokenguard.core.account import Path, Scope
from tokenguard.core.books import Kind
from tokenguard.core.budget import Budget, Limits
from tokenguard.core.ladder import Ladder, Rung
from tokenguard.core.tree import paces
from tokenguard.loops.finding import Finding
from tokenguard.loops.memory import LoopMemory
from tokenguard.prompt.state import FoldState

if TYPE_CHECKING:
    from tokenguard.errors import SpendStopped

__all__ = ["Frame", "Node", "current", "enter", "entered", "here", "leave", "scopes_for"]


_STREAMS_SEEN: Final = 10


@dataclass(slots=True, eq=False, weakref_slot=True)
class Node:
    """One live run, agent or step. Counters are changed under the guard's tree lock."""

    id: str
    kind: Kind
    name: str
    parent: Node | None
    labels: Mapping[str, str]
    began_s: float
    """Monotonic seconds."""
    wall_s: float | None = None
    limits: Limits | None = None
    """Own limits, by which the ledger counts what is below this node in every process, and this one what flows here."""
    joined_root: str | None = None
    """Where the node lives in another process: its root there, whose tree it and all below it belong to."""
    stopped: SpendStopped | None = None
    """Set where this process knows of a stop; the ledger's closure is what holds across processes."""
    final_call: str | None = None
    """The call that took the reserve for the final answer; only its attempts may spend it."""
    final_ended: bool = False
    """That call is over: what is short from now on closes the run."""
    flow: deque[tuple[float, int, int]] = field(default_factory=deque[tuple[float, int, int]])
    """(monotonic seconds, pico-USD, tokens) of the last minute, where velocity is limited."""
    streams: Holders[Any] = field(default_factory=Holders[Any])
    memory: LoopMemory | None = None
    """What this run did lately, for the repetition rules; None: nothing yet."""
    pending: dict[str, Finding] = field(default_factory=dict[str, Finding])
    """Repetitions that a call is told of or refused for, by its prompt's digest; by none: what the next one is told."""
    told: dict[str, tuple[int, Rung]] = field(default_factory=dict[str, "tuple[int, Rung]"])
    """How far the latest repetitions were told to the sinks, by fingerprint."""
    climbed: set[Rung] = field(default_factory=set[Rung])
    """Rungs by what is spent that were told to the sinks."""
    streams_seen: deque[bool] = field(default_factory=lambda: deque[bool](maxlen=_STREAMS_SEEN))
    """Of the latest streams: whether their text went in circles."""
    folding: FoldState = field(default_factory=FoldState)
    """What was done to this run's prompts."""
    kept_s: float = float("-inf")
    """When the ledger was told last what repeats."""
    agent: str | None = field(init=False)
    """Name of the innermost agent."""
    paced: tuple[str, ...] = field(init=False)
    """Ids of those from the root to here that limit money or tokens per minute."""
    _root: Node | None = field(init=False, repr=False)
    _run: Node | None = field(init=False, repr=False)
    _root_id: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Found once, because every call asks; None stands for this node, which would else keep itself alive.
        parent = self.parent
        above = None if parent is None else parent.agent
        self.agent = self.name if self.kind is Kind.AGENT else above
        outer = () if parent is None else parent.paced
        self.paced = (*outer, self.id) if paces(self.limits) else outer
        self._root = None if parent is None else parent.root
        self._run = None if self.kind is not Kind.STEP or parent is None else parent.run
        self._root_id = self.joined_root or (self.id if parent is None else parent.root_id)

    @property
    def lineage(self) -> Iterator[Node]:
        """This node and its ancestors, innermost first."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent

    @property
    def root(self) -> Node:
        """The outermost node."""
        return self._root or self

    @property
    def root_id(self) -> str:
        """The root of the tree in whose receipt this node is; what pays is the whole lineage."""
        return self._root_id

    @property
    def run(self) -> Node:
        """The innermost run or agent: this node, unless it is a step."""
        return self._run or self

    @property
    def run_ids(self) -> tuple[str, ...]:
        """Ids of all nodes from the root to this one; a closure of any closes it."""
        return tuple(reversed([node.id for node in self.lineage]))

    @property
    def runs(self) -> tuple[str, ...]:
        """Ids of the runs and agents from the root to here; steps are no nodes of the tree in this sense."""
        return tuple(reversed([node.id for node in self.lineage if node.kind is not Kind.STEP]))

    def stop(self) -> SpendStopped | None:
        """The outermost stop that this process knows of."""
        found: SpendStopped | None = None
        for node in self.lineage:
            found = node.stopped or found
        return found


_LADDER: Final = Ladder()


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One entry of the context."""

    owner: object
    """The guard it belongs to."""
    outer: Frame | None
    node: Node | None
    scope: str
    """Path of the guard's scopes, such as `acme/search`."""
    scopes: tuple[Scope, ...]
    """Everything that pays for a call made here, root → leaf."""
    ladder: Ladder = _LADDER
    """What is done before a call here must be refused; the innermost scope that was given one decides."""
    path: Path = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.scopes))


def here() -> object:
    """The task or thread that runs this."""
    try:
        return asyncio.current_task() or threading.get_ident()
    except RuntimeError:
        return threading.get_ident()


_CURRENT: ContextVar[Frame | None] = ContextVar("tokenguard_frame", default=None)


def entered() -> Frame | None:
    """The innermost frame of this context, of any guard."""
    return _CURRENT.get()


def current(owner: object) -> Frame | None:
    """The innermost frame of one guard."""
    frame = _CURRENT.get()
    while frame is not None and frame.owner is not owner:
        frame = frame.outer
    return frame


def enter(frame: Frame) -> Token[Frame | None]:
    """Make a frame the innermost one of this context."""
    return _CURRENT.set(frame)


def leave(frame: Frame, token: Token[Frame | None]) -> None:
    """Leave a frame; tolerated from another context, where async fixtures and FastAPI dependencies end."""
    try:
        _CURRENT.reset(token)
    except ValueError:
        # The context that entered is gone or elsewhere. Only undo here what is really here.
        if _CURRENT.get() is frame:
            _CURRENT.set(frame.outer)


def scopes_for(kind: Kind, node_id: str, name: str, scope: str, budgets: tuple[Budget, ...]) -> tuple[Scope, ...]:
    """The scopes that a run, agent or step adds to its path: its name over time first, then this one entry.

    The name is on the path of runs and agents even without a budget, so that one which a person sets on it binds.
    """
    over_time = tuple(budget for budget in budgets if budget.per != "run")
    once = tuple(budget for budget in budgets if budget.per == "run")
    entry = Scope(f"run:{node_id}", f"{kind} {name}", once)
    if kind is Kind.STEP and not over_time:
        return (entry,)
    path = f"{scope}/{name}" if scope else name
    return (Scope(f"{kind}:{path}", f"{kind} {path}", over_time), entry)
