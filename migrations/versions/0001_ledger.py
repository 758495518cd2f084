"""The ledger's first schema: holds, facts, balances, budgets and stops.

Revision: 0001, the first. The column types are spelled out and not imported: a script must build tomorrow what it built today.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

PICO = sa.BigInteger().with_variant(sa.Numeric(38, 0), "postgresql")
INSTANT = sa.BigInteger().with_variant(sa.DateTime(timezone=True), "postgresql")
JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    """Build every table."""
    op.create_table(
        "tg_balance",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("scope_key", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("unit", sa.String(16), nullable=False),
        sa.Column("per", sa.String(16), nullable=False),
        sa.Column("bucket", sa.String(32), nullable=False),
        sa.Column("ends_at", INSTANT, nullable=True),
        sa.Column("declared", PICO, nullable=False),
        sa.Column("warn_at", sa.Text(), nullable=False),
        sa.Column("reserve_final_pico", PICO, nullable=False),
        sa.Column("cap", PICO, nullable=False),
        sa.Column("settled", PICO, nullable=False),
        sa.Column("held", PICO, nullable=False),
        sa.Column("live", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("tg_balance_scope", "tg_balance", ["scope_key"])
    op.create_table(
        "tg_budget",
        sa.Column("scope_key", sa.Text(), nullable=False),
        sa.Column("unit", sa.String(16), nullable=False),
        sa.Column("per", sa.String(16), nullable=False),
        sa.Column("tz", sa.String(64), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("declared", PICO, nullable=True),
        sa.Column("cap", PICO, nullable=False),
        sa.Column("warn_at", sa.Text(), nullable=False),
        sa.Column("reserve_final_pico", PICO, nullable=False),
        sa.Column("set_by", sa.String(16), nullable=False),
        sa.Column("changed_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("scope_key", "unit", "per", "tz"),
    )
    op.create_table(
        "tg_closure",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("account_id", sa.String(64), nullable=False),
        sa.Column("code", sa.String(32), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("facts", JSON, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("ended_at", INSTANT, nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("ended_why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("tg_closure_standing", "tg_closure", ["run_id", "account_id"], unique=True, sqlite_where=sa.text("ended_at IS NULL"), postgresql_where=sa.text("ended_at IS NULL"))
    op.create_table(
        "tg_guard_event",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=True),
        sa.Column("scope_key", sa.Text(), nullable=True),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("facts", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("tg_guard_event_run", "tg_guard_event", ["run_id"])
    op.create_table(
        "tg_hold",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("held_at", INSTANT, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("lease_until", INSTANT, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("root_id", sa.String(64), nullable=True),
        sa.Column("node_id", sa.String(64), nullable=True),
        sa.Column("usd_pico", PICO, nullable=False),
        sa.Column("facts", JSON, nullable=False),
        sa.Column("granted", JSON, nullable=False),
        sa.Column("kept", JSON, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index("tg_hold_lease", "tg_hold", ["lease_until"])
    op.create_table(
        "tg_node",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.String(64), nullable=True),
        sa.Column("root_id", sa.String(64), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("labels", JSON, nullable=False),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("ended_at", INSTANT, nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("tg_node_root", "tg_node", ["root_id"])
    op.create_index("tg_node_started", "tg_node", ["started_at"])
    op.create_table(
        "tg_rollup_delta",
        sa.Column("event_id", sa.String(64), nullable=False),
        sa.Column("revision", sa.SmallInteger(), nullable=False, autoincrement=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("quality", sa.String(16), nullable=False),
        sa.Column("mode", sa.String(16), nullable=False),
        sa.Column("usd_pico", PICO, nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", "revision"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tg_spend_event",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("revision", sa.SmallInteger(), nullable=False, autoincrement=False),
        sa.Column("held_at", INSTANT, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("booked_at", INSTANT, nullable=False),
        sa.Column("call_id", sa.String(64), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=True),
        sa.Column("root_id", sa.String(64), nullable=True),
        sa.Column("node_id", sa.String(64), nullable=True),
        sa.Column("agent", sa.Text(), nullable=True),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("prompt_id", sa.Text(), nullable=True),
        sa.Column("mode", sa.String(16), nullable=False),
        sa.Column("labels", JSON, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("quality", sa.String(16), nullable=False),
        sa.Column("usd_pico", PICO, nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("steps", sa.BigInteger(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("usage", JSON, nullable=True),
        sa.Column("price_id", sa.Text(), nullable=True),
        sa.Column("price_version", sa.Text(), nullable=True),
        sa.Column("stated_pico", PICO, nullable=True),
        sa.Column("computed_pico", PICO, nullable=True),
        sa.Column("ceiling_pico", PICO, nullable=False),
        sa.Column("overrun", sa.Boolean(), nullable=False),
        sa.Column("response_model", sa.Text(), nullable=True),
        sa.Column("response_id", sa.Text(), nullable=True),
        sa.Column("service_tier", sa.Text(), nullable=True),
        sa.Column("finish_reason", sa.Text(), nullable=True),
        sa.Column("max_tokens", sa.BigInteger(), nullable=True),
        sa.Column("clamped", sa.Boolean(), nullable=False),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("ttft_ms", sa.BigInteger(), nullable=True),
        sa.Column("output_tps_milli", sa.BigInteger(), nullable=True),
        sa.Column("endpoint", sa.Text(), nullable=True),
        sa.Column("error_class", sa.Text(), nullable=True),
        sa.Column("error_status", sa.BigInteger(), nullable=True),
        sa.Column("error_request_id", sa.Text(), nullable=True),
        sa.Column("would_have", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", "revision"),
        sqlite_with_rowid=False,
    )
    op.create_index("tg_spend_event_at", "tg_spend_event", ["at"])
    op.create_index("tg_spend_event_root", "tg_spend_event", ["root_id"])
    op.create_table(
        "tg_meta",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "tg_spend_line",
        sa.Column("event_id", sa.String(64), nullable=False),
        sa.Column("revision", sa.SmallInteger(), nullable=False, autoincrement=False),
        sa.Column("position", sa.SmallInteger(), nullable=False, autoincrement=False),
        sa.Column("meter", sa.String(32), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("rate_pico", PICO, nullable=False),
        sa.Column("amount_pico", PICO, nullable=False),
        sa.PrimaryKeyConstraint("event_id", "revision", "position"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tg_transfer",
        sa.Column("hold_id", sa.String(64), nullable=False),
        sa.Column("held_at", INSTANT, nullable=False),
        sa.Column("phase", sa.SmallInteger(), nullable=False, autoincrement=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("legs", JSON, nullable=False),
        sa.PrimaryKeyConstraint("hold_id", "held_at", "phase"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """There is nothing before it: facts about money are not dropped by a script."""
    raise RuntimeError("0001 is the ledger's first schema. To start over, move the database away.")
