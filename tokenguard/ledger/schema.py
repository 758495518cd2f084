"""The ledger's tables. `migrations/versions` builds them, a test compares the two, docs/adr/0009 says why they are so.

Facts (`transfer`, `spend_event`, `spend_line`, `guard_event`) are only ever inserted; `balance` is a cache of
`transfer` that `verify` replays; `hold` has open holds only; `rollup_delta` is written with each event and compacted
into `rollup`.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from tokenguard.ledger.columns import Instant, Pico, Shares, Thousandths

__all__ = [
    "SCHEMA_VERSION",
    "VERSION_TABLE",
    "anchor",
    "balance",
    "budget",
    "closing",
    "closure",
    "guard_event",
    "hold",
    "loop_state",
    "metadata",
    "node",
    "owner",
    "rollup",
    "rollup_delta",
    "spend_event",
    "spend_line",
    "transfer",
    "window_slice",
]

SCHEMA_VERSION: Final = "0010"
"""The newest revision in `migrations/versions`. Revisions are numbered, so that older and newer can be told apart."""

VERSION_TABLE: Final = "tg_schema_version"

_Json = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
_Id = sa.String(64)

# SQLite: tables that every call writes are stored in their primary key (WITHOUT ROWID), one b-tree instead of two. Ids
# sort by time, so rows are appended either way.
# PostgreSQL: transfers, events and lines are partitioned by the month of their hold (months.py); their primary keys
# there end with `held_at`, because a partitioned table has no other unique keys.
metadata: Final = sa.MetaData()


def _text(name: str, *, null: bool = False, length: int | None = None) -> sa.Column[Any]:
    return sa.Column(name, sa.String(length) if length else sa.Text(), nullable=null)


def _pico(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, Pico(), nullable=null)


def _count(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=null)


def _instant(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, Instant(), nullable=null)


def _json(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, _Json, nullable=null)


def _ref(name: str, *, null: bool = False, key: bool = False) -> sa.Column[Any]:
    return sa.Column(name, _Id, nullable=null, primary_key=key)


node: Final = sa.Table(
    "tg_node",
    metadata,
    _ref("id", key=True),
    _text("kind", length=16),
    _text("name"),
    _ref("parent_id", null=True),
    _ref("root_id"),
    _text("scope"),
    _text("owner"),
    _json("labels"),
    _instant("started_at"),
    _instant("ended_at", null=True),
    _text("outcome", null=True),
    # The run or agent directly above a run or agent; steps have none, because nothing counts them.
    _ref("above_id", null=True),
    sa.Index("tg_node_root", "root_id"),
    sa.Index("tg_node_started", "started_at"),
)
_LIVES: Final = sa.and_(node.c.ended_at.is_(None), node.c.above_id.is_not(None))
sa.Index("tg_node_live", node.c.above_id, sqlite_where=_LIVES, postgresql_where=_LIVES)

anchor: Final = sa.Table(
    "tg_anchor",
    metadata,
    _ref("node_id", key=True),
    _count("depth", null=True),
    _count("children", null=True),
    _count("descendants", null=True),
    _count("spawns_per_minute", null=True),
    _count("begun"),
    # [[second since 1970, how many began in it], …] of the last minute.
    _json("spawns"),
    _pico("usd_per_minute_pico", null=True),
    _pico("tokens_per_minute", null=True),
    # [[second since 1970, pico-dollars, tokens settled in it], …] of the last minute, where that is limited.
    _json("flow", null=True),
    sqlite_with_rowid=False,
)
"""Limits of run trees and what is counted by them: the one row that everybody below a node waits for."""

loop_state: Final = sa.Table(
    "tg_loop_state",
    metadata,
    _ref("run_id", key=True),
    _json("state"),
    _instant("at"),
)
"""What a run's loop rules have seen, so that a process that takes its place goes on there: digests and counts."""

owner: Final = sa.Table(
    "tg_owner",
    metadata,
    sa.Column("id", sa.Text(), primary_key=True),
    _instant("lease_until"),
    sqlite_with_rowid=False,
)
"""Processes that live: what one of them began and did not end counts as live until its lease is over."""

