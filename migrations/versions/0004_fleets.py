"""Run trees over many processes: limits counted on their anchors, and processes that say they live.

Revision: 0004. Nodes begun before it have no `above_id`: they are not counted as live children, and their trees have no
anchors, so that limits begin to be shared with the next root run.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INSTANT = sa.BigInteger().with_variant(sa.DateTime(timezone=True), "postgresql")
JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
LIVES = sa.text("ended_at IS NULL AND above_id IS NOT NULL")


def upgrade() -> None:
    """Add anchors and owners, and the run above each run."""
    op.add_column("tg_node", sa.Column("above_id", sa.String(64), nullable=True))
    op.create_index("tg_node_live", "tg_node", ["above_id"], sqlite_where=LIVES, postgresql_where=LIVES)
    op.create_table(
        "tg_anchor",
        sa.Column("node_id", sa.String(64), nullable=False),
        sa.Column("depth", sa.BigInteger(), nullable=True),
        sa.Column("children", sa.BigInteger(), nullable=True),
        sa.Column("descendants", sa.BigInteger(), nullable=True),
        sa.Column("spawns_per_minute", sa.BigInteger(), nullable=True),
        sa.Column("begun", sa.BigInteger(), nullable=False),
        sa.Column("spawns", JSON, nullable=False),
        sa.PrimaryKeyConstraint("node_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tg_owner",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("lease_until", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
