"""Where the ledger is when nobody says, and what this process is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokenguard.config import location
from tokenguard.config.location import default_database


def test_the_ledger_is_beside_the_nearest_pyproject(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    below = tmp_path / "src" / "deep"
    below.mkdir(parents=True)

    assert default_database(below) == tmp_path / "tokenguard.db"


def test_without_a_project_the_ledger_is_in_the_users_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    found = default_database(tmp_path)

    assert found == tmp_path / "state" / "tokenguard" / "tokenguard.db"
    assert found.parent.is_dir()


@pytest.mark.parametrize(
    ("platform", "environ", "folder"),
    [
        ("linux", {}, ".local/state/tokenguard"),
        ("darwin", {}, "Library/Application Support/tokenguard"),
        ("win32", {"LOCALAPPDATA": "{home}/Local"}, "Local/tokenguard"),
        ("win32", {}, "AppData/Local/tokenguard"),
    ],
)
def test_every_platform_has_a_state_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, environ: dict[str, str], folder: str
) -> None:
    monkeypatch.setattr(location.sys, "platform", platform)
    for name in ("XDG_STATE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for name, value in environ.items():
        monkeypatch.setenv(name, value.format(home=tmp_path))

    assert default_database(tmp_path) == tmp_path / folder / "tokenguard.db"
