"""Rolling windows: what accounts settled, by slice of time; and caps that `tokenguard.toml` declares.

Revision: 0005. The column types are spelled out and not imported: a script must build tomorrow what it built today.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

PICO = sa.BigInteger().with_variant(sa.Numeric(38, 0), "postgresql")
INSTANT = sa.BigInteger().with_variant(sa.DateTime(timezone=True), "postgresql")


def upgrade() -> None:
    """Add the table of slices and the column of the file's caps."""
    op.add_column("tg_budget", sa.Column("in_file", PICO, nullable=True))
    op.create_table(
        "tg_window_slice",
        sa.Column("account_id", sa.String(64), nullable=False),
        sa.Column("starts_at", INSTANT, nullable=False),
        sa.Column("settled", PICO, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "starts_at"),
        sqlite_with_rowid=False,
    )
