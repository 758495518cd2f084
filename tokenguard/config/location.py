"""Where the ledger is when nobody says: beside the project, else in the user's state folder."""

from __future__ import annotations

import os
import sys
from hashlib import blake2b
from pathlib import Path

from tokenguard.config.settings import find_project_file

__all__ = ["allowance_folder", "default_database", "spool_folder"]


def default_database(directory: Path) -> Path:
    """`tokenguard.db` beside the nearest `pyproject.toml` of `directory`, else in the user's state folder; absolute."""
    project = find_project_file("pyproject.toml", directory)
    if project:
        return (project.parent / "tokenguard.db").absolute()
    folder = _state_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / "tokenguard.db").absolute()


def spool_folder(chosen: str | None, ledger: str) -> Path:
    """Where this machine keeps what could not be booked yet: a folder of its own for each ledger.

    Args:
        chosen: `Guard(spool=)`; None: in the user's state folder.
        ledger: The ledger's name, without credentials.
    """
    above = Path(chosen) if chosen else _state_folder() / "spool"
    # A digest: the name is a path or a URL.
    return above.absolute() / blake2b(ledger.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def allowance_folder(spools: Path) -> Path:
    """Where processes of this machine write down what they pay out of allowances, beside a ledger's other spools."""
    return spools / "allowances"


def _state_folder() -> Path:
    """XDG_STATE_HOME and its counterparts on macOS and Windows."""
    if sys.platform == "darwin":
        folder = Path.home() / "Library" / "Application Support" / "tokenguard"
    elif sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "tokenguard"
    else:
        folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "tokenguard"
    return folder
