"""The records that go into and come out of a ledger. All frozen; ids are made before anything is sent.

A call's life in the books: a `Hold` is granted → its outcome is a `Booking` (post or void) → the event row. An
outcome nobody knows (a timeout after sending) keeps its hold and becomes an assumed charge when the lease ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from tokenguard.core.account import Account, Amounts
from tokenguard.core.budget import Limits
from tokenguard.core.money import Money
from tokenguard.core.usage import Meter, Quality, Usage
from tokenguard.core.verdict import AccountState

__all__ = [
    "Booking",
    "CallFacts",
    "Closure",
    "Entry",
    "GuardEvent",
    "Hold",
    "Kind",
    "Line",
    "NodeSpend",
    "Settled",
    "Source",
    "SpendRow",
    "Status",
]


class Kind(StrEnum):
    """What a node of the run tree is."""

    RUN = "run"
    AGENT = "agent"
    STEP = "step"


class Source(StrEnum):
    """Who says what a cap is, weakest first: each wins over those before it."""

    FILE = "file"
    """`tokenguard.toml`."""
    CODE = "code"
    PERSON = "person"
    """`tokenguard budget set`; stands until the declaration beneath it changes."""


class Status(StrEnum):
    """How an attempt ended."""

    OK = "ok"
    CACHE_HIT = "cache_hit"
    """Answered by LiteLLM's own cache: $0, reported."""
    REJECTED = "rejected"
    """A complete error answer, or nothing was ever received by the provider: $0."""
    CLOSED = "closed"
    """A stream closed by us or by the caller: counted."""
    UNRESOLVED = "unresolved"
    """Nobody knows yet: the hold stands until its lease ends."""
    CHARGED = "charged"
    """Booked by `guard.charge`."""
    LOST = "lost"
    """The owner died or nobody answered until the lease ended: assumed at the ceiling."""
    RETURNED = "returned"
    """A lease that was charged whole when its process was believed dead: what it paid for is booked call by call."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A run, agent or step begins."""

    id: str
    kind: Kind
    name: str
    root_id: str
    parent_id: str | None
    scope: str
    """Path of the guard's scopes, such as `acme/search`; empty where there is none."""
    at: datetime
    owner: str
    """The process that lives it."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    path: tuple[str, ...] = ()
    """Ids of all runs from the root to this one, this one included: a closure of any closes it."""
    accounts: tuple[Account, ...] = ()
    """Accounts in steps to charge one to; empty for runs and agents, which are not steps."""
    scope_keys: tuple[str, ...] = ()
    """All scope keys on the path, so that step budgets set elsewhere bind too; empty for runs and agents."""
    enforce: bool = True
    """False in observe mode: it is written and its step charged whatever the books say."""
    runs: tuple[str, ...] = ()
    """Ids of the runs and agents from the root to this one, the last; empty for steps, which nothing limits."""
    limits: Limits | None = None
    """Its own limits, by which all that begins below it is counted, in every process."""


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What is known about an attempt before it is sent; written into its event row."""

    call_id: str
    """The same for every attempt of one call."""
    attempt: int
    """1 for the first."""
    operation: str
    """`chat`, `responses`, `embeddings`, or what `guard.charge` was given."""
    model: str
    provider: str
    run_id: str | None
    root_id: str | None
    node_id: str | None
    """The innermost run, agent or step."""
    agent: str | None
    scope: str
    prompt_id: str | None = None
    mode: str = "enforce"
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Hold:
    """A request to hold money for one attempt, by the attempt's id: a retried *reservation* names the same row."""

    id: str
    at: datetime
    owner: str
    lease_until: datetime
    """On the clock of `at`; only how long after it counts, because the ledger measures leases by its own clock."""
    accounts: tuple[Account, ...]
    """Declared by this process, outermost scope first."""
    scope_keys: tuple[str, ...]
    """All scope keys on the path, so that budgets set elsewhere on them bind too; outermost first."""
    run_ids: tuple[str, ...]
    """Runs on the path, root first: a closure of any of them refuses the hold."""
    facts: CallFacts
    enforce: bool = True
    """False in observe mode: the hold is written whatever the balances say."""
    paced: tuple[str, ...] = ()
    """Runs and agents on the path that limit money or tokens per minute, root first; most paths have none."""


