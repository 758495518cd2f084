"""The ledger's tables for prompts: originals that were asked to be kept, how far runs are folded, what that saved."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from tokenguard.ledger.columns import Instant, Pico
from tokenguard.ledger.schema import metadata

__all__ = ["COUNTS", "fold_state", "original", "saving"]

COUNTS: Final = ("calls", "results", "tokens_before", "tokens_after", "tokens", "elapsed_us")

original: Final = sa.Table(
    "tg_original",
    metadata,
    sa.Column("root_id", sa.String(64), primary_key=True),
    sa.Column("marker", sa.String(64), primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("at", Instant(), nullable=False),
    sa.Column("until", Instant(), nullable=False),
    sa.Column("packed", sa.LargeBinary(), nullable=False),
    sa.Index("tg_original_marker", "marker"),
    sa.Index("tg_original_until", "until"),
)
"""Texts by run tree and marker, packed by zlib; with the stubs below the only text of prompts in a ledger."""

fold_state: Final = sa.Table(
    "tg_fold_state",
    metadata,
    sa.Column("run_id", sa.String(64), primary_key=True),
    sa.Column("at", Instant(), nullable=False),
    sa.Column("until", Instant(), nullable=False),
    sa.Column("packed", sa.LargeBinary(), nullable=False),
    sa.Index("tg_fold_state_until", "until"),
)
"""Which results of a run gave way to which stubs, and from where on nothing does: JSON, packed by zlib."""

saving: Final = sa.Table(
    "tg_saving",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("at", Instant(), nullable=False),
    sa.Column("run_id", sa.String(64), nullable=False),
    sa.Column("root_id", sa.String(64), nullable=False),
    sa.Column("scope", sa.Text(), nullable=False),
    sa.Column("agent", sa.Text(), nullable=False),
    sa.Column("model", sa.Text(), nullable=False),
    sa.Column("stage", sa.String(32), nullable=False),
    sa.Column("applied", sa.Boolean(), nullable=False),
    *(sa.Column(name, sa.BigInteger(), nullable=False) for name in COUNTS),
    sa.Column("estimated_pico", Pico(), nullable=False),
    sa.Column("settled_pico", Pico(), nullable=False),
    sa.Index("tg_saving_run", "run_id"),
    sa.Index("tg_saving_at", "at"),
)
