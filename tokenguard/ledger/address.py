"""Where the ledger is: a file's path or a database URL, read once, named without credentials."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from tokenguard.errors import LedgerUnavailable, MissingExtra, SettingsError

__all__ = ["Address"]

_SCHEMES = ("sqlite", "postgresql", "postgres")


@dataclass(frozen=True, slots=True)
class Address:
    """A database's URL and the name that may be shown."""

    url: URL
    name: str
    """An absolute path, or `postgresql://host:port/database` without user and password."""
    path: Path | None
    """The SQLite file; None for a server or a `file:` URI."""

    @property
    def is_sqlite(self) -> bool:
        """Whether it is SQLite."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def is_file(self) -> bool:
        """Whether it is SQLite, in a file and not in shared memory."""
        return self.is_sqlite and self.url.query.get("mode") != "memory"

    @classmethod
    def of(cls, database: str) -> Address:
        """Read a path (`spend.db`) or a URL (`sqlite:///spend.db`, `postgresql://user@host/database`).

        Raises:
            SettingsError: it is neither, or names a database that has no file and is not shared.
            LedgerUnavailable: the file's folder does not exist.
            MissingExtra: the driver for PostgreSQL is not installed.
        """
        text = database.strip()
        if not text or ":memory:" in text or text == "sqlite://":
            raise SettingsError(
                f'database={database!r} keeps nothing. Write database="memory" for books in memory, or name a file.',
                database=database,
            )
        if "://" not in text:
            return _file(Path(text))
        # What stands before the scheme's end is safe to show; the rest may hold a password.
        scheme = text.partition("://")[0].partition("+")[0]
        try:
            url = make_url(text)
        except (ArgumentError, ValueError):
            raise SettingsError(f"database={scheme}://… is not a readable database URL.", database=scheme) from None
        if scheme not in _SCHEMES:
            raise SettingsError(
                f"database={scheme}://… is not supported. Use a file's path, sqlite:/// or postgresql://.",
                database=scheme,
            )
        return _sqlite_url(url) if scheme == "sqlite" else _server(url)


def _file(path: Path) -> Address:
    absolute = path.expanduser().absolute()
    if not absolute.parent.is_dir():
        raise LedgerUnavailable(
            f"ledger {absolute} cannot be opened: there is no folder {absolute.parent}. "
            "Create it, or name another place.",
            database=str(absolute),
        )
    if absolute.is_dir():
        raise LedgerUnavailable(
            f"ledger {absolute} cannot be opened: it is a folder. "
            f"Name a file in it, such as {absolute / 'tokenguard.db'}.",
            database=str(absolute),
        )
    return Address(URL.create("sqlite", database=str(absolute)), str(absolute), absolute)


def _sqlite_url(url: URL) -> Address:
    database = url.database or ""
    if database.startswith("file:"):
        return Address(url, database.removeprefix("file:"), None)
    return _file(Path(database))


def _server(url: URL) -> Address:
    try:
        import psycopg  # noqa: F401, PLC0415  # pyright: ignore[reportUnusedImport]  # only asked for where it is used
    except ImportError:
        raise MissingExtra(
            'PostgreSQL needs a driver: pip install "tokenguard-llm[postgres]".', extra="postgres"
        ) from None
    hosts = url.query.get("host", "local")
    host = url.host or (hosts if isinstance(hosts, str) else ",".join(hosts))
    port = f":{url.port}" if url.port else ""
    return Address(url.set(drivername="postgresql+psycopg"), f"postgresql://{host}{port}/{url.database or ''}", None)
