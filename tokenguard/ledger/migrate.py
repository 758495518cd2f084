"""The door to Alembic: finds the scripts, in the wheel or in the checkout, and runs them on an open connection."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from tokenguard.ledger.schema import VERSION_TABLE

__all__ = ["head", "migrate", "scripts"]


def migrate(connection: sa.Connection, *, to: str = "head") -> None:
    """Run every pending script up to a revision in the connection's open transaction."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def head() -> str | None:
    """The newest revision among the scripts."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def scripts() -> Path:
    """The scripts' folder: `tokenguard/_migrations` in a wheel, `migrations/` beside the package in a checkout."""
    package = Path(str(files("tokenguard")))
    shipped = package / "_migrations"
    return shipped if shipped.is_dir() else package.parent / "migrations"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["version_table"] = VERSION_TABLE
    return config
