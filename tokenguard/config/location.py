"""Where the ledger is when nobody says: beside the project, else in the user's state folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tokenguard.config.settings import find_project_file

__all__ = ["default_database"]


def default_database(directory: Path) -> Path:
    """`tokenguard.db` beside the nearest `pyproject.toml` of `directory`, else in the user's state folder; absolute."""
    project = find_project_file("pyproject.toml", directory)
    folder = project.parent if project else _state_folder()
    return (folder / "tokenguard.db").absolute()


def _state_folder() -> Path:
    """XDG_STATE_HOME and its counterparts on macOS and Windows."""
    if sys.platform == "darwin":
        folder = Path.home() / "Library" / "Application Support" / "tokenguard"
    elif sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "tokenguard"
    else:
        folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "tokenguard"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
