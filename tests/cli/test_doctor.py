from importlib import metadata
from typing import Any


def about(done: Any, name: str) -> list[dict[str, str]]:
    return [check for check in done.json["checks"] if check["about"] == name]


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
