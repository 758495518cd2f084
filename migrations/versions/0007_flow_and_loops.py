"""Velocity on anchors, the state of loop rules, and an index for what repetitions cost.

Revision: 0007. Runs that are under way are counted by their own processes as before; those that begin now, by the
ledger.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

PICO = sa.BigInteger().with_variant(sa.Numeric(38, 0), "postgresql")
JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
INSTANT = sa.BigInteger().with_variant(sa.DateTime(timezone=True), "postgresql")
LOOPED = sa.text("kind = 'looped'")


def upgrade() -> None:
    """Add what flows to anchors, a table of states, and an index of the events that repetitions left."""
    op.add_column("tg_anchor", sa.Column("usd_per_minute_pico", PICO, nullable=True))
    op.add_column("tg_anchor", sa.Column("tokens_per_minute", PICO, nullable=True))
    op.add_column("tg_anchor", sa.Column("flow", JSON, nullable=True))
    op.create_table(
        "tg_loop_state",
        sa.Column("run_id", sa.String(64), nullable=False, primary_key=True),
        sa.Column("state", JSON, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
    )
    op.create_index("tg_guard_event_looped", "tg_guard_event", ["at"], sqlite_where=LOOPED, postgresql_where=LOOPED)
