"""The facade: where settings come from, where the ledger is, and what a guard does at its end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
from support import PENNY, PRICES, ask

import tokenguard as tg
from tokenguard.calls.scope import current
from tokenguard.testing import ScriptedBackend, ScriptedReply, scripted_guard

CENT = ScriptedReply("done", usage={"prompt_tokens": 0, "completion_tokens": 400})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder to stand in, with no setting in the environment."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").touch()
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("TOKENGUARD_")]:
        monkeypatch.delenv(name)
    return folder


def call(guard: tg.Guard, number: int = 0) -> Any:
    return guard.completion(PENNY, ask(number), max_tokens=400)


def test_the_default_ledger_is_beside_the_project_and_is_named_once_on_stderr(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guards = [tg.Guard(backend=ScriptedBackend([CENT]), prices=PRICES) for _ in range(2)]

    receipts = []
    for guard in guards:
        with guard, guard.run("agent") as run:
            call(guard)
            receipts.append(run.receipt())

    database = str(project / "tokenguard.db")
    assert capsys.readouterr().err.count(f"the ledger is {database} ") == 1
    assert [receipt.ledger for receipt in receipts] == [database, database]
    assert f"ledger: {database}" in str(receipts[0])


def test_outside_a_project_the_ledger_is_in_the_state_folder(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "pyproject.toml").unlink()
    monkeypatch.setenv("XDG_STATE_HOME", str(project / "state"))

    with tg.Guard(backend=ScriptedBackend([CENT]), prices=PRICES) as guard, guard.run("agent") as run:
        call(guard)

    assert run.receipt().ledger == str(project / "state" / "tokenguard" / "tokenguard.db")
    assert "TOKENGUARD_DATABASE to choose" in capsys.readouterr().err


def test_a_ledger_that_was_chosen_is_not_announced(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tg.Guard(database=project / "mine.db", backend=ScriptedBackend([CENT]), prices=PRICES) as guard:
        with guard.run("agent"):
            call(guard)

    assert (project / "mine.db").is_file()
    assert capsys.readouterr().err == ""


def test_the_project_file_holds_settings_budgets_and_prices_together(project: Path) -> None:
    (project / "tokenguard.toml").write_text(
        """
        database = "memory"
        scope = "acme/search"
        busy = "raise"

        [budget]
        usd = "0.02"
        per = "day"

        [unattributed]
        calls = 1
        per = "hour"

        [prices."openai/penny"]
        input = "0"
        output = "25"
        """
    )

    with tg.Guard(backend=ScriptedBackend([CENT] * 9)) as guard, guard.run("agent") as run:
        call(guard, 1)
        call(guard, 2)
        with pytest.raises(tg.BudgetExceeded) as stop:
            call(guard, 3)

    assert (stop.value.scope, stop.value.per) == ("acme/search", "day")
    assert run.receipt().cost == tg.Money("0.02")


def test_the_unattributed_budget_of_the_project_file_is_the_one_outside_of_runs(project: Path) -> None:
    (project / "tokenguard.toml").write_text('database = "memory"\n[unattributed]\ncalls = 1\nper = "hour"\n')

    with tg.Guard(backend=ScriptedBackend([CENT] * 9), prices=PRICES) as guard, warnings.catch_warnings():
        warnings.simplefilter("ignore", tg.UnattributedSpend)
        call(guard, 1)
        with pytest.raises(tg.BudgetExceeded) as stop:
            call(guard, 2)

    assert (stop.value.scope, stop.value.unit, stop.value.cap) == ("unattributed", "calls", 1)


def test_a_mistyped_variable_is_said_at_the_first_use(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENGUARD_BUGDET", "5")
    guard = scripted_guard([CENT])

    with pytest.raises(tg.SetupError, match="'TOKENGUARD_BUGDET' is not a setting of tokenguard") as wrong:
        call(guard)

    assert "Did you mean 'budget'?" in str(wrong.value)


def test_a_budget_per_run_caps_each_root_run_by_itself_and_not_their_children() -> None:
    with scripted_guard(lambda _: CENT, prices=PRICES, budget=tg.Budget(usd="0.02")) as guard:
        for number in range(3):
            with guard.run("root") as run, guard.run("child"):
                call(guard, 10 * number)
                call(guard, 10 * number + 1)
                with pytest.raises(tg.BudgetExceeded) as stop:
                    call(guard, 10 * number + 2)

    assert stop.value.scope == "run root"
    assert run.receipt().cost == tg.Money("0.02")


async def test_every_verb_has_its_async_twin() -> None:
    with scripted_guard(lambda _: CENT, prices=PRICES) as guard:
        async with guard.run("agent") as run:
            whole = await guard.acompletion(PENNY, ask())
            response = await guard.aresponses(PENNY, "hello")
            embedded = await guard.aembedding(PENNY, ["one", "two"])
            chunks = [chunk async for chunk in await guard.acompletion(PENNY, ask(), stream=True)]

    assert whole.choices[0].message.content == "done"
    assert tg.receipt_of(response) is not None
    assert len(embedded.data) == 2
    assert len(chunks) >= 3
    assert run.receipt().calls == 4


async def test_scopes_and_joins_are_entered_under_asyncio_too() -> None:
    budget = tg.Budget(usd="0.01", per="total")

    with scripted_guard(lambda _: CENT, prices=PRICES, scope="acme") as guard:
        async with guard.run("theirs") as theirs:
            token = theirs.token()
            async with guard.scope("team", budget=budget), guard.join(token) as joined:
                await guard.acompletion(PENNY, ask(1), max_tokens=400)
                with pytest.raises(tg.BudgetExceeded) as stop:
                    await guard.acompletion(PENNY, ask(2), max_tokens=400)
            after = current(guard)
            receipt = joined.receipt()

    assert stop.value.scope == "acme/team"
    assert after is theirs.frame
    assert receipt.cost == tg.Money("0.01")
    assert joined.id == theirs.id


def test_a_join_inside_a_run_of_ones_own_charges_both_and_nests_runs_below() -> None:
    with scripted_guard(lambda _: CENT, prices=PRICES, database="memory") as guard:
        ledger = guard.late.get().ledger
        with scripted_guard(lambda _: CENT, prices=PRICES, ledger=ledger) as other:
            with other.run("theirs", budget=tg.Budget(usd="0.02")) as theirs, guard.run("mine") as mine:
                with guard.join(theirs.token()), guard.run("below") as below:
                    call(guard, 1)
                    call(guard, 2)
                    with pytest.raises(tg.BudgetExceeded) as stop:
                        call(guard, 3)
                call(guard, 4)

    assert stop.value.scope == "run theirs"
    assert (theirs.receipt().cost, mine.receipt().cost) == (tg.Money("0.02"), tg.Money("0.01"))
    assert below.receipt().cost == tg.Money("0.02")


def test_a_token_of_a_run_that_another_ledger_forgot_is_a_sentence() -> None:
    with scripted_guard([CENT]) as guard, pytest.raises(tg.SetupError, match="there is no run"):
        with guard.join(guard._acts.token("nobody")):
            pass


def test_a_run_in_the_environment_is_joined_without_a_word(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = str(project / "spend.db")
    backend = ScriptedBackend(lambda _: CENT)

    with tg.Guard(database=database, backend=backend, prices=PRICES) as parent, parent.run("parent") as run:
        for name, value in parent.env().items():
            monkeypatch.setenv(name, value)
        with tg.Guard(backend=backend, prices=PRICES, strict=True) as child:
            call(child, 1)
            call(child, 2)

    assert run.receipt().cost == tg.Money("0.02")


def test_a_named_scope_needs_a_name_and_a_period() -> None:
    with scripted_guard([CENT]) as guard:
        with pytest.raises(tg.SetupError, match="has no name"):
            guard.scope(" / ")
        with pytest.raises(tg.SetupError, match="needs a period"):
            guard.scope("team", budget=tg.Budget(usd="1"))


def test_a_scope_can_be_entered_again() -> None:
    with scripted_guard(lambda _: CENT, prices=PRICES) as guard:
        team = guard.scope("team", budget=tg.Budget(usd="0.02", per="total"))
        with team, guard.run("one"):
            call(guard, 1)
        with team, guard.run("two"), team:
            call(guard, 2)
            with pytest.raises(tg.BudgetExceeded) as stop:
                call(guard, 3)

    assert stop.value.scope == "team"


def test_a_listener_hears_its_kind_until_it_is_taken_off() -> None:
    heard: list[str] = []

    with scripted_guard(lambda _: CENT, prices=PRICES) as guard, guard.run("agent"):
        off = guard.on(tg.events.Settlement, lambda event: heard.append(event.facts.model))
        call(guard, 1)
        off()
        off()
        call(guard, 2)

    assert heard == [PENNY]


def test_a_listener_to_faults_that_fails_itself_is_left_alone() -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    with scripted_guard(lambda _: CENT, prices=PRICES) as guard, guard.run("agent") as run:
        guard.on(tg.events.Fault, fail)
        guard.on(tg.events.Settlement, fail)
        call(guard)

    assert run.receipt().cost == tg.Money("0.01")


def test_leaving_a_run_from_another_thread_leaves_that_threads_own_place_alone() -> None:
    with scripted_guard([CENT], prices=PRICES) as guard:
        outer, places = guard.run("outer"), []
        outer.__enter__()

        def leave_there() -> None:
            with guard.run("theirs") as theirs:
                outer.__exit__(None, None, None)
                places.append(current(guard) is theirs.frame)

        thread = threading.Thread(target=leave_there)
        thread.start()
        thread.join()
        outer._context = None

    assert places == [True]
    assert outer.receipt().node.outcome == "completed"


PROGRAM = """
import tokenguard as tg
from tokenguard.testing import ScriptedBackend, ScriptedReply

