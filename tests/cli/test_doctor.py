import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tokenguard.counting import encodings


def about(done: Any, name: str) -> list[dict[str, str]]:
    return [check for check in done.json["checks"] if check["about"] == name]


def absent(missing: str, really: Any) -> Any:
    """importlib.metadata as it answers where one distribution is not installed."""

    def answer(name: str) -> Any:
        if name == missing:
            raise metadata.PackageNotFoundError(name)
        return really(name)

    return answer


def test_a_sound_installation_has_no_finding(cli: Any, books: Any) -> None:
    done = cli("doctor", "--json", "--database", books.path)

    assert done.code == 0
    assert done.json["ok"]
    assert about(done, "ledger")[0]["says"].startswith(books.path)
    assert {check["verdict"] for check in about(done, "tokenizer")} == {"ok"}


def test_a_stranger_that_owns_the_import_name_is_a_finding(cli: Any, books: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(metadata, "packages_distributions", lambda: {"tokenguard": ["tokenguard", "tokenguard-llm"]})

    done = cli("doctor", "--json", "--database", books.path)

    assert done.code == 1
    assert "pip uninstall tokenguard, then reinstall tokenguard-llm" in about(done, "import name")[0]["says"]


def test_a_setting_says_where_it_comes_from(cli: Any, books: Any, tmp_path: Any, monkeypatch: Any) -> None:
    (tmp_path / "tokenguard.toml").write_text('scope = "acme"\n')
    monkeypatch.setenv("TOKENGUARD_STRICT", "true")

    done = cli("doctor", "--json", "--database", books.path)

    says = [check["says"] for check in about(done, "setting")]
    assert "strict = True (from TOKENGUARD_STRICT)" in says
    assert f"scope = 'acme' (from {tmp_path / 'tokenguard.toml'})" in says


def test_a_database_url_with_a_password_is_not_printed(cli: Any) -> None:
    done = cli("doctor", "--database", "postgresql://me:hunter2@localhost:1/books")

    assert "hunter2" not in done.out + done.err


def test_a_misspelled_setting_is_a_finding_and_not_a_crash(cli: Any, tmp_path: Any) -> None:
    (tmp_path / "tokenguard.toml").write_text('databse = "x.db"\n')

    done = cli("doctor", "--json")

    assert done.code == 1
    assert "Did you mean 'database'?" in about(done, "settings")[0]["says"]


def test_a_ledger_that_is_no_database_is_a_finding(cli: Any, tmp_path: Any) -> None:
    path = tmp_path / "notes.db"
    path.write_text("these are notes, not a database" * 100)

    done = cli("doctor", "--json", "--database", str(path))

    assert done.code == 1
    assert about(done, "ledger")[0]["verdict"] == "finding"


def test_a_library_that_is_missing_is_a_finding(cli: Any, books: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(metadata, "version", absent("tiktoken", metadata.version))

    done = cli("doctor", "--json", "--database", books.path)

    assert done.code == 1
    assert about(done, "tiktoken") == [
        {
            "about": "tiktoken",
            "verdict": "finding",
            "says": "is not installed; pip install tokenguard-llm brings it",
        }
    ]


def test_price_data_whose_age_nobody_knows_is_named_without_one(cli: Any, books: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(metadata, "files", lambda _: [metadata.PackagePath("is-gone.dist-info/METADATA")])

    done = cli("doctor", "--json", "--database", books.path)

    assert done.code == 0
    assert any(check["says"].startswith("genai-prices") for check in about(done, "prices"))
    assert not any("installed" in check["says"] for check in about(done, "prices"))


def test_old_price_data_is_something_to_know(cli: Any, books: Any, monkeypatch: Any, tmp_path: Path) -> None:
    old = tmp_path / "genai_prices-0.dist-info" / "METADATA"
    old.parent.mkdir()
    old.write_text("Name: genai-prices")
    os.utime(old, (1_600_000_000, 1_600_000_000))
    really = metadata.distribution
    kept = metadata.PathDistribution(old.parent)
    monkeypatch.setattr(metadata, "distribution", lambda name: kept if name == "genai-prices" else really(name))
    monkeypatch.setattr(metadata, "files", lambda _: [metadata.PackagePath("genai_prices-0.dist-info/METADATA")])

    done = cli("doctor", "--json", "--database", books.path)

    noted = [check["says"] for check in about(done, "prices") if check["verdict"] == "note"]
    assert done.code == 0
    assert any("genai-prices" in says and "upgrade the package" in says for says in noted)


def test_without_settings_the_defaults_are_in_force(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()

    done = cli("doctor", "--json")

    assert done.code == 0
    assert "none set: defaults are in force" in about(done, "settings")[0]["says"]
    assert about(done, "ledger")[0] == {
        "about": "ledger",
        "verdict": "ok",
        "says": f"{tmp_path / 'tokenguard.db'} is not there yet; the first guarded call makes it",
    }
    assert not (tmp_path / "tokenguard.db").exists()


def test_a_ledger_whose_folder_cannot_be_written_is_a_finding(cli: Any, tmp_path: Path, monkeypatch: Any) -> None:
    # Root may write everywhere, so the answer of the system is given, not provoked.
    monkeypatch.setattr(os, "access", lambda *_: False)

    done = cli("doctor", "--json", "--database", str(tmp_path / "new.db"))

    assert done.code == 1
    assert about(done, "ledger")[0]["says"].endswith("but its folder is read-only")


def test_a_parents_run_in_the_environment_is_something_to_know(cli: Any, books: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("TOKENGUARD_RUN", "{}")

    done = cli("doctor", "--json", "--database", books.path)

    assert "note" in [check["verdict"] for check in about(done, "setting")]


@pytest.fixture
def no_vocabularies(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A LiteLLM that ships no BPE files."""
    really = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.parent.name == "tokenizers":
            raise FileNotFoundError(path)
        return really(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    encodings._load.cache_clear()
    yield
    encodings._load.cache_clear()


@pytest.mark.usefixtures("no_vocabularies")
def test_missing_vocabularies_are_something_to_know_and_no_finding(cli: Any, books: Any) -> None:
    done = cli("doctor", "--json", "--database", books.path)

    assert done.code == 0
    assert {check["verdict"] for check in about(done, "tokenizer")} == {"note"}


def test_doctor_for_people_ends_with_a_verdict(cli: Any, books: Any, tmp_path: Path) -> None:
    sound = cli("doctor", "--database", books.path)
    (tmp_path / "tokenguard.toml").write_text('databse = "x.db"\n')
    wrong = cli("doctor", "--database", books.path)

    assert (sound.code, wrong.code) == (0, 1)
    assert sound.out.endswith("\nNothing to repair.\n")
    assert "Did you mean 'database'?" in wrong.out
    assert "finding" in wrong.out.splitlines()[-1]
