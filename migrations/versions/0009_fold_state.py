"""How far a run's prompts are folded, so that a process that takes its place sends the same bytes.

Revision: 0009. The table begins empty: runs that were folded before go on as if they were new.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

INSTANT = sa.BigInteger().with_variant(sa.DateTime(timezone=True), "postgresql")


def upgrade() -> None:
    """Add a table of what was decided, by run."""
    op.create_table(
        "tg_fold_state",
        sa.Column("run_id", sa.String(64), nullable=False, primary_key=True),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("until", INSTANT, nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
    )
    op.create_index("tg_fold_state_until", "tg_fold_state", ["until"])
