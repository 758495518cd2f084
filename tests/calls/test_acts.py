"""Charges, tokens, joins, top-ups: what people and other processes do to a run."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest
from support import PENNY, PRICES, MakeGuard, MakeServer, ask, at

import tokenguard as tg
from tokenguard.core.books import Kind
from tokenguard.testing import FakeClock


def test_a_charge_is_booked_even_above_the_cap_because_the_money_is_gone(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server, guard = make_server(), make_guard(database)

    with guard.run("agent", budget=tg.Budget(usd="1")) as run:
        guard.charge("browser", usd="1.50")
        with pytest.raises(tg.BudgetExceeded):
            guard.completion(PENNY, ask(), max_tokens=400, **at(server))

    assert run.receipt().cost == tg.Money("1.50")
    assert server.count == 0


def test_a_charge_with_a_ceiling_is_reserved_first_and_settles_at_its_cost(
    make_guard: MakeGuard, database: str
) -> None:
    guard = make_guard(database)

    with guard.run("agent", budget=tg.Budget(usd="1")) as run:
        with guard.charge("browser", up_to="0.60") as charge:
            held = run.receipt().held
            charge.usd("0.25")
        with guard.charge("browser", up_to="0.75"):
            pass
        with pytest.raises(tg.BudgetExceeded), guard.charge("browser", up_to="0.01"):
            pass

    assert held == tg.Money("0.60")
    assert run.receipt().cost == tg.Money("1")
    assert run.receipt().assumed == tg.Money("0.75")


@pytest.mark.parametrize("arguments", [{}, {"usd": "1", "up_to": "2"}, {"usd": "-1"}])
def test_a_charge_that_cannot_be_meant_books_nothing(make_guard: MakeGuard, arguments: dict[str, Any]) -> None:
    guard = make_guard()

    with guard.run("agent") as run, pytest.raises(tg.BadAmount):
        guard.charge("browser", **arguments)

    assert run.receipt().cost == tg.Money(0)


def test_a_top_up_of_a_budget_that_does_not_exist_is_a_sentence(make_guard: MakeGuard) -> None:
    guard = make_guard()

    with guard.run("agent"), pytest.raises(tg.SetupError, match="no usd budget"):
        guard.top_up("acme/nowhere", usd="1")
    with pytest.raises(tg.BadAmount, match="above zero"):
        guard.top_up("acme/nowhere", usd="0")


CHILD = """
    import sys
    import tokenguard as tg

    guard = tg.Guard(prices={prices!r})
    try:
        for number in range(5):
            guard.completion("openai/penny", [{{"role": "user", "content": f"q {{number}}"}}], max_tokens=400,
                             api_base=sys.argv[1], api_key="none")
    except tg.BudgetExceeded as stop:
        print(stop.scope)
"""


def test_a_child_process_joins_by_the_environment_and_pays_from_the_same_run(
    make_guard: MakeGuard, make_server: MakeServer, tmp_path: Any
) -> None:
    server, guard = make_server(), make_guard(str(tmp_path / "spend.db"))
    program = textwrap.dedent(CHILD.format(prices=PRICES))

    with guard.run("parent", budget=tg.Budget(usd="0.03")) as run:
        guard.completion(PENNY, ask(), max_tokens=400, **at(server))
        done = subprocess.run(
            [sys.executable, "-c", program, server.url],
            env={**os.environ, **guard.env()},
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
        )

    assert done.stdout.strip() == "run parent"
    assert server.count == 3
    assert run.receipt().cost == tg.Money("0.03")


def test_a_joined_run_pays_and_so_do_the_callers_own_scopes(
    make_guard: MakeGuard, make_server: MakeServer, tmp_path: Any
) -> None:
    server, database = make_server(), str(tmp_path / "spend.db")
    one, two = make_guard(database), make_guard(database)

    with one.run("theirs", budget=tg.Budget(usd="1")) as theirs:
        with two.run("mine", budget=tg.Budget(usd="0.01")) as mine, two.join(theirs.token()) as joined:
            two.completion(PENNY, ask(), max_tokens=400, **at(server))
            with pytest.raises(tg.BudgetExceeded) as stop:
                two.completion(PENNY, ask(1), max_tokens=400, **at(server))
        receipt = joined.receipt()

    assert receipt.cost == tg.Money("0.01")
    assert stop.value.scope == "run mine"
    assert mine.receipt().node.kind is Kind.RUN


def test_tokens_that_are_forged_expired_or_of_an_ended_run_are_refused(make_guard: MakeGuard) -> None:
    clock = FakeClock()
    guard, stranger = make_guard(clock=clock), make_guard()

    with guard.run("agent") as run:
        token = run.token()
        for wrong in ("nonsense", token[:-1] + ("0" if token[-1] != "0" else "1"), "tg1.a.b.c"):
            with pytest.raises(tg.SetupError), guard.join(wrong):
                pass
        with pytest.raises(tg.SetupError, match="not made by this ledger"), stranger.join(token):
            pass
        clock.advance(25 * 60 * 60)
        with pytest.raises(tg.SetupError, match="expired"), guard.join(token):
            pass
        fresh = run.token()
    with pytest.raises(tg.SetupError, match="has ended"), guard.join(fresh):
        pass


def test_a_token_holds_no_database_and_no_secret(make_guard: MakeGuard, tmp_path: Any) -> None:
    guard = make_guard(str(tmp_path / "spend.db"))

    with guard.run("agent") as run:
        token = run.token()
        pieces = token.split(".")

    assert pieces[:2] == ["tg1", run.id]
    assert len(pieces) == 4
    assert guard._late.get().ledger.secret().hex() not in token


def test_shares_of_a_cap_warn_once_each(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard()
    shares: list[float] = []
    guard.on(tg.events.Warned, lambda event: shares.append(event.share))

    with guard.run("agent", budget=tg.Budget(usd="0.10")):
        for number in range(10):
            guard.completion(PENNY, ask(number), max_tokens=400, **at(server))

    assert shares == [0.5, 0.8]


def test_a_listener_that_raises_breaks_no_call_and_is_reported(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard()
    faults: list[tg.events.Fault] = []
    guard.on(tg.events.Settlement, lambda _: 1 / 0)
    guard.on(tg.events.Fault, faults.append)

    with guard.run("agent") as run:
        guard.completion(PENNY, ask(), max_tokens=400, **at(server))

    assert run.receipt().cost == tg.Money("0.01")
    assert isinstance(faults[0].error, ZeroDivisionError)
