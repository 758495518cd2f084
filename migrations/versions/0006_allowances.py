"""Allowances: the most that one process leases of a budget at a time.

Revision: 0006. Budgets that are there lease nothing until somebody declares them with an allowance.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

PICO = sa.BigInteger().with_variant(sa.Numeric(38, 0), "postgresql")


def upgrade() -> None:
    """Add the column to budgets and to their balances."""
    op.add_column("tg_budget", sa.Column("allowance_pico", PICO, nullable=True))
    op.add_column("tg_balance", sa.Column("allowance_pico", PICO, nullable=True))
