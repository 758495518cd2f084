"""What the outside implements: the promises by which the parts meet without knowing each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from tokenguard.core.account import Account, Scope
from tokenguard.core.adjusting import Adjusted, Adjustment
from tokenguard.core.books import Booking, Closure, Entry, GuardEvent, Hold, NodeSpend, Settled, Source, SpendRow
from tokenguard.core.budget import Unit
from tokenguard.core.clock import Clock
from tokenguard.core.counter import InputBound, Prompt, TokenCounter
from tokenguard.core.events import Event
from tokenguard.core.ids import Ids
from tokenguard.core.looping import LoopSpend
from tokenguard.core.price import PriceCard
from tokenguard.core.prompt_books import PromptBooks
from tokenguard.core.tree import Crowded, TooFast
from tokenguard.core.verdict import AccountState, Ask, Grant, Short

__all__ = [
    "Backend",
    "CallPiece",
    "Clock",
    "Failure",
    "Ids",
    "InputBound",
    "Ledger",
    "Part",
    "PriceBook",
    "Prompt",
    "Request",
    "RetryPolicy",
    "Sink",
    "TokenCounter",
]


class Ledger(PromptBooks, Protocol):
    """Two-phase books. Every method is one transaction and may be called from any thread.

    Raises (all methods):
        LedgerUnavailable: the database is locked, full, read-only or away. Nothing was written.
        LedgerInvariant: the books contradict themselves.
    """

    name: str
    """Where the books are, without credentials: `memory`, a file's absolute path, or a server's host and database."""
    inline: bool
    """True where no method waits for I/O, so that asyncio may call it on the loop."""

    def enter(self, entry: Entry) -> Short | Closure | Crowded | None:
        """Write a node, count it on the limits above it, and charge its step, if it is one; None: it may begin.

        A `Closure` of a run on its path, a limit of the tree (`Crowded`) or an account without a free step (`Short`)
        writes nothing. With `entry.enforce` False it is written all the same, and a `Crowded` says what would have
        been.
        """
        ...

    def leave(self, node_id: str, *, outcome: str, at: datetime) -> None:
        """Close a node with `completed`, `failed`, `stopped`, `cancelled` or the user's own outcome; idempotent."""
        ...

    def reserve(self, hold: Hold, ask: Ask) -> Grant | Short | Closure | TooFast:
        """Hold the worst case of a call on every account of its path, or on none.

        Accounts are `hold.accounts` plus those of budgets stored for `hold.scope_keys`. `judge` decides inside the
        transaction with the rows locked; with `hold.enforce` False the hold is written at the full ask anyway. The
        same id again returns the same grant. Expired leases are swept first. `TooFast`: what was settled below one of
        `hold.paced` in the last minute, in any process, has reached its limit.
        """
        ...

    def reserve_at_once(self, hold: Hold, ask: Ask) -> Grant | None:
        """Grant without waiting, out of what this process leased; None: ask `reserve`. Callable on an event loop."""
        ...

    def settle_at_once(self, hold_id: str, booking: Booking) -> Settled | None:
        """Take a settlement without waiting, where `reserve_at_once` granted; None: ask `settle`."""
        ...

    def settle(self, hold_id: str, booking: Booking) -> Settled:
        """Resolve a hold: release it, settle `booking.amounts` in its original windows, write the event and its lines.

        Raises:
            LedgerConflict: the hold was resolved before with other numbers, or never existed.
        """
        ...

    def keep(self, hold_id: str, booking: Booking) -> None:
        """Leave a hold unresolved: it stands until its lease ends and then becomes an assumed charge of its ceiling."""
        ...

    def renew(self, owner: str, hold_ids: Sequence[str], lease_s: float) -> None:
        """A process lives: from now on, on the ledger's clock, it and these holds of it stand for `lease_s` seconds.

        Holds that are resolved are passed over, and unresolved ones keep the lease they have.
        """
        ...

    def charge(self, hold: Hold, booking: Booking) -> Settled:
        """Book a cost that was already incurred, even above the caps: hold and post in one transaction."""
        ...

    def adjust(self, adjustment: Adjustment) -> Adjusted:
        """Book a refund or a correction of a resolved attempt, in the windows of its hold; the same id again: nothing.

        Raises:
            AdjustRefused: the attempt is open, unknown or pruned, or less stands booked than is to come back.
            LedgerConflict: the id was used with other numbers.
        """
        ...

    def sweep(self, now: datetime | None = None) -> int:
        """Turn holds whose lease ended, or whose process is known to be dead, into assumed charges; how many.

        Leases are measured by the ledger's own clock, which no caller can set; `now` stands in for it in tests.
        """
        ...

    def declare(self, scope: Scope, at: datetime, source: Source = Source.CODE) -> None:
        """Store a scope's budgets so that every process under it is bound by them.

        What the code declares replaces what the code declared before, and the file's what the file did. Of both the
        code's cap holds; one that a person set stands until the declaration beneath it changes.
        """
        ...

    def set_cap(self, scope_key: str, unit: Unit, per: str, tz: str, cap: int, *, by: str, at: datetime) -> None:
        """Set a cap for this and later windows, as a person; ends closures of that cap."""
        ...

    def unset_cap(
        self, scope_key: str, unit: Unit, per: str, tz: str, *, by: str, at: datetime, declared: bool = False
    ) -> bool:
        """Take a person's cap back: what is declared holds again, or nothing. False: there is no cap by a person.

        With `declared` the budget is forgotten with its declarations, until code or file declare it anew.
        """
        ...

    def top_up(self, scope_key: str, unit: Unit, amount: int, *, by: str, at: datetime) -> tuple[AccountState, ...]:
        """Raise the caps of a scope's open windows by `amount`; ends closures of those caps. Empty: no such budget."""
        ...

    def close_run(self, closure: Closure) -> bool:
        """Write a tombstone: nothing under the run is granted any more. False: it is closed already."""
        ...

    def reopen(self, run_id: str, *, by: str, why: str, at: datetime) -> bool:
        """End a run's closures, and begin its minute of flow anew; False: it was not closed."""
        ...

    def lineage(self, run_id: str) -> tuple[NodeSpend, ...]:
        """A run and its ancestors, root first, with their limits; empty: no such run."""
        ...

    def secret(self) -> bytes:
        """A key of this ledger, the same for every process that can open it; signs run tokens."""
        ...

    def closures(self, run_ids: Sequence[str]) -> tuple[Closure, ...]:
        """Closures in force on any of the runs, root first in the order given."""
        ...

    def states(self, accounts: Sequence[Account], at: datetime | None = None) -> tuple[AccountState, ...]:
        """Balances of the accounts, in order; one never used shows its declared cap.

        Args:
            accounts: Whose balances.
            at: When, for rolling windows; None: now.
        """
        ...

    def record(self, event: GuardEvent) -> None:
        """Append a guard event."""
        ...

    def remember(self, run_id: str, state: Mapping[str, Any], at: datetime) -> None:
        """Keep the state of a run's loop rules, in place of the one before; it goes when the run's records go.

        Args:
            run_id: A run or agent that was entered; of others it may be forgotten at once.
            state: JSON values, some kilobytes at most; no text of prompts or answers.
            at: When.
        """
        ...

    def recall(self, run_id: str) -> Mapping[str, Any] | None:
        """What `remember` kept last, in any process; None: nothing."""
        ...

    def loops(
        self, run_ids: Sequence[str] | None = None, *, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[LoopSpend, ...]:
        """What repetitions cost, one for each run and repetition, the dearest first.

        Args:
            run_ids: Runs and agents to look at; None: all.
            since: Aware; rungs that acted then or later.
            until: Aware; excluded.
        """
        ...

    def tree(self, run_id: str) -> tuple[NodeSpend, ...]:
        """A run and everything below it, parents before children; empty: no such run."""
        ...

    def spend(
        self, by: Sequence[str], *, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[SpendRow, ...]:
        """Spend grouped by dimensions, dearest first.

        Args:
            by: `agent`, `model`, `provider`, `scope`, `run`, `day`, `operation`, `status`, `quality`, `prompt`, or
                `label:<name>`.
            since: Aware; included.
            until: Aware; excluded.
        """
        ...

    def relinquish(self) -> None:
        """Give back what this process leased and did not spend: it is about to end."""
        ...

    def dispose(self, *, forked: bool = False) -> None:
        """Let go of connections; after a fork without closing the parent's."""
        ...


class PriceBook(Protocol):
    """Dated price cards by model name."""

    @property
    def observe_unknown(self) -> bool:
        """Whether calls without a price may be sent under a usd cap; they are booked with their tokens, unpriced."""
        ...

    def card(self, model: str, *, at: datetime | None = None, base_model: str | None = None) -> PriceCard:
        """The card in force.

        Args:
            model: As LiteLLM takes it, with or without provider prefix.
            at: Instant of the call, aware; None: the newest card.
            base_model: What an Azure deployment or an alias really is.

        Raises:
            Unpriceable: nothing is known; `.toml` is the line to paste.
        """
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """One attempt, as the backend sends it."""

    operation: str
    """`chat`, `responses` or `embeddings`."""
    model: str
    arguments: Mapping[str, Any]
    """Keyword arguments of the backend's function, `model` excluded; `stream` included."""

    @property
    def stream(self) -> bool:
        """Whether the answer comes in parts."""
        return bool(self.arguments.get("stream"))


class CallPiece(NamedTuple):
    """A piece of a tool call in a stream; the pieces of one call have one place."""

    place: int
    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Part:
    """What the guard reads from a whole reply or from one chunk of a stream."""

    usage: Mapping[str, Any] | None = None
    """As the provider reported it, in LiteLLM's shape; None: it did not."""
    text: str = ""
    """Text delivered in this part: content, tool-call arguments, visible reasoning; of all answers."""
    said: str = ""
    """Of it, what the first answer says to its reader."""
    calls: tuple[CallPiece, ...] = ()
    """Of a chunk: pieces of the first answer's tool calls."""
    model: str | None = None
    response_id: str | None = None
    finish_reason: str | None = None
    service_tier: str | None = None
    stated_usd: str | None = None
    """A cost that the provider itself states, in dollars."""
    cache_hit: bool = False
    reply: Mapping[str, Any] | None = None
    """The assistant message of a whole reply, as it will come back in the next request's `messages`."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What a provider's error says about money."""

    billed: bool
    """False: nothing was generated for certain. True: nobody knows."""
    retryable: bool
    error_class: str
    status: int | None = None
    request_id: str | None = None
    retry_after_s: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Backend(Protocol):
    """Reaches models. Knows no money."""

    def warm(self) -> None:
        """Load what the first call would load, in seconds; idempotent, from any thread."""
        ...

    def send(self, request: Request) -> Any:
        """Send, blocking; returns the provider's reply object, or an iterator of chunks where `request.stream`."""
        ...

    async def asend(self, request: Request) -> Any:
        """Send without blocking the loop; returns the reply object, or an async iterator of chunks."""
        ...

    def read(self, operation: str, reply: Any) -> Part:
        """What a reply or chunk says about usage, text and identity."""
        ...

    def identity(self, model: str, arguments: Mapping[str, Any]) -> tuple[str, str | None]:
        """The provider's name and the endpoint (None: the provider's own) that a model name leads to; cheap."""
        ...

    def failure(self, error: BaseException, *, handling: BaseException | None = None) -> Failure:
        """Whether an error may have been billed and may be tried again.

        Args:
            error: As the provider's library raised it.
            handling: What the caller was handling when it sent; reached through `__context__`, but no cause of `error`.
        """
        ...

    def close_stream(self, stream: Any) -> None:
        """Close the connection under a blocking stream, so that the server stops generating."""
        ...

    async def aclose_stream(self, stream: Any) -> None:
        """The same for an async stream."""
        ...


class RetryPolicy(Protocol):
    """How long to wait before another attempt."""

    def next_wait(self, attempt: int, failure: Failure) -> float | None:
        """Seconds to wait after failed attempt number `attempt` (1 is the first); None: give up."""
        ...


class Sink(Protocol):
    """Receives facts. May fail; nothing depends on it."""

    def accept(self, event: Event) -> None:
        """Take one fact; called on the thread that made it, so be quick."""
        ...
