"""The ports a guarded call needs, assembled once by the facade."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar
from weakref import WeakValueDictionary

from tokenguard.calls.holders import Holders
from tokenguard.calls.reaper import Reaper
from tokenguard.calls.scope import Node
from tokenguard.calls.shares import Shares
from tokenguard.calls.sizes import Sizes
from tokenguard.calls.terms import KnownTerms
from tokenguard.calls.waiting import Lines
from tokenguard.calls.watch import Watch
from tokenguard.core.clock import Clock
from tokenguard.core.events import Event
from tokenguard.core.forks import renew_in_children
from tokenguard.core.ids import Ids
from tokenguard.core.ports import Backend, Ledger, PriceBook, RetryPolicy, TokenCounter
from tokenguard.loops.semantic import Embedder
from tokenguard.prompt.state import FoldState

if TYPE_CHECKING:
    from tokenguard.calls.routes import Routes
    from tokenguard.errors import SpendStopped
    from tokenguard.prompt.folder import Folder

__all__ = ["EXECUTOR_THREADS", "LateParts", "Parts", "Splitter"]

EXECUTOR_THREADS: Final = 4
"""Ledger work of asyncio runs here, never on asyncio's default executor, which waiters of the application may fill."""

R = TypeVar("R")
Splitter = Callable[..., Any]


def _new_executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(EXECUTOR_THREADS, thread_name_prefix="tokenguard")


@dataclass(slots=True, eq=False)
class Parts:
    """What a guarded call works with. One per guard."""

    ledger: Ledger
    backend: Backend
    prices: PriceBook
    counter: TokenCounter
    split_usage: Splitter
    """`pricing.shapes.split_usage`: a provider's usage as disjoint leaves."""
    served_tier: Callable[..., str | None]
    """`pricing.shapes.served_tier`: the table of a card that a reply was billed by."""
    retry: Callable[[int | None], RetryPolicy]
    clock: Clock
    ids: Ids
    emit: Callable[[Event], None]
    hears: Callable[[type[Event]], bool]
    """Whether anybody listens to facts of a type."""
    owner: str
    """The process, as the ledger knows it."""
    new_owner: Callable[[], str]
    """What the ledger calls this process after a fork."""
    owner_key: object
    """The guard itself: whose frames of the context are meant."""
    refused: Mapping[str, str]
    """Options that are refused by name, with the reason."""
    warm: Callable[[], None]
    """Loads what the first call would load: LiteLLM, price data, a tokenizer."""
    mode: Literal["enforce", "observe"] = "enforce"
    busy: Literal["wait", "raise"] = "wait"
    busy_timeout_s: float = 60.0
    baggage_hosts: frozenset[str] = frozenset()
    """Hosts that are told which run calls them."""
    trust_baggage: bool = False
    """Whether callers of this service may say which run they belong to."""
    loop_key: bytes | None = None
    """Keys the digests of what runs repeat, the same for every process of the ledger; None: not asked for yet."""
    tool_keys: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What makes two calls of a guarded tool equal, by its name, where not all arguments do."""
    embedders: dict[str, Embedder] = field(default_factory=dict[str, "Embedder"])
    """What finds answers similar, by the folder of its model."""
    folder: Folder | None = None
    """Makes prompts smaller; None: they are sent as they come."""
    routes: Routes | None = None
    """Who answers for which model's name; None: nobody but the model itself."""
    folding_outside: FoldState = field(default_factory=FoldState)
    """What was done to prompts outside any run."""
    shares: Shares = field(default_factory=Shares)
    """How much of the caps is spent, as this process saw it last."""
    lines: Lines = field(default_factory=Lines)
    streams: Holders[Any] = field(default_factory=Holders[Any])
    """Streams that are open in this process."""
    charges: Holders[Any] = field(default_factory=Holders[Any])
    """Charges that are open in this process."""
    nodes: WeakValueDictionary[str, Node] = field(default_factory=WeakValueDictionary[str, Node])
    """Runs, agents and steps that live in this process, by id."""
    reaper: Reaper = field(default_factory=Reaper)
    """Does what finalizers leave behind."""
    tree_lock: threading.RLock = field(default_factory=threading.RLock)
    executor: ThreadPoolExecutor = field(default_factory=_new_executor)
    announced: dict[str, None] = field(default_factory=dict[str, None])
    """Shared accounts, and when they have room again, whose stop was announced in this process; oldest first."""

    sizes: Sizes = field(init=False)
    """Tokens of messages."""
    watch: Watch = field(init=False)
    terms: KnownTerms = field(init=False)
    jitter: Callable[[], float] = random.random
    """0 ≤ x < 1, for the times between two looks."""

    def __post_init__(self) -> None:
        self.sizes = Sizes(self.counter.count)
        self.watch = Watch(self)
        self.terms = KnownTerms(refused=self.refused, enforce=self.enforce, written=self.counter.written)

    def renew_after_fork(self) -> None:
        """In a forked child: threads, locks and connections of the parent are not usable here."""
        for holder in (*self.streams.snapshot(), *self.charges.snapshot()):
            holder.claim()  # The parent settles it; this copy must neither book nor close the shared connection.
        self.tree_lock = threading.RLock()
        self.lines = Lines()
        self.streams, self.charges, self.reaper = Holders(), Holders(), Reaper()
        self.watch = Watch(self)
        self.executor = _new_executor()
        self.owner = self.new_owner()
        self.ledger.dispose(forked=True)

    def submit(self, work: Callable[[], R]) -> Future[R]:
        """Run ledger work off the caller's thread; after `close` and at interpreter exit, here and now."""
        try:
            return self.executor.submit(work)
        except RuntimeError:
            done: Future[R] = Future()
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001  # as an executor does
                done.set_exception(error)
            return done

    def mark(self, run_id: str, stop: SpendStopped | None) -> None:
        """Let the nodes of this process know that a run was stopped, or goes on."""
        node = self.nodes.get(run_id)
        if node is not None:
            node.stopped = stop
            self.watch.halt()

    @property
    def enforce(self) -> bool:
        """Whether verdicts bind."""
        return self.mode == "enforce"


class LateParts:
    """Parts that are assembled when they are first needed, because opening books and loading LiteLLM takes seconds."""

    def __init__(self, build: Callable[[], Parts]) -> None:
        self._build = build
        self._parts: Parts | None = None
        self._warm = False
        self.tool_keys: dict[str, Any] = {}
        """As `Parts.tool_keys`; tools are decorated before there are parts."""
        self.renew_lock()
        renew_in_children(self)

    def renew_lock(self) -> None:
        """In a forked child: see `core.forks`. What a thread of the parent was building is built here again."""
        self._lock = threading.Lock()

    @property
    def built(self) -> Parts | None:
        """The parts, where somebody needed them before."""
        return self._parts

    def get(self) -> Parts:
        """The parts, assembled now if need be."""
        if self._parts is None:
            with self._lock:
                if self._parts is None:
                    self._parts = self._build()
        return self._parts

    async def aget(self) -> Parts:
        """The same without stopping the loop; the backend's library is loaded too."""
        if self._parts is not None and self._warm:
            return self._parts
        # A thread of its own: the guard's executor does not exist yet, and asyncio's default one may be full of
        # waiters.
        with ThreadPoolExecutor(1, thread_name_prefix="tokenguard-start") as starter:
            await asyncio.wrap_future(starter.submit(self._warm_up))
        return self.get()

    def _warm_up(self) -> None:
        self.get().warm()
        self._warm = True
