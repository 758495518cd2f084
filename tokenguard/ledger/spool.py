"""A file of records that only grows, written by one process and read by whoever cleans up after it.

What was written survives the death of the process (the kernel has it); `durable=True` survives power loss too. A lock
on the file says that its owner lives: the lock goes with the process, however it died, and only then may another
process take the file over.
"""

from __future__ import annotations

import json
import os
import threading
import zlib
from collections.abc import Mapping
from contextlib import suppress
from errno import ENOSPC
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from tokenguard.core.forks import renew_in_children
from tokenguard.errors import LedgerUnavailable

try:
    import fcntl
except ImportError:  # pragma: no cover  # Windows: nobody can tell whether an owner lives, so nothing is taken over
    fcntl = None  # type: ignore[assignment]

__all__ = ["SUFFIX", "Spool", "orphans"]

SUFFIX: Final = ".spool"
_PRIVATE: Final = 0o600
_compact: Final = json.JSONEncoder(separators=(",", ":")).encode


class Spool:
    """One process's records. Thread-safe; open it with `Spool.open` or `orphans`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor
        self._size = os.fstat(descriptor).st_size
        self.renew_lock(forked=False)
        renew_in_children(self)

    @classmethod
    def open(cls, folder: Path) -> Spool:
        """Begin a file of this process in a folder, which is made where it is missing.

        Raises:
            LedgerUnavailable: the folder cannot be written.
        """
        spool: Spool | None = None
        while spool is None:  # Who looks for orphans may lock a new file before its owner can, and throws it away.
            path = folder / f"{os.getpid()}-{token_hex(6)}{SUFFIX}"
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, _PRIVATE)
            except OSError as error:
                raise _unavailable(path, error) from error
            spool = _locked(path, descriptor)
        return spool

    @classmethod
    def at(cls, path: Path) -> Spool:
        """Open a file by its name to add to it, made where it is missing; nobody takes it over.

        Raises:
            LedgerUnavailable: it cannot be written.
        """
        try:
            return cls(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, _PRIVATE))
        except OSError as error:
            raise _unavailable(path, error) from error

    def renew_lock(self, *, forked: bool = True) -> None:
        """In a forked child: the file, and the lock that says its owner lives, are the parent's alone."""
        self._lock = threading.Lock()
        if forked and self._descriptor is not None:
            # Closing the child's copy keeps the parent's lock; unlocking would not.
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def is_open(self) -> bool:
        """False after `close`, and in a forked child."""
        return self._descriptor is not None

    def append(self, record: Mapping[str, Any], *, durable: bool = False) -> None:
        """Write one record, whole or not at all.

        Args:
            record: JSON values.
            durable: Wait until the disk has it.

        Raises:
            LedgerUnavailable: the disk is full or the file gone; nothing was written.
        """
        # ASCII, so that text which is no UTF-8 (lone surrogates) comes back as it was.
        self.append_json(_compact(record).encode("ascii"), durable=durable)

    def append_json(self, text: bytes, *, durable: bool = False) -> None:
        """The same for a record that is JSON already, on one line."""
        line = b"%08x %s\n" % (zlib.crc32(text), text)
        with self._lock:
            descriptor = self._opened()
            try:
                _write_whole(descriptor, line)
                if durable:
                    os.fsync(descriptor)
            except OSError as error:
                with suppress(OSError):
                    os.ftruncate(descriptor, self._size)
                raise _unavailable(self.path, error) from error
            self._size += len(line)

    @property
    def size(self) -> int:
        """Bytes written."""
        return self._size

    def records(self) -> list[dict[str, Any]]:
        """All records in the order they were written; one that a death or a disk cut short is left out."""
        with self._lock:
            descriptor = self._opened()
            content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        return [record for line in content.splitlines() if (record := _record_of(line)) is not None]

    def clear(self) -> None:
        """Forget all records: they are in the books."""
        with self._lock:
            os.ftruncate(self._opened(), 0)
            self._size = 0

    def close(self, *, remove: bool = False) -> None:
        """Let the file go, so that others may take it over; or remove it. Idempotent."""
        with self._lock:
            if self._descriptor is None:
                return
            if remove:
                # While the lock is held, or somebody could take over what is about to vanish.
                self.path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def _opened(self) -> int:
        if self._descriptor is None:
            raise LedgerUnavailable(f"the spool {self.path} was closed; make a new one.", database=str(self.path))
        return self._descriptor


def orphans(folder: Path) -> list[Spool]:
    """Spools in a folder whose owners are dead, locked for the caller, oldest first."""
    if fcntl is None:  # pragma: no cover  # Windows
        return []
    found: list[Spool] = []
    for path in sorted(folder.glob(f"*{SUFFIX}"), key=_age):
        with suppress(OSError):  # Its owner finished, or somebody else was faster.
            spool = _locked(path, os.open(path, os.O_RDWR | os.O_APPEND))
            if spool is not None:
                found.append(spool)
    return found


def _write_whole(descriptor: int, line: bytes) -> None:
    if os.write(descriptor, line) != len(line):
        raise OSError(ENOSPC, os.strerror(ENOSPC))


def _locked(path: Path, descriptor: int) -> Spool | None:
    """The spool behind a descriptor, if its lock is free and its file still there."""
    try:
        if fcntl is not None:  # pragma: no branch  # Windows
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink:
            return Spool(path, descriptor)
    except OSError:
        pass  # Its owner lives.
    os.close(descriptor)
    return None


def _age(path: Path) -> tuple[int, str]:
    try:
        return path.stat().st_mtime_ns, path.name
    except OSError:
        return 0, path.name


def _record_of(line: bytes) -> dict[str, Any] | None:
    """A line's record; None where it is not whole."""
    digest, _, text = line.partition(b" ")
    try:
        if int(digest, 16) != zlib.crc32(text):
            return None
        record: dict[str, Any] = json.loads(text)
    except ValueError:
        return None
    return record


def _unavailable(path: Path, error: OSError) -> LedgerUnavailable:
    return LedgerUnavailable(
        f"the spool {path} cannot be written ({error.strerror or type(error).__name__}). Make room there, or name "
        "another folder with Guard(spool=...).",
        database=str(path),
    )
