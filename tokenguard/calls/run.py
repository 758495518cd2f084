"""A run, agent or step as a block: `with` and `async with` on the same object.

It begins in the ledger (so that it exists for other processes and after a crash), lives in the context, and ends in
the ledger. What it leaves open (streams) is closed and booked at its end.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from tokenguard.calls.drive import adrive, drive
from tokenguard.calls.effects import Book, Flow, ask
from tokenguard.calls.guards import crowded_out
from tokenguard.calls.iterate import AsyncStream, Stream
from tokenguard.calls.receipts import run_receipt
from tokenguard.calls.savings import save
from tokenguard.calls.scope import Frame, Node, enter, entered, leave, scopes_for
from tokenguard.calls.settlement import spent
from tokenguard.core import events
from tokenguard.core.account import accounts_on
from tokenguard.core.books import Closure, Entry, Kind
from tokenguard.core.budget import Budget, Limits, Unit
from tokenguard.core.stops import error_from
from tokenguard.core.tree import Crowded
from tokenguard.errors import LedgerError, SetupError, SpendStopped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextvars import Token
    from datetime import datetime
    from types import TracebackType

    from tokenguard.calls.home import Home
    from tokenguard.calls.parts import LateParts, Parts
    from tokenguard.core.account import Scope
    from tokenguard.core.ladder import Ladder
    from tokenguard.core.ports import Ledger
    from tokenguard.core.receipt import Receipt
    from tokenguard.core.verdict import Short

__all__ = ["Run"]


class Run:
    """One entry of a run, agent or step. Made by `guard.run`, `@guard.agent` and `@guard.step`; used once."""

    def __init__(
        self,
        parts: LateParts,
        home: Home,
        *,
        kind: Kind,
        name: str,
        budgets: tuple[Budget, ...] = (),
        limits: Limits | None = None,
        ladder: Ladder | None = None,
        labels: Mapping[str, str] | None = None,
        new_id: str,
        token: Callable[[str], str],
    ) -> None:
        """Prepare a run; it begins on entry.

        Args:
            parts: The guard's.
            home: Where the run stands if the context has no frame of its guard.
            kind: Run, agent or step.
            name: For people; at most 200 printable characters.
            budgets: `per="run"` caps this one entry; other periods cap the name over time.
            limits: Shape of the tree below. None: the parent's hold; a root gets the defaults.
            ladder: What is done before a call must be refused. None: as around it.
            labels: Free dimensions for reports; inherited by what runs below.
            new_id: The run's id, made before anything is written.
            token: Makes the token that names this run for other processes.
        """
        self._late = parts
        self._home = home
        self._kind = kind
        self._name = _checked_name(name)
        self._budgets = budgets
        self._limits = limits
        self._ladder = ladder
        self._labels = _checked_labels(labels)
        self._token = token
        self._outcome: str | None = None
        self._pid = os.getpid()
        self._node: Node | None = None
        self._frame: Frame | None = None
        self._context: Token[Frame | None] | None = None
        self.id = new_id

    @property
    def _parts(self) -> Parts:
        return self._late.get()

    @property
    def name(self) -> str:
        """As given."""
        return self._name

    @property
    def frame(self) -> Frame:
        """Where calls made inside are made.

        Raises:
            SetupError: the run has not begun.
        """
        if self._frame is None:
            raise SetupError(f"run {self._name!r} has not begun: use it in `with` or `async with`.")
        return self._frame

    def token(self) -> str:
        """Text that names this run for another process; give it to `guard.join`. Never a credential."""
        return self._token(self.id)

    def outcome(self, outcome: str) -> None:
        """Say how the run ended, in your own word; written when it ends."""
        self._outcome = _checked_name(outcome)

    def receipt(self) -> Receipt:
        """What the run cost up to now, everything below it included, as the ledger has it."""
        if self._node is not None:
            # What its last calls saved waits for the end of the run, and nobody should miss it here.
            drive(save(self._node, self._parts), self._parts)
        receipt = run_receipt(self._parts.ledger, self.id)
        if receipt is None:
            raise SetupError(f"run {self._name!r} has not begun: there is nothing to receipt.")
        return receipt

    def __enter__(self) -> Self:
        drive(self.begin(), self._parts)
        self._context = enter(self.frame)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave_context()
        for stream in self._open_streams():
            stream.close() if isinstance(stream, Stream) else stream.drop()
        self.finish(error)

    async def __aenter__(self) -> Self:
        parts = await self._late.aget()
        await adrive(self.begin(), parts, undo=lambda _: self.end(asyncio.CancelledError()))
        self._context = enter(self.frame)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave_context()
        if isinstance(error, GeneratorExit):  # The coroutine is being thrown away and may not await.
            for stream in self._open_streams():
                stream.drop() if isinstance(stream, AsyncStream) else stream.close()
            self.finish(error)
            return
        cancelled: asyncio.CancelledError | None = None
        for stream in self._open_streams():
            try:
                await stream.aclose() if isinstance(stream, AsyncStream) else stream.close()
            except asyncio.CancelledError as late:  # Every stream is closed and the run ended before it goes on.
                cancelled = late
        await adrive(self.end(cancelled or error), self._parts)
        if cancelled is not None:
            raise cancelled

    def finish(self, error: BaseException | None) -> None:
        """End a run, blocking; in a generator that is thrown away, which may happen inside any lock, a moment later."""
        parts = self._parts
        if isinstance(error, GeneratorExit):
            parts.reaper.put(lambda: drive(self.end(error), parts))
        else:
            drive(self.end(error), parts)

    def begin(self) -> Flow[None]:
        """Write the node, which counts it in its tree, and charge the step. The context is the caller's to enter."""
        if self._node is not None:
            raise SetupError(f"run {self._name!r} was used before; make a new one for each entry.")
        base = self._home.frame()
        if base.node is None and self._kind is not Kind.STEP and self._home.run_budget is not None:
            self._budgets = (*self._budgets, self._home.run_budget)
        self._node = node = self._new_node(base.node)
        own = scopes_for(self._kind, self.id, self._name, base.scope, self._budgets)
        self._parts.nodes[self.id] = node
        self._parts.reaper.begin()
        ladder, scopes = self._ladder or base.ladder, (*base.scopes, *own)
        self._frame = Frame(self._parts.owner_key, entered(), node, base.scope, scopes, ladder)
        now = self._parts.clock.now()
        for scope in own:
            if scope.budgets:
                yield from ask(Book(partial(_declare, scope, now)))
        entry = self._entry(node)
        verdict = yield from ask(Book(lambda ledger: ledger.enter(entry)))
        if verdict is not None:
            yield from self._refused(verdict, base.node)
        if base.node is not None and self._kind is not Kind.STEP:
            self._parts.watch.opened(self.id)

    def _refused(self, verdict: Short | Closure | Crowded, parent: Node | None) -> Flow[None]:
        """Raise what keeps this entry from beginning; observing, say so."""
        if isinstance(verdict, Closure):
            raise error_from(verdict)
        if isinstance(verdict, Crowded):
            assert parent is not None, "a root has nothing above it that could limit it"
            yield from crowded_out(verdict, self.id, parent, self._parts)
        else:
            yield from spent(verdict, parent, self._parts)

    def end(self, error: BaseException | None) -> Flow[None]:
        """Write how it ended. A ledger that is away costs nobody the result of what ran inside."""
        if self._pid != os.getpid():
            return  # A forked child leaves the block too, but the run is its parent's to end.
        self._parts.watch.closed(self.id)
        if self._node is not None and self._kind is not Kind.STEP:
            yield from save(self._node, self._parts)
        outcome, now = self._outcome or _outcome_of(error), self._parts.clock.now()
        try:
            yield from ask(Book(lambda ledger: ledger.leave(self.id, outcome=outcome, at=now)))
        except LedgerError as away:
            self._parts.emit(events.Fault(at=now, run_id=self.id, where="leave", error=away))

    def _new_node(self, parent: Node | None) -> Node:
        limits = self._limits
        if limits is None and parent is None:
            limits = Limits()
        walls = [budget.wall.total_seconds() for budget in self._budgets if budget.wall is not None]
        return Node(
            id=self.id,
            kind=self._kind,
            name=self._name,
            parent=parent,
            labels={**(parent.labels if parent else {}), **self._labels},
            began_s=self._parts.clock.monotonic(),
            wall_s=min(walls) if walls else None,
            limits=limits,
        )

    def _entry(self, node: Node) -> Entry:
        now, frame = self._parts.clock.now(), self.frame
        # Only a step takes something from accounts: one step.
        paying = frame.scopes if self._kind is Kind.STEP else ()
        return Entry(
            id=self.id,
            kind=self._kind,
            name=self._name,
            root_id=node.root_id,
            parent_id=node.parent.id if node.parent else None,
            scope=frame.scope,
            at=now,
            owner=self._parts.owner,
            labels=node.labels,
            path=node.run_ids,
            accounts=tuple(account for account in accounts_on(paying, now) if account.unit is Unit.STEPS),
            scope_keys=tuple(scope.key for scope in paying),
            enforce=self._parts.enforce,
            runs=() if self._kind is Kind.STEP else node.runs,
            limits=node.limits,
        )

    def _leave_context(self) -> None:
        if self._frame is not None and self._context is not None:
            leave(self._frame, self._context)
            self._context = None

    def _open_streams(self) -> list[Any]:
        return [stream for stream in self._node.streams.snapshot() if not stream.settled] if self._node else []


def _declare(scope: Scope, at: datetime, ledger: Ledger) -> None:
    ledger.declare(scope, at)


def _outcome_of(error: BaseException | None) -> str:
    """How a block ended, from the exception that ended it."""
    if error is None or isinstance(error, GeneratorExit):
        return "completed"
    if isinstance(error, SpendStopped):
        return "stopped"
    return "cancelled" if isinstance(error, asyncio.CancelledError | KeyboardInterrupt) else "failed"


def _checked_name(name: object) -> str:
    """A name that a report can print: at most 200 characters; control characters become visible."""
    text = str(name).strip() if isinstance(name, str) else ""
    with suppress(UnicodeEncodeError):
        text.encode()
        if text:
            return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:200])
    raise SetupError(f"a run, agent or step needs a name of printable text, not {name!r}.")


def _checked_labels(labels: Mapping[str, str] | None) -> dict[str, str]:
    found: dict[Any, Any] = dict(labels or {})  # Typed as text, but users bring numbers.
    if any(not isinstance(text, str) for pair in found.items() for text in pair):
        raise SetupError(f"labels={labels!r}: names and values are text, as in labels={{'team': 'search'}}.")
    return found
