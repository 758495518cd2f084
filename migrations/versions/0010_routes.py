"""Why a call was routed where it was, and what it would have cost elsewhere.

Revision: 0010. Rows from before say nothing, because nothing was routed.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

PICO = sa.BigInteger().with_variant(sa.Numeric(38, 0), "postgresql")


def upgrade() -> None:
    """Add what a route says to the events."""
    for name in ("route", "first_choice"):
        op.add_column("tg_spend_event", sa.Column(name, sa.Text(), nullable=True))
    for name in ("counterfactual_pico", "internal_pico"):
        op.add_column("tg_spend_event", sa.Column(name, PICO, nullable=True))
