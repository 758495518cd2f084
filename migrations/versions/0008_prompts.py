"""Originals of what was left out of prompts, and what folding saved.

Revision: 0008. Both tables begin empty; the first stays so unless `recovery` is switched on.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

PICO = sa.BigInteger().with_variant(sa.Numeric(38, 0), "postgresql")
INSTANT = sa.BigInteger().with_variant(sa.DateTime(timezone=True), "postgresql")


def upgrade() -> None:
    """Add a table of originals and one of savings."""
    op.create_table(
        "tg_original",
        sa.Column("root_id", sa.String(64), nullable=False, primary_key=True),
        sa.Column("marker", sa.String(64), nullable=False, primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("until", INSTANT, nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
    )
    op.create_index("tg_original_marker", "tg_original", ["marker"])
    op.create_index("tg_original_until", "tg_original", ["until"])
    op.create_table(
        "tg_saving",
        sa.Column("id", sa.String(64), nullable=False, primary_key=True),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("root_id", sa.String(64), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("stage", sa.String(32), nullable=False),
        sa.Column("applied", sa.Boolean(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in COUNTS),
        sa.Column("estimated_pico", PICO, nullable=False),
        sa.Column("settled_pico", PICO, nullable=False),
    )
    op.create_index("tg_saving_run", "tg_saving", ["run_id"])
    op.create_index("tg_saving_at", "tg_saving", ["at"])


COUNTS = ("calls", "results", "tokens_before", "tokens_after", "tokens", "elapsed_us")
