"""Settings: argument over environment over file, and a sentence for whatever cannot be meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tokenguard as tg
from tokenguard.config.settings import Settings, find_project_file, load_settings
from tokenguard.core.budget import Budget
from tokenguard.errors import SettingsError


def load(directory: Path, environ: dict[str, str] | None = None, **arguments: Any) -> Settings:
    return load_settings(arguments, environ=environ or {}, directory=directory)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project folder that no file above it belongs to."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def write(folder: Path, text: str) -> None:
    (folder / "tokenguard.toml").write_text(text, encoding="utf-8")


def test_an_argument_beats_the_environment_which_beats_the_file(project: Path) -> None:
    write(project, 'database = "file.db"\nscope = "from/file"\nbusy = "raise"\nmode = "observe"\n')
    environ = {"TOKENGUARD_DATABASE": "environment.db", "TOKENGUARD_SCOPE": "from/environment"}

    settings = load(project, environ, database="argument.db")

    assert settings.database == "argument.db"
    assert settings.scope == "from/environment"
    assert (settings.busy, settings.mode) == ("raise", "observe")


def test_what_is_not_given_does_not_hide_what_is(project: Path) -> None:
    write(project, 'scope = "from/file"\n')

    settings = load(project, {"TOKENGUARD_SCOPE": ""}, scope=None, strict=None)

    assert settings.scope == "from/file"
    assert settings.strict is False


def test_the_environment_says_yes_and_no_in_words(project: Path) -> None:
    settings = load(project, {"TOKENGUARD_STRICT": "true", "TOKENGUARD_LOOPS": "0", "PATH": "/bin"})

    assert (settings.strict, settings.loops) == (True, False)


def test_the_run_that_a_parent_hands_down_is_no_setting(project: Path) -> None:
    settings = load(project, {"TOKENGUARD_RUN": "tg1.a.1.b"})

    assert settings == Settings()


def test_the_nearest_file_above_counts(project: Path) -> None:
    write(project, 'scope = "near"\n')
    write(project.parent, 'scope = "far"\n')
    below = project / "src" / "deep"
    below.mkdir(parents=True)

    assert load(below).scope == "near"
    assert find_project_file("tokenguard.toml", below) == project / "tokenguard.toml"
    assert find_project_file("no-file-of-this-name.toml", below) is None


@pytest.mark.parametrize(
    ("file", "environ", "arguments", "sentence"),
    [
        ('databse = "x"', {}, {}, "'databse' is not a setting of tokenguard. Did you mean 'database'?"),
        ("", {"TOKENGUARD_DURABLITY": "full"}, {}, "environment: 'TOKENGUARD_DURABLITY'"),
        ("", {"TOKENGUARD_DURABLITY": "full"}, {}, "Did you mean 'durability'?"),
        ("", {}, {"busyness": "wait"}, "arguments: 'busyness' is not a setting"),
        ("", {}, {"zzz": 1}, "Known: baggage_hosts, budget, budgets, busy, database"),
        ('mode = "dream"', {}, {}, "mode = 'dream'"),
        ("", {"TOKENGUARD_BUSY": "sometimes"}, {}, "environment: busy = 'sometimes'"),
        ("[budget]\nusd = 2.5", {}, {}, "budget.usd"),
        ("[budget]\nuds = '2'", {}, {}, "budget.uds"),
        ("strict = [1]", {}, {}, "strict = [1]"),
        ("this is no toml", {}, {}, "cannot be read as TOML"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence_that_names_its_source(
    project: Path, file: str, environ: dict[str, str], arguments: dict[str, Any], sentence: str
) -> None:
    if file:
        write(project, file)

    with pytest.raises(SettingsError) as wrong:
        load(project, environ, **arguments)

    assert sentence in str(wrong.value)
    assert wrong.value.path in (str(project / "tokenguard.toml"), "environment", "arguments")


def test_a_file_that_is_not_text_is_a_sentence(project: Path) -> None:
    (project / "tokenguard.toml").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(SettingsError, match="cannot be read as TOML"):
        load(project)


def test_budget_tables_are_budgets(project: Path) -> None:
    write(project, '[budget]\nusd = "50"\nper = "day"\ntz = "Europe/Berlin"\n[unattributed]\ncalls = 3\nper = "hour"\n')

    settings = load(project)

    assert settings.budget is not None
    assert settings.unattributed is not None
    assert settings.budget.budget() == Budget(usd="50", per="day", tz="Europe/Berlin")
    assert settings.unattributed.budget() == Budget(calls=3, per="hour")


def test_prices_are_a_file_beside_this_one_or_this_very_file(project: Path) -> None:
    write(project, 'prices = "prices.toml"\n')
    beside = load(project).prices
    write(project, '[prices."mine/model"]\ninput = "1"\noutput = "2"\n')
    inside = load(project).prices
    write(project, '[alias]\n"azure/mine" = "gpt-4o"\n')
    aliases = load(project).prices
    write(project, 'scope = "acme"\n')
    nowhere = load(project).prices

    assert beside == str(project / "prices.toml")
    assert inside == aliases == str(project / "tokenguard.toml")
    assert nowhere is None


def test_a_model_for_similar_answers_is_a_folder_beside_the_file(project: Path) -> None:
    write(project, '[loops]\nsimilar_by = "models/potion"\nsimilar_at = 0.8\n')

    loops = load(project).rungs().loops

    assert loops is not None
    assert (loops.similar_by, loops.similar_at) == (str(project / "models" / "potion"), 0.8)


def test_a_similarity_that_cannot_be_meant_names_the_file(project: Path) -> None:
    write(project, "[loops]\nsimilar_at = 90\n")

    with pytest.raises(SettingsError, match=r"tokenguard\.toml: similar_at=90"):
        load(project)


def test_a_file_gives_budgets_to_any_scope(project: Path) -> None:
    write(
        project,
        """
        [budgets.acme]
        usd = "500"
        per = "month"
        tz = "Europe/Berlin"
        warn_at = [0.9]

        [[budgets."acme/search"]]
        usd = "50"
        per = "day"

        [[budgets."acme/search"]]
        calls = 100
        per = "rolling 1h"

        [budgets."agent:acme/search/writer"]
        usd = "5"
        per = "day"
        reserve_final = "0.10"
        """,
    )

    scopes = load(project).scopes()

    assert [(one.key, one.budgets) for one in scopes] == [
        ("scope:acme", (Budget(usd=500, per="month", tz="Europe/Berlin", warn_at=(0.9,)),)),
        ("scope:acme/search", (Budget(usd=50, per="day"), Budget(calls=100, per="rolling 1h"))),
        ("agent:acme/search/writer", (Budget(usd=5, per="day", reserve_final="0.10"),)),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("budgets = 5", "budgets = 5"),
        ('[budgets.acme]\nusd = 2.5\nper = "day"', "budgets.acme.0.usd"),
        ('[budgets.acme]\nusd = "2.5"\nper = "decade"', "is not a period"),
        ('[budgets.acme]\nusd = "2.5"', "needs a period"),
        ('[budgets.acme]\nper = "day"', "caps nothing"),
        ('[budgets."run:1"]\nusd = "1"\nper = "day"', "names no scope"),
        ('[budgets."/"]\nusd = "1"\nper = "day"', "names no scope"),
        ('[budgets.acme]\nusd = "1"\nper = "day"\ncolour = "red"', "colour"),
        ('[budget]\nusd = "-1"', "below zero"),
    ],
)
def test_a_budget_in_the_file_that_cannot_be_meant_names_the_file(project: Path, text: str, says: str) -> None:
    write(project, text)

    with pytest.raises(SettingsError, match=r"tokenguard\.toml: ") as caught:
        load(project)

    assert says in caught.value.sentence


def test_what_is_done_to_prompts_is_a_level_or_a_table(project: Path) -> None:
    write(project, '[prompt]\nlevel = "safe"\nrecovery = "shell"\nshield = ["read_*"]\ntrim_above = 2000\n')
    assert load(project).folding() == tg.Folding("safe", recovery="shell", shield=["read_*"], trim_above=2_000)

    write(project, 'prompt = "lossless"\n')
    assert load(project).folding() == tg.Folding("lossless")
    assert load(project, prompt=tg.Folding("off")).folding() == tg.Folding("off")

    write(project, '[prompt]\nlevel = "safe"\n')
    with pytest.raises(SettingsError, match="nothing brings it back"):
        load(project)