budget: Final = sa.Table(
    "tg_budget",
    metadata,
    sa.Column("scope_key", sa.Text(), primary_key=True),
    sa.Column("unit", sa.String(16), primary_key=True),
    sa.Column("per", sa.String(16), primary_key=True),
    sa.Column("tz", sa.String(64), primary_key=True),
    _text("label"),
    _pico("declared", null=True),
    _pico("cap"),
    sa.Column("warn_at", Shares(), nullable=False),
    _pico("reserve_final_pico"),
    _text("set_by", length=16),
    _instant("changed_at"),
    _pico("in_file", null=True),
    _pico("allowance_pico", null=True),
)

balance: Final = sa.Table(
    "tg_balance",
    metadata,
    _ref("id", key=True),
    _text("scope_key"),
    _text("label"),
    _text("unit", length=16),
    _text("per", length=16),
    _text("bucket", length=32),
    _instant("ends_at", null=True),
    _pico("declared"),
    sa.Column("warn_at", Shares(), nullable=False),
    _pico("reserve_final_pico"),
    _pico("cap"),
    _pico("settled"),
    _pico("held"),
    _count("live"),
    _pico("allowance_pico", null=True),
    sa.Index("tg_balance_scope", "scope_key"),
)

closing: Final = sa.Table(
    "tg_closing",
    metadata,
    _ref("account_id", key=True),
    _pico("held"),
    _pico("settled"),
    _count("live"),
    _count("transfers"),
    _instant("before"),
)
"""What the pruned transfers of a balance added up to: where its replay starts."""

window_slice: Final = sa.Table(
    "tg_window_slice",
    metadata,
    # Of a rolling account: what the holds of one slice of time settled. Changed only under its balance's lock.
    _ref("account_id", key=True),
    sa.Column("starts_at", Instant(), primary_key=True),
    _pico("settled"),
    sqlite_with_rowid=False,
)

hold: Final = sa.Table(
    "tg_hold",
    metadata,
    _ref("id", key=True),
    _instant("held_at"),
    _text("owner"),
    _instant("lease_until"),
    _text("state", length=16),
    _ref("root_id", null=True),
    _ref("node_id", null=True),
    _pico("usd_pico"),
    _json("facts"),
    _json("granted"),
    _json("kept", null=True),
    # Open holds are few: the tree reads them all rather than have every reservation write another index.
    sa.Index("tg_hold_lease", "lease_until"),
    sqlite_with_rowid=False,
)

transfer: Final = sa.Table(
    "tg_transfer",
    metadata,
    _ref("hold_id", key=True),
    sa.Column("held_at", Instant(), primary_key=True),
    # 1 the hold, 2 its resolution, 3 and on each adjustment: the truth after an assumed charge, refunds, corrections.
    sa.Column("phase", sa.SmallInteger(), primary_key=True, autoincrement=False),
    _text("kind", length=16),
    _instant("at"),
    # {account id: [change of held, change of settled, change of live]}
    _json("legs"),
    sqlite_with_rowid=False,
)

spend_event: Final = sa.Table(
    "tg_spend_event",
    metadata,
    _ref("id", key=True),
    # 1 as first booked; each even one takes the one before it back, the next states what is true since.
    sa.Column("revision", sa.SmallInteger(), primary_key=True, autoincrement=False),
    _instant("held_at"),
    _instant("at"),
    _instant("booked_at"),
    _ref("call_id"),
    _count("attempt"),
    _text("operation"),
    _text("model"),
    _text("provider"),
    _ref("run_id", null=True),
    _ref("root_id", null=True),
    _ref("node_id", null=True),
    _text("agent", null=True),
    _text("scope"),
    _text("prompt_id", null=True),
    _text("mode", length=16),
    _json("labels"),
    _text("status", length=16),
    _text("quality", length=16),
    _pico("usd_pico"),
    _count("tokens"),
    _count("calls"),
    _count("steps"),
    _count("input_tokens"),
    _count("output_tokens"),
    _json("usage", null=True),
    _text("price_id", null=True),
    _text("price_version", null=True),
    _pico("stated_pico", null=True),
    _pico("computed_pico", null=True),
    _pico("ceiling_pico"),
    sa.Column("overrun", sa.Boolean(), nullable=False),
    _text("response_model", null=True),
    _text("response_id", null=True),
    _text("service_tier", null=True),
    _text("finish_reason", null=True),
    _count("max_tokens", null=True),
    sa.Column("clamped", sa.Boolean(), nullable=False),
    _count("duration_ms", null=True),
    _count("ttft_ms", null=True),
    sa.Column("output_tps_milli", Thousandths(), nullable=True),
    _text("endpoint", null=True),
    _text("error_class", null=True),
    _count("error_status", null=True),
    _text("error_request_id", null=True),
    _text("would_have", null=True),
    _text("note", null=True),
    _text("route", null=True),
    _text("first_choice", null=True),
    _pico("counterfactual_pico", null=True),
    _pico("internal_pico", null=True),
    sa.Index("tg_spend_event_root", "root_id"),
    sa.Index("tg_spend_event_at", "at"),
    sqlite_with_rowid=False,
)