@dataclass(frozen=True, slots=True)
class Line:
    """One priced meter of one attempt: amount = quantity × rate, exactly."""

    meter: Meter
    quantity: int
    rate_pico: int
    """Pico-USD per unit, as charged (tier and service tier applied)."""
    amount_pico: int


@dataclass(frozen=True, slots=True)
class Booking:
    """What an attempt came to. Posted where it cost or counts something, void where it certainly did not."""

    at: datetime
    status: Status
    quality: Quality
    amounts: Amounts
    """What settles on the accounts: usd of the lines (or what the provider stated), tokens, calls sent, steps."""
    usage: Usage | None = None
    lines: tuple[Line, ...] = ()
    price_id: str | None = None
    price_version: str | None = None
    stated_pico: int | None = None
    """The cost that the provider stated itself, where it did; `computed_pico` is ours beside it."""
    computed_pico: int | None = None
    ceiling_pico: int = 0
    overrun: bool = False
    response_model: str | None = None
    response_id: str | None = None
    service_tier: str | None = None
    finish_reason: str | None = None
    max_tokens: int | None = None
    clamped: bool = False
    duration_ms: int | None = None
    ttft_ms: int | None = None
    output_tps: Decimal | None = None
    """Output tokens per second after the first one."""
    endpoint: str | None = None
    error_class: str | None = None
    error_status: int | None = None
    error_request_id: str | None = None
    would_have: str | None = None
    """In observe mode: the code of the error that enforcing would have raised."""
    note: str | None = None
    route: str | None = None
    """Why a route chose this endpoint, such as `own` or `spill`; None: nothing was routed."""
    first_choice: str | None = None
    """The model that the caller named."""
    counterfactual_pico: int | None = None
    """What the same tokens would have cost there, by its price; an estimate, because it might have written others."""
    internal_pico: int | None = None
    """What they cost with the price of own hardware spread over its tokens."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What a settlement did."""

    states: tuple[AccountState, ...]
    """The balances after it."""
    duplicate: bool = False
    """The same booking was there already; nothing moved."""
    late: bool = False
    """The hold had been charged as assumed before; the difference was booked to its original window."""
    journaled: bool = False
    """The ledger is away: the booking is on this machine's disk and will be in the books when it is back."""


@dataclass(frozen=True, slots=True)
class Closure:
    """A run is closed: it and everything below it sends nothing until `ended`."""

    run_id: str
    code: str
    """The error's stable code, such as `budget_exceeded`."""
    sentence: str
    facts: Mapping[str, Any]
    """The error's facts as JSON values."""
    at: datetime
    by: str
    account_id: str | None = None
    """The account whose cap is spent; raising that cap ends the closure. None: only `resume` does."""


@dataclass(frozen=True, slots=True)
class GuardEvent:
    """A decision or an act of a person, for the ledger's `guard_event` table."""

    id: str
    at: datetime
    kind: str
    """`stopped`, `refused`, `warned`, `clamped`, `overrun`, `topped_up`, `cap_set`, `killed`, `resumed`, `fault` …"""
    run_id: str | None
    scope_key: str | None
    sentence: str
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class NodeSpend:
    """One node of a run tree with what it spent itself (children not included)."""

    id: str
    kind: Kind
    name: str
    parent_id: str | None
    root_id: str
    scope: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    labels: Mapping[str, str]
    usd: Money
    held: Money
    calls: int
    tokens: int
    estimated: Money
    """Of `usd`, what is marked estimated."""
    assumed: Money
    """Of `usd`, what is marked assumed."""
    last_text: str | None = None
    closed: Closure | None = None
    limits: Limits | None = None
    """Its own limits, in what `Ledger.lineage` tells; None: it has none, or nobody looked."""


@dataclass(frozen=True, slots=True)
class SpendRow:
    """Spend grouped by some dimensions."""

    by: tuple[str, ...]
    """Values of the dimensions asked for, in their order."""
    usd: Money
    estimated: Money
    assumed: Money
    calls: int
    input_tokens: int
    output_tokens: int
