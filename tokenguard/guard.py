"""The facade: assembles the ports from settings; hands out runs, decorators and guarded calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

from tokenguard.assembly import Ports, assemble
from tokenguard.calls.acts import Acts
from tokenguard.calls.asks import Asks
from tokenguard.calls.completions import Calls
from tokenguard.calls.corrections import Corrections
from tokenguard.calls.decorate import bound, decorator, name_of, scoped
from tokenguard.calls.folds import Folds
from tokenguard.calls.home import Home
from tokenguard.calls.hub import Hub
from tokenguard.calls.lifecycle import close_parts, look_after
from tokenguard.calls.parts import LateParts
from tokenguard.calls.run import Run
from tokenguard.calls.scope import current
from tokenguard.calls.scoped import ScopeBlock
from tokenguard.calls.tool import LoopKey, guarded_tool
from tokenguard.core import events
from tokenguard.core.books import Kind
from tokenguard.core.budget import Budget, Limits
from tokenguard.core.folding import Folding, LevelName
from tokenguard.core.ids import RandomIds
from tokenguard.core.ladder import Ladder, Loops
from tokenguard.core.money import UsdLike

if TYPE_CHECKING:
    from types import TracebackType

    from tokenguard.calls.charge import Charge
    from tokenguard.calls.join import Joined
    from tokenguard.calls.parts import Parts
    from tokenguard.core.clock import Clock
    from tokenguard.core.ids import Ids
    from tokenguard.core.ports import Backend, Ledger
    from tokenguard.pricing.policy import Prices
    from tokenguard.routing.route import Route

__all__ = ["Guard"]

F = TypeVar("F", bound=Callable[..., Any])
E = TypeVar("E", bound=events.Event)
Mode = Literal["enforce", "observe"]
Busy = Literal["wait", "raise"]


class Guard(Asks, Calls, Folds, Corrections):
    """Stands between agent code and its providers: prices every call, holds its worst case, and stops at the caps.

    Nothing is opened before the first call or run. Every argument may also come from the environment
    (`TOKENGUARD_DATABASE`) or from `tokenguard.toml`; what is given here wins. Thread-safe; one per application is
    usual.

    Args:
        database: `"memory"`, a file, or a SQLAlchemy URL (`sqlite:///spend.db`, `postgresql+psycopg://…`). None:
            `tokenguard.db` beside the nearest `pyproject.toml`, else in the user's state folder.
        scope: Where this application stands, such as `"acme/search"`; its budgets hold over restarts and machines.
            None: a budget over time belongs to the scope `default` of this ledger.
        budget: Caps everything under `scope`. With `per="run"` it caps each root run by itself.
        prices: A price file, a mapping of the same shape, or `Prices(...)` with a policy for unknown models.
        mode: `"observe"` refuses nothing, books truthfully and records what enforcing would have done.
        strict: A call outside any run raises `NoActiveRun` instead of being booked to `unattributed`.
        busy: What a call does while calls in flight hold the room: `"wait"` (at most 60 s) or `"raise"`.
        on_ledger_down: What a call does while the ledger is away: `"refuse"`, or `"allowance"`: spend what was leased
            before (`Budget(allowance=)`), for two minutes at most.
        durability: `"full"` makes SQLite survive power loss, at the price of an fsync per transaction.
        spool: Folder on this machine for what answers cost while the ledger is away (docs/operations.md). None: the
            user's state folder.
        unattributed: Cap for calls outside any run; $1 a day unless given.
        ladder: What is done before a call must be refused or stopped, everywhere under this guard.
        loops: When repetition is steered, blocked and stopped; False switches its rules off. Goes over the ladder's.
        prompt: What is done to prompts before they are sent: a level (`"off"`, `"compact"`, `"lossless"`), or a
            `Folding`. `"compact"` unless given: JSON results without blanks, terminal codes removed.
        routes: Who answers for a model's name: own hardware first, the cloud for the burst, private data nowhere else
            (docs/routing.md). What one call asks of its route is the option `routing=Routing(...)`.
        baggage_hosts: Hosts that are sent the current run's token, as W3C baggage; exact names, `"host"` or
            `"host:port"`.
        trust_baggage: `join_baggage` believes what callers of this service send.
        backend: Reaches models; None: LiteLLM. `tokenguard.testing` has one that follows a script.
        ledger: Keeps the books; None: what `database` names.
        clock: Tells the time; tests pass a fake.
        ids: Makes ids; tests pass a counter.

    Raises:
        SettingsError: an unknown setting or a value that cannot be meant, at the first use.
    """

    def __init__(
        self,
        *,
        database: str | os.PathLike[str] | None = None,
        scope: str | None = None,
        budget: Budget | None = None,
        prices: Prices | str | os.PathLike[str] | Mapping[str, Any] | None = None,
        mode: Mode | None = None,
        strict: bool | None = None,
        busy: Busy | None = None,
        on_ledger_down: Literal["refuse", "allowance"] | None = None,
        durability: Literal["normal", "full"] | None = None,
        spool: str | os.PathLike[str] | None = None,
        unattributed: Budget | None = None,
        ladder: Ladder | None = None,
        loops: Loops | bool | None = None,
        prompt: LevelName | Folding | None = None,
        routes: Mapping[str, Route] | None = None,
        baggage_hosts: Sequence[str] | None = None,
        trust_baggage: bool | None = None,
        backend: Backend | None = None,
        ledger: Ledger | None = None,
        clock: Clock | None = None,
        ids: Ids | None = None,
    ) -> None:
        """Describe a guard; its arguments are listed with the class."""
        self._given: dict[str, Any] = {
            "database": None if database is None else os.fspath(database),
            "scope": scope,
            "mode": mode,
            "strict": strict,
            "busy": busy,
            "on_ledger_down": on_ledger_down,
            "durability": durability,
            "spool": None if spool is None else os.fspath(spool),
            "ladder": ladder,
            "loops": loops,
            "prompt": prompt,
            "baggage_hosts": None if baggage_hosts is None else tuple(baggage_hosts),
            "trust_baggage": trust_baggage,
        }
        self._budget, self._unattributed = budget, unattributed
        self._ports = Ports(prices=prices, backend=backend, ledger=ledger, clock=clock, routes=routes)
        self._hub = Hub()
        self._ids: Ids = ids or RandomIds()
        self._late = LateParts(self._build)
        self._home = Home(self, self._late)
        self._acts = Acts(self._late, self._home.frame, self._ids)
        self._home.inherited = self._acts.inherited
        self._closed = False
        look_after(self)

    # ---- runs -------------------------------------------------------------------------------------------------------

    def run(
        self,
        name: str,
        *,
        budget: Budget | None = None,
        limits: Limits | None = None,
        ladder: Ladder | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Run:
        """A run, for `with` or `async with`: what is called inside belongs to it, in its budgets and its receipt."""
        return self._new(Kind.RUN, name, budget, limits=limits, ladder=ladder, labels=labels)

    def agent(
        self,
        name: str,
        *,
        budget: Budget | None = None,
        limits: Limits | None = None,
        ladder: Ladder | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Callable[[F], F]:
        """Decorate an agent: each call of it is one run below the one that called it."""
        return lambda function: scoped(
            function,
            lambda: self._new(Kind.AGENT, name, budget, limits=limits, ladder=ladder, labels=labels),
            self._late,
        )

    @overload
    def step(self, function: F, /) -> F: ...
    @overload
    def step(self, name: str | None = None, /, *, budget: Budget | None = None) -> Callable[[F], F]: ...
    def step(self, function: Any = None, /, *, budget: Budget | None = None) -> Any:
        """Decorate a step: it is priced as one line of the receipt and counts one of `Budget(steps=)`."""
        if callable(function):
            return self._stepped(function, name_of(function), budget)
        return decorator(lambda step: self._stepped(step, function or name_of(step), budget))

    @overload
    def tool(self, function: F, /) -> F: ...
    @overload
    def tool(self, name: str | None = None, /, *, loop_key: LoopKey = None, poll: bool = False) -> Callable[[F], F]: ...
    def tool(self, function: Any = None, /, *, loop_key: LoopKey = None, poll: bool = False) -> Any:
        """Decorate a tool: the fourth same call after the same results is not run, and the sixth stops the run.

        A blocked call gives the model a message to act on, or raises `LoopBlocked` by `Loops(blocked="raise")`.

        Args:
            function: The tool, or its name.
            loop_key: Names of the arguments that make two calls equal, a function of them, or False: never counted.
            poll: The tool is asked again on purpose (a queue, a build): never counted.
        """
        key = False if poll else loop_key
        if callable(function):
            return guarded_tool(function, None, key, self._late)
        return decorator(lambda tool: guarded_tool(tool, function, key, self._late))

    def scope(self, path: str, *, budget: Budget | None = None, ladder: Ladder | None = None) -> ScopeBlock:
        """A named scope under this guard's own, for `with` and `async with`; its budget holds over restarts."""
        return ScopeBlock(self._late, self._home.frame, path, budget=budget, ladder=ladder)

    def join(self, token: str) -> Joined:
        """Enter a run that lives in another process, by its token; both pay: that run, and where you stand.

        Raises:
            SettingsError: the token is not of this ledger, is expired, or its run has ended.
        """
        return self._acts.join(token)

    def join_baggage(self, headers: Mapping[str, str]) -> Joined:
        """Enter the run that a request's `baggage` header names; stay here without one, or without `trust_baggage`.

        Raises:
            SettingsError: as `join`.
        """
        return self._acts.join_baggage(headers)

    def env(self) -> dict[str, str]:
        """Variables that let a child process join the current run: `run(…, env={**os.environ, **guard.env()})`."""
        return self._acts.env(self._home.frame())

    def bind(self, function: F) -> F:
        """Carry the current run into threads, executors and callbacks: `executor.submit(guard.bind(fn), …)`."""
        return bound(function, current(self))

    # ---- acts -------------------------------------------------------------------------------------------------------

    def kill(self, run_id: str, *, why: str, by: str | None = None) -> bool:
        """Close a run and everything below it, in every process. False: it was closed already."""
        return self._acts.kill(run_id, why=why, by=by)

    def resume(self, run_id: str, *, why: str, by: str | None = None) -> bool:
        """Let a stopped run go on where it was. False: it was not stopped."""
        return self._acts.resume(run_id, why=why, by=by)

    def top_up(
        self,
        scope: str,
        *,
        usd: UsdLike | None = None,
        tokens: int | None = None,
        calls: int | None = None,
        steps: int | None = None,
        by: str | None = None,
    ) -> None:
        """Raise the caps of a scope's open windows; a stop by such a cap ends.

        Args:
            scope: A run's id, a path such as `"acme/search"`, or a key as errors name it (`"run:…"`).
            usd: Dollars to add, above zero.
            tokens: Tokens to add.
            calls: Calls to add.
            steps: Steps to add.
            by: Who does it, for the books.

        Raises:
            SettingsError: there is no such budget.
        """
        self._acts.top_up(scope, {"usd": usd, "tokens": tokens, "calls": calls, "steps": steps}, by=by)

    @overload
    def charge(self, what: str, *, usd: UsdLike) -> None: ...
    @overload
    def charge(self, what: str, *, up_to: UsdLike) -> Charge: ...
    def charge(self, what: str, *, usd: UsdLike | None = None, up_to: UsdLike | None = None) -> Charge | None:
        """Book a cost that is no model call.

        `usd=` books what was already spent, even above the caps. `up_to=` gives a block that reserves first:
        `with guard.charge("browser", up_to="0.50") as charge: … charge.usd("0.12")`.
        """
        return self._acts.charge(what, self._home.paying(what), usd=usd, up_to=up_to)

    def on(self, kind: type[E], listener: Callable[[E], object]) -> Callable[[], None]:
        """Listen to facts, such as `tg.events.Stopped`; the answer ends it. Listeners cannot change a verdict."""
        return self._hub.on(kind, listener)

    def close(self) -> None:
        """Close open streams, finish bookkeeping and let go of the database. The guard cannot be used afterwards."""
        parts = self._late.built
        if parts is not None and not self._closed:
            self._closed = True
            close_parts(parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- assembly ---------------------------------------------------------------------------------------------------

    @property
    def late(self) -> LateParts:
        """The ports behind the facade, for tests and tools; assembled when they are first needed."""
        return self._late

    def _new(
        self,
        kind: Kind,
        name: str,
        budget: Budget | None,
        *,
        limits: Limits | None = None,
        ladder: Ladder | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Run:
        return Run(
            self._late,
            self._home,
            kind=kind,
            name=name,
            budgets=(budget,) if budget is not None else (),
            limits=limits,
            ladder=ladder,
            labels=labels,
            new_id=self._ids.new(),
            token=self._acts.token,
        )

    def _stepped(self, function: F, name: str, budget: Budget | None) -> F:
        return scoped(function, lambda: self._new(Kind.STEP, name, budget), self._late)

    def _build(self) -> Parts:
        parts, settings = assemble(self, self._given, hub=self._hub, ids=self._ids, ports=self._ports)
        parts.tool_keys = self._late.tool_keys
        self._home.settle(
            parts,
            scope=settings.scope,
            budget=self._budget or (settings.budget.budget() if settings.budget else None),
            unattributed=self._unattributed or (settings.unattributed.budget() if settings.unattributed else None),
            strict=settings.strict,
            ladder=settings.rungs(),
            in_file=settings.scopes(),
            budget_in_file=self._budget is None,
        )
        return parts
