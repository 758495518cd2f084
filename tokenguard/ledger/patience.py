"""Connections to a PostgreSQL server that give up instead of waiting for ever.

Each limit is set where nobody set it: a parameter of the URL, a variable that libpq reads, and what the server's own
configuration says for the role or the database win. The server ends statements that take too long and transactions
that nobody goes on with, and so frees their locks. The kernel ends connections whose packets nobody acknowledges. What
neither sees, a network that acknowledges and carries nothing on, is noticed here. docs/adr/0020.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from typing import Any, Final, TypeVar

import psycopg

from tokenguard.core.clock import SystemClock
from tokenguard.ledger.faults import CONNECT_S, PING_S, SILENCE_MARGIN_S, STATEMENT_S

__all__ = ["PatientConnection", "Silence", "parameters"]

R = TypeVar("R")

_TCP: Final[Mapping[str, int]] = {
    "tcp_user_timeout": 1_000 * (STATEMENT_S + SILENCE_MARGIN_S),
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
_CONNECT_VARIABLE: Final = "PGCONNECT_TIMEOUT"

_LIMITS: Final = ("statement_timeout", "idle_in_transaction_session_timeout")
_NAMES: Final = ", ".join(f"'{name}'" for name in _LIMITS)
_SET: Final = (
    f"SELECT set_config(name, '{STATEMENT_S}s', false) FROM pg_settings WHERE source = 'default' AND name IN ({_NAMES})"  # noqa: S608  # our constants
)
_READ: Final = f"SELECT name, CAST(setting AS bigint) FROM pg_settings WHERE name IN ({_NAMES})"  # noqa: S608  # the same
_OURS_MS: Final = 1_000 * STATEMENT_S

_CLOCK: Final = SystemClock()


class Silence(psycopg.OperationalError):
    """Nothing came from the server for longer than it may take; the connection was closed."""

    def __init__(self, silent_s: float) -> None:
        super().__init__(f"nothing came for {silent_s:g} s")
        self.silent_s = silent_s


class PatientConnection(psycopg.Connection[Any]):
    """A connection that is closed where the server says nothing for too long."""

    silence_s: float | None = STATEMENT_S + SILENCE_MARGIN_S
    """How long it may say nothing; None: as long as it likes."""
    statement_s: float | None = None
    """How long a statement may take on the server; None: as long as it likes."""
    lifting: str = ""
    """What a transaction that may take long begins with, so that our own limits do not cut it."""

    def wait(self, gen: Generator[Any, Any, R], *args: Any, **how: Any) -> R:
        """Psycopg's own, but for the end of our patience."""
        if self.silence_s is None:
            return super().wait(gen, *args, **how)
        try:
            return super().wait(_listening(gen, self.silence_s), *args, **how)
        except Silence:
            self.close()
            raise

    def limit(self) -> None:
        """Bound what the server does for this connection, where nobody else did."""
        self.autocommit = True
        self.execute(_SET.encode())
        found = dict(self.execute(_READ.encode()).fetchall())
        self.autocommit = False
        statement_ms = found[_LIMITS[0]]
        self.statement_s = statement_ms / 1_000 if statement_ms else None
        self.lifting = "; ".join(f"SET LOCAL {name} = 0" for name in _LIMITS if found[name] == _OURS_MS)

    def hurry(self) -> None:
        """Expect answers within the server's own limit."""
        self.silence_s = None if self.statement_s is None else self.statement_s + SILENCE_MARGIN_S

    def take_time(self) -> None:
        """Wait for an answer however long it takes, until the transaction ends."""
        self.silence_s = None
        if self.lifting:
            self.execute(self.lifting.encode())

    def rest(self) -> None:
        """Nobody uses it. The first thing that it will be asked is whether it is still there."""
        self.silence_s = PING_S


def parameters(given: Mapping[str, Any]) -> dict[str, int]:
    """Connection parameters that the URL's own, `given`, leave open."""
    own = dict(_TCP) if _CONNECT_VARIABLE in os.environ else {"connect_timeout": CONNECT_S, **_TCP}
    return {name: value for name, value in own.items() if name not in given}


def _listening(gen: Generator[Any, Any, R], silence_s: float) -> Generator[Any, Any, R]:
    """Psycopg's conversation, which is asked several times a second whether anything came."""
    heard_s = _CLOCK.monotonic()
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            now_s = _CLOCK.monotonic()
            if ready:
                heard_s = now_s
            elif now_s - heard_s >= silence_s:
                raise Silence(silence_s)
            wanted = gen.send(ready)
    except StopIteration as end:
        result: R = end.value
        return result
    finally:
        gen.close()