cent = ScriptedReply("x", usage={{"prompt_tokens": 0, "completion_tokens": 400}})
guard = tg.Guard(database={database!r}, backend=ScriptedBackend(lambda _: cent), prices={prices!r})
with guard.run("agent", budget=tg.Budget(usd="0.01")) as run:
    guard.completion("openai/penny", [{{"role": "user", "content": "hi"}}], max_tokens=400)
    try:
        guard.completion("openai/penny", [{{"role": "user", "content": "ho"}}], max_tokens=400)
    except tg.BudgetExceeded:
        pass
print(run.id)
"""


def test_what_was_decided_last_is_in_the_books_after_an_exit_without_close(project: Path) -> None:
    database = str(project / "spend.db")
    program = PROGRAM.format(database=database, prices=PRICES)

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    with tg.Guard(database=database) as guard:
        (node,) = guard.late.get().ledger.tree(done.stdout.strip())
    assert done.stderr == ""
    assert node.usd == tg.Money("0.01")
    assert node.closed is not None
    assert node.closed.code == "budget_exceeded"


def test_a_warning_names_the_callers_own_line() -> None:
    with scripted_guard([CENT], prices=PRICES) as guard, pytest.warns(tg.UnattributedSpend) as seen:
        call(guard)

    assert seen[0].filename == __file__
