"""Run by Alembic: on the connection that the ledger passes in, or on `-x url=…` for a developer at a shell."""

from alembic import context
from sqlalchemy import Connection, create_engine

from tokenguard.ledger.schema import VERSION_TABLE, metadata


def include_name(name: str | None, kind: str, _parents: object) -> bool:
    """Only our tables: a host application may keep its own in the same database, and partitions are in no schema."""
    return kind != "table" or (name or "") in metadata.tables


def run(connection: Connection) -> None:
    """Run the scripts in one transaction, also on SQLite, where a half-built ledger would be worse than none."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        include_name=include_name,
        render_as_batch=connection.dialect.name == "sqlite",
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with create_engine(context.get_x_argument(as_dictionary=True)["url"]).begin() as opened:
        run(opened)
