"""Months: on PostgreSQL transfers, events and lines are partitioned by the month of their hold; closing rows for pruning.

Revision: 0003, after 0002. Rows that are there are moved into the partitions of their months. The unique keys of
partitioned tables contain `held_at`, because PostgreSQL has no others.
"""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

PICO = sa.BigInteger().with_variant(sa.Numeric(38, 0), "postgresql")
INSTANT = sa.BigInteger().with_variant(sa.DateTime(timezone=True), "postgresql")

TABLES = {
    "tg_transfer": ("hold_id, held_at, phase", {}),
    "tg_spend_event": ("id, revision, held_at", {"tg_spend_event_root": "root_id", "tg_spend_event_at": "at"}),
    "tg_spend_line": ("event_id, revision, position, held_at", {}),
}


def upgrade() -> None:
    """Give lines the time of their hold, partition what is large, and make the table of closing rows."""
    bind = op.get_bind()
    op.create_table(
        "tg_closing",
        sa.Column("account_id", sa.String(64), nullable=False),
        sa.Column("held", PICO, nullable=False),
        sa.Column("settled", PICO, nullable=False),
        sa.Column("live", sa.BigInteger(), nullable=False),
        sa.Column("transfers", sa.BigInteger(), nullable=False),
        sa.Column("before", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("account_id"),
    )
    if bind.dialect.name == "sqlite":
        _lines_know_their_hold()
        return
    op.execute("ALTER TABLE tg_spend_line ADD COLUMN held_at TIMESTAMPTZ")
    op.execute(
        "UPDATE tg_spend_line AS line SET held_at = event.held_at FROM tg_spend_event AS event "
        "WHERE event.id = line.event_id AND event.revision = line.revision"
    )
    op.execute("ALTER TABLE tg_spend_line ALTER COLUMN held_at SET NOT NULL")
    months = _months(bind)
    for table, (key, indexes) in TABLES.items():
        _partition(bind, table, key, indexes, months)


def _lines_know_their_hold() -> None:
    """SQLite adds no column that must have a value, so the table is written anew."""
    op.create_table(
        "tg_spend_line_new",
        sa.Column("event_id", sa.String(64), nullable=False),
        sa.Column("revision", sa.SmallInteger(), nullable=False, autoincrement=False),
        sa.Column("position", sa.SmallInteger(), nullable=False, autoincrement=False),
        sa.Column("held_at", INSTANT, nullable=False),
        sa.Column("meter", sa.String(32), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("rate_pico", PICO, nullable=False),
        sa.Column("amount_pico", PICO, nullable=False),
        sa.PrimaryKeyConstraint("event_id", "revision", "position"),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO tg_spend_line_new SELECT line.event_id, line.revision, line.position, event.held_at, line.meter, "
        "line.quantity, line.rate_pico, line.amount_pico FROM tg_spend_line AS line JOIN tg_spend_event AS event "
        "ON event.id = line.event_id AND event.revision = line.revision"
    )
    op.execute("DROP TABLE tg_spend_line")
    op.execute("ALTER TABLE tg_spend_line_new RENAME TO tg_spend_line")


def _months(bind: sa.Connection) -> list[datetime]:
    """The first instants of the months that have rows, in UTC."""
    union = " UNION ".join(f"SELECT date_trunc('month', held_at AT TIME ZONE 'UTC') FROM {table}" for table in TABLES)
    return sorted(month.replace(tzinfo=UTC) for month in bind.execute(sa.text(union)).scalars())


def _partition(bind: sa.Connection, table: str, key: str, indexes: dict[str, str], months: list[datetime]) -> None:
    old = f"{table}_before_0003"
    op.execute(f"ALTER TABLE {table} RENAME TO {old}")
    op.execute(f"CREATE TABLE {table} (LIKE {old} INCLUDING DEFAULTS) PARTITION BY RANGE (held_at)")
    op.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
    for month in months:
        ends = month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)
        op.execute(
            f"CREATE TABLE {table}_p{month:%Y%m} PARTITION OF {table} "
            f"FOR VALUES FROM ('{month.isoformat()}') TO ('{ends.isoformat()}')"
        )
    op.execute(f"INSERT INTO {table} SELECT * FROM {old}")
    _hand_on_rights(bind, old, table)
    op.execute(f"DROP TABLE {old}")
    op.execute(f"ALTER TABLE {table} ADD PRIMARY KEY ({key})")
    for name, column in indexes.items():
        op.execute(f"CREATE INDEX {name} ON {table} ({column})")


def _hand_on_rights(bind: sa.Connection, old: str, new: str) -> None:
    """Whoever was granted something on the old table has it on the new one."""
    granted = sa.text(
        "SELECT privilege_type, CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE grantee::regrole::text END "
        "FROM pg_class, aclexplode(relacl) WHERE oid = CAST(:old AS regclass) AND grantee <> relowner"
    )
    for privilege, grantee in bind.execute(granted, {"old": old}).all():
        op.execute(f"GRANT {privilege} ON {new} TO {grantee}")


def downgrade() -> None:
    """Closing rows stand for facts that are nowhere else."""
    raise RuntimeError("0003 holds amounts that are nowhere else. To go back, restore the copy made before the upgrade.")
