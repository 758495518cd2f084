import importlib
import subprocess
import sys
from typing import Any

import pytest

import tokenguard as tg
from tokenguard.cli.terminal import complain


def test_every_noun_is_there(cli: Any) -> None:
    done = cli("--help")

    assert done.code == 0
    for noun in ("demo", "doctor", "report", "runs", "budget", "prices", "db"):
        assert noun in done.out


def test_the_version_is_the_packages(cli: Any) -> None:
    assert cli("--version").out.strip() == tg.__version__


def test_an_unknown_command_is_a_usage_error(cli: Any) -> None:
    assert cli("frobnicate").code == 2


@pytest.mark.parametrize("arguments", [("db",), ("db", "--help"), ("db", "verify", "--help")])
def test_db_says_what_it_can_do(cli: Any, arguments: Any) -> None:
    done = cli(*arguments)

    assert "tokenguard db" in done.out + done.err
    assert "--database" in done.out or "verify" in done.out + done.err


def test_db_hands_its_exit_code_on(cli: Any, books: Any, tmp_path: Any) -> None:
    assert cli("db", "verify", "--database", books.path).code == 0
    assert cli("db", "verify", "--database", str(tmp_path / "none.db")).code != 0


def test_asking_for_help_loads_nothing_heavy() -> None:
    heavy = ("litellm", "sqlalchemy", "alembic", "tiktoken", "pydantic", "genai_prices")
    program = (
        "import sys\n"
        "from tokenguard.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print('loaded:', [name for name in {heavy!r} if name in sys.modules])\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert "loaded: []" in done.stdout


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tokenguard", "--version"], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.strip() == tg.__version__


def test_importing_the_module_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    importlib.import_module("tokenguard.__main__")

    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")


def test_an_error_is_one_sentence_without_a_cursor_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    complain(tg.SetupError("the name \x1b[2J is [bold]wrong[/bold]."))

    assert capsys.readouterr().err == "tokenguard: the name \N{REPLACEMENT CHARACTER}[2J is [bold]wrong[/bold].\n"