spend_line: Final = sa.Table(
    "tg_spend_line",
    metadata,
    _ref("event_id", key=True),
    sa.Column("revision", sa.SmallInteger(), primary_key=True, autoincrement=False),
    sa.Column("position", sa.SmallInteger(), primary_key=True, autoincrement=False),
    _instant("held_at"),
    _text("meter", length=32),
    _count("quantity"),
    _pico("rate_pico"),
    _pico("amount_pico"),
    sqlite_with_rowid=False,
)

rollup_delta: Final = sa.Table(
    "tg_rollup_delta",
    metadata,
    _ref("event_id", key=True),
    sa.Column("revision", sa.SmallInteger(), primary_key=True, autoincrement=False),
    _text("day", length=10),
    _text("scope"),
    _text("agent"),
    _text("model"),
    _text("provider"),
    _text("operation"),
    _text("quality", length=16),
    _text("mode", length=16),
    _pico("usd_pico"),
    _count("input_tokens"),
    _count("output_tokens"),
    _count("calls"),
    sqlite_with_rowid=False,
)

rollup: Final = sa.Table(
    "tg_rollup",
    metadata,
    sa.Column("day", sa.String(10), primary_key=True),
    sa.Column("scope", sa.Text(), primary_key=True),
    sa.Column("agent", sa.Text(), primary_key=True),
    sa.Column("model", sa.Text(), primary_key=True),
    sa.Column("provider", sa.Text(), primary_key=True),
    sa.Column("operation", sa.Text(), primary_key=True),
    sa.Column("quality", sa.String(16), primary_key=True),
    sa.Column("mode", sa.String(16), primary_key=True),
    # What events came to that are no longer there. Apart, so that the rest still equals the events that are.
    sa.Column("pruned", sa.Boolean(), primary_key=True),
    _pico("usd_pico"),
    _count("input_tokens"),
    _count("output_tokens"),
    _count("calls"),
    # SQLite turns a sum that overflows into a rounded REAL, unless something looks.
    sa.CheckConstraint("typeof(usd_pico) = 'integer'", name="tg_rollup_whole").ddl_if(dialect="sqlite"),
    sqlite_with_rowid=False,
)
"""The deltas of whole days, added up: one row for each day and combination of dimensions."""

closure: Final = sa.Table(
    "tg_closure",
    metadata,
    _ref("id", key=True),
    _ref("run_id"),
    # Empty, not null, where only a person can end it: nulls are never equal in a unique index.
    _text("account_id", length=64),
    _text("code", length=32),
    _text("sentence"),
    _json("facts"),
    _instant("at"),
    _text("by"),
    _instant("ended_at", null=True),
    _text("ended_by", null=True),
    _text("ended_why", null=True),
)
sa.Index(
    "tg_closure_standing",
    closure.c.run_id,
    closure.c.account_id,
    unique=True,
    sqlite_where=closure.c.ended_at.is_(None),
    postgresql_where=closure.c.ended_at.is_(None),
)

guard_event: Final = sa.Table(
    "tg_guard_event",
    metadata,
    _ref("id", key=True),
    _instant("at"),
    _text("kind", length=32),
    _ref("run_id", null=True),
    _text("scope_key", null=True),
    _text("sentence"),
    _json("facts"),
    sa.Index("tg_guard_event_run", "run_id"),
)
_LOOPED: Final = guard_event.c.kind == sa.literal_column("'looped'")
sa.Index("tg_guard_event_looped", guard_event.c.at, sqlite_where=_LOOPED, postgresql_where=_LOOPED)

meta: Final = sa.Table(
    "tg_meta",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    _text("value"),
)
"""Facts about these books themselves, such as the key that signs run tokens."""
