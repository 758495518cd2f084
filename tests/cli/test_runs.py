from typing import Any

import pytest

import tokenguard as tg
from tokenguard.backends.scripted import ScriptedBackend, ScriptedReply

ACTS = ("stop", "stop", "resume", "resume")


def test_runs_are_listed_newest_first_with_what_their_trees_spent(cli: Any, books: Any) -> None:
    done = cli("runs", "list", "--json", "--database", books.path)

    assert done.code == 0
    assert [(run["name"], run["usd"], run["state"]) for run in done.json["runs"]] == [
        ("stopped [red]now[/red]", "0.1", "stopped: budget_exceeded"),
        ("finished", "0.25", "completed"),
    ]


def test_markup_in_a_name_is_printed_as_it_is(cli: Any, books: Any) -> None:
    done = cli("runs", "list", "--database", books.path)

    assert "stopped [red]now[/red]" in done.out


def test_a_run_is_shown_by_a_prefix_of_its_id(cli: Any, books: Any) -> None:
    done = cli("runs", "show", books.finished[:30], "--database", books.path)

    assert done.code == 0
    assert "└─ agent writer" in done.out
    assert "exactly 0.25" in done.out


def test_an_agent_inside_a_run_is_found_too(cli: Any, books: Any) -> None:
    shown = cli("runs", "show", books.finished, "--json", "--database", books.path).json
    agent = shown["children"][0]["id"]

    done = cli("runs", "show", agent, "--json", "--database", books.path)

    assert done.json["name"] == "writer"


def test_a_stopped_run_says_why(cli: Any, books: Any) -> None:
    done = cli("runs", "show", books.stopped, "--database", books.path)

    assert "is spent: $0.10 of $0.10 used" in done.out


@pytest.mark.parametrize(
    ("run", "says"),
    [("0193", "too short"), ("ffffffff", "there is no run"), ("019", "too short")],
)
def test_what_names_no_run_is_asked_again(cli: Any, books: Any, run: str, says: str) -> None:
    done = cli("runs", "show", run, "--database", books.path)

    assert done.code == 2
    assert says in done.err


def test_a_prefix_of_several_runs_names_them(cli: Any, books: Any) -> None:
    done = cli("runs", "show", books.finished[:8], "--database", books.path)

    assert done.code == 2
    assert books.finished in done.err
    assert books.stopped in done.err


def test_a_run_that_a_person_stops_sends_nothing_more_until_it_is_resumed(cli: Any, books: Any) -> None:
    stopped = cli("runs", "stop", books.finished, "--why", "too chatty", "--database", books.path)
    again = cli("runs", "stop", books.finished, "--why", "too chatty", "--database", books.path)
    shown = cli("runs", "show", books.finished, "--database", books.path)
    resumed = cli("runs", "resume", books.finished, "--why", "fine now", "--database", books.path)
    never = cli("runs", "resume", books.finished, "--why", "fine now", "--database", books.path)

    assert (stopped.code, again.code, resumed.code, never.code) == (0, 1, 0, 1)
    assert "too chatty" in shown.out


def test_resuming_a_run_whose_cap_is_spent_says_how_to_raise_it(cli: Any, books: Any) -> None:
    done = cli("runs", "resume", books.stopped, "--why", "go on", "--database", books.path)

    assert f"tokenguard budget set run:{books.stopped} --usd AMOUNT --per run" in done.out


def test_acting_on_a_run_declares_no_budget_of_the_project(cli: Any, books: Any, tmp_path: Any) -> None:
    (tmp_path / "tokenguard.toml").write_text('scope = "acme/search"\n[budget]\nusd = "7"\nper = "day"\n')

    cli("runs", "stop", books.finished, "--why", "x", "--database", books.path)

    listed = cli("budget", "list", "--json", "--database", books.path).json["budgets"]
    assert [(one["scope"], one["cap"]) for one in listed] == [("scope:acme/search", "50")]


def test_a_ledger_that_is_not_there_is_not_made_by_looking(cli: Any, tmp_path: Any) -> None:
    done = cli("runs", "list", "--database", str(tmp_path / "none.db"))

    assert done.code == 1
    assert "there is no ledger at" in done.err
    assert not (tmp_path / "none.db").exists()


def test_a_ledger_in_memory_is_nobody_elses(cli: Any) -> None:
    done = cli("runs", "list", "--database", "memory")

    assert done.code == 2
    assert "no other program can read them" in done.err


def test_the_ledger_is_found_by_the_same_rules_as_in_code(cli: Any, books: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("TOKENGUARD_DATABASE", books.path)

    assert cli("runs", "list").code == 0


def test_open_runs_are_those_that_have_not_ended(cli: Any, books: Any) -> None:
    with tg.Guard(database=books.path) as guard, guard.run("still there"):
        done = cli("runs", "list", "--open", "--json", "--database", books.path)

    assert [run["name"] for run in done.json["runs"]] == ["still there"]


def test_no_runs_at_all_is_a_sentence(cli: Any, tmp_path: Any) -> None:
    path = str(tmp_path / "empty.db")
    cli("budget", "set", "acme", "--usd", "1", "--per", "day", "--database", path)

    every, still = (cli("runs", "list", *flags, "--database", path) for flags in ((), ("--open",)))

    assert (every.code, still.code) == (0, 0)
    assert every.out == f"There are no runs. Ledger: {path}\n"
    assert still.out == f"There are no open runs. Ledger: {path}\n"


def test_stopping_and_resuming_answer_as_json_too(cli: Any, books: Any) -> None:
    acts = [cli("runs", act, books.finished, "--why", "x", "--json", "--database", books.path) for act in ACTS]

    assert [(done.code, done.json) for done in acts] == [
        (0, {"run": books.finished, "stopped": True}),
        (1, {"run": books.finished, "stopped": False}),
        (0, {"run": books.finished, "resumed": True}),
        (1, {"run": books.finished, "resumed": False}),
    ]


def test_money_that_is_not_plainly_settled_is_explained(cli: Any, tmp_path: Any) -> None:
    path = str(tmp_path / "marks.db")
    backend = ScriptedBackend([ScriptedReply("who knows how much?", usage=None), ScriptedReply("ok")])
    prices = tg.Prices(unknown="assume", assume={"input": "10", "output": "40"})
    with tg.Guard(database=path, backend=backend, prices=prices) as guard, guard.run("marks") as run:
        guard.completion("openai/gpt-5-mini", [{"role": "user", "content": "hello"}])
        guard.completion("openai/my-own-model", [{"role": "user", "content": "hello"}])
        with guard.charge("browser", up_to="0.05"):
            done = cli("runs", "show", run.id, "--database", path)

    assert "held: reserved for calls in flight" in done.out
    assert "estimated: counted by tokenguard" in done.out
    assert "assumed: booked at its ceiling" in done.out
