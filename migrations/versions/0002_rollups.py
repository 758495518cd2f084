"""Rollups: what compacted deltas came to, by day and dimensions.

Revision: 0002, after 0001.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

PICO = sa.BigInteger().with_variant(sa.Numeric(38, 0), "postgresql")


def upgrade() -> None:
    """Build the table; the deltas that are there are compacted later, by whoever does that next."""
    op.create_table(
        "tg_rollup",
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("quality", sa.String(16), nullable=False),
        sa.Column("mode", sa.String(16), nullable=False),
        sa.Column("pruned", sa.Boolean(), nullable=False),
        sa.Column("usd_pico", PICO, nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "scope", "agent", "model", "provider", "operation", "quality", "mode", "pruned"),
        *([sa.CheckConstraint("typeof(usd_pico) = 'integer'", name="tg_rollup_whole")] if op.get_bind().dialect.name == "sqlite" else []),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Compacted deltas are nowhere else."""
    raise RuntimeError("0002 holds amounts that are nowhere else. To go back, restore the copy made before the upgrade.")
