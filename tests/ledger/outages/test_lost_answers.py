"""A commit whose answer is lost: whoever asked hears the truth, or that nobody knows it."""

from __future__ import annotations

import pickle
import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from chaos.proxy import Proxy
from chaos.stages import PostgresStage
from support import PENNY, PENNY_USAGE, PRICES, ask

import tokenguard as tg
from tokenguard.core import events
from tokenguard.core.books import Settled
from tokenguard.core.budget import Unit
from tokenguard.core.verdict import Grant
from tokenguard.errors import LedgerUnavailable
from tokenguard.ledger import tries
from tokenguard.ledger.journal import Journaled
from tokenguard.testing import ScriptedBackend, ScriptedReply

COMMIT = b"COMMIT\0"
"""The request, not the isolation level."""


@pytest.fixture(params=[True, False], ids=["committed", "not-committed"])
def arrives(request: pytest.FixtureRequest) -> Any:
    """Whether a commit is lost on its way back or on its way there: from here both look the same."""
    return request.param


def test_a_reservation_whose_answer_is_lost_is_granted_once_and_to_the_last_digit(
    open_sql: Any, far: str, proxy: Proxy, desk: Any, arrives: Any
) -> None:
    ledger = open_sql(far)
    hold = desk.hold(desk.scope(usd="1.00"))
    ledger.reserve(desk.hold(desk.scope(usd="1.00")), desk.ask())
    proxy.lose(COMMIT, arrives=arrives)

    verdict = ledger.reserve(hold, desk.ask(cents=3))

    assert proxy.lost is None
    assert isinstance(verdict, Grant)
    assert (verdict.amounts.usd_pico, verdict.states[0].held) == (3 * desk.cent, desk.cent)
    assert ledger.states(hold.accounts)[0].held == 4 * desk.cent
    assert ledger.verify().ok


def test_a_settlement_whose_answer_is_lost_is_booked_once_and_is_no_duplicate(
    open_sql: Any, far: str, proxy: Proxy, desk: Any, arrives: Any
) -> None:
    ledger = open_sql(far)
    hold = desk.hold(desk.scope(usd="1.00"))
    ledger.reserve(hold, desk.ask(cents=3))
    proxy.lose(COMMIT, arrives=arrives)

    settled = ledger.settle(hold.id, desk.booking(cents=2))

    assert (settled.duplicate, settled.late, settled.states[0].settled) == (False, False, 2 * desk.cent)
    assert ledger.settle(hold.id, desk.booking(cents=2)).duplicate
    assert ledger.verify().ok


def test_every_act_with_an_id_is_done_once_and_answered_truly(
    open_sql: Any, far: str, proxy: Proxy, desk: Any, arrives: Any
) -> None:
    ledger = open_sql(far)
    path = (desk.scope(usd="1.00"), desk.scope("run:1", steps=5))
    ledger.declare(path[0], desk.noon)
    kept = desk.hold(*path)
    ledger.reserve(kept, desk.ask())

    def lost(act: Callable[[], Any]) -> Any:
        proxy.lose(COMMIT, arrives=arrives)
        done = act()
        assert proxy.lost is None
        return done

    answers = [
        lost(lambda: ledger.enter(desk.entry("run-1", accounts=kept.accounts))),
        lost(lambda: ledger.charge(desk.hold(*path), desk.booking(cents=3))).duplicate,
        lost(lambda: ledger.keep(kept.id, desk.unknown())),
        lost(lambda: ledger.renew("owner", [], 60.0)),
        lost(lambda: ledger.close_run(desk.closure())),
        lost(lambda: ledger.leave("run-1", outcome="ok", at=desk.noon)),
        ledger.close_run(desk.closure()),
    ]

    steps = next(one for one in ledger.states(kept.accounts) if one.account.unit is Unit.STEPS)
    assert answers == [None, False, None, None, True, None, False]
    assert steps.settled == 1
    assert [row.usd.pico for row in ledger.spend(("model",))] == [3 * desk.cent]
    assert ledger.verify().ok


def test_a_top_up_whose_answer_is_lost_is_not_made_twice_and_says_how_to_look(
    open_sql: Any, far: str, proxy: Proxy, desk: Any, arrives: Any
) -> None:
    ledger = open_sql(far)
    hold = desk.hold(desk.scope(usd="1.00"))
    ledger.declare(desk.scope(usd="1.00"), desk.noon)
    proxy.lose(COMMIT, arrives=arrives)

    with pytest.raises(LedgerUnavailable, match=r"may be in the books or not.*tokenguard budget list") as caught:
        ledger.top_up("scope:acme", Unit.USD, desk.cent, by="ada", at=desk.noon)

    back = pickle.loads(pickle.dumps(caught.value))
    assert (back.in_doubt, back.database) == (True, ledger.name)
    ledger.reserve(hold, desk.ask())
    assert ledger.states(hold.accounts)[0].cap == (101 if arrives else 100) * desk.cent


def test_an_error_of_the_database_itself_is_no_doubt(open_sql: Any, far: str, proxy: Proxy, desk: Any) -> None:
    ledger = open_sql(far)
    ledger.reserve(desk.hold(), desk.ask())
    proxy.refuse(on=True)

    with pytest.raises(LedgerUnavailable, match="cannot be reached") as caught:
        ledger.reserve(desk.hold(), desk.ask())

    assert caught.value.in_doubt is False


def test_a_commit_in_doubt_is_asked_about_until_the_server_is_back(
    open_sql: Any, far: str, proxy: Proxy, desk: Any
) -> None:
    ledger = open_sql(far)
    hold = desk.hold(desk.scope(usd="1.00"))
    ledger.reserve(hold, desk.ask())
    proxy.lose(COMMIT, then="refuse")
    back = threading.Timer(0.3, proxy.heal)
    back.start()

    settled = ledger.settle(hold.id, desk.booking())
    back.join()

    assert settled.states[0].settled == desk.cent
    assert not settled.duplicate


def test_a_reservation_that_stays_in_doubt_says_so_and_is_given_back_when_the_server_is_there(  # noqa: PLR0917  # fixtures, by name
    open_sql: Any, far: str, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arrives: Any
) -> None:
    monkeypatch.setattr(tries, "ASKING_S", 0.1)
    inner = open_sql(far, now=None)
    told: list[Any] = []
    ledger = Journaled(inner, tmp_path / "spools", told.append, watch=False)
    backend = ScriptedBackend(lambda _: ScriptedReply("answer", usage=PENNY_USAGE))
    with tg.Guard(ledger=ledger, backend=backend, prices=PRICES) as guard, guard.run("agent") as run:
        guard.completion(PENNY, ask(), max_tokens=400)
        proxy.lose(COMMIT, arrives=arrives, then="refuse")

        with pytest.raises(LedgerUnavailable, match="may be in the books or not") as caught:
            guard.completion(PENNY, ask(1), max_tokens=400)
        proxy.heal()
        ledger.catch_up()
        receipt = run.receipt()

    assert caught.value.in_doubt
    assert backend.count == 1
    assert (receipt.held, receipt.cost) == (tg.Money(0), tg.Money("0.01"))
    assert [one.refused for one in told] == [()]


def test_sinks_hear_of_a_settlement_once_and_of_nothing_strange(
    far: str, proxy: Proxy, tmp_path: Path, arrives: Any
) -> None:
    backend = ScriptedBackend(lambda _: ScriptedReply("answer", usage=PENNY_USAGE))
    heard: list[str] = []
    with tg.Guard(database=far, backend=backend, prices=PRICES, spool=tmp_path) as guard, guard.run("agent") as run:
        guard.on(events.Event, lambda event: heard.append(type(event).__name__))

        def answered(_: Any) -> ScriptedReply:
            proxy.lose(COMMIT, arrives=arrives)
            return ScriptedReply("answer", usage=PENNY_USAGE)

        backend._always = answered
        guard.completion(PENNY, ask(), max_tokens=400)
        receipt = run.receipt()

    assert proxy.lost is None
    assert heard.count("Settlement") == 1
    assert not {"Fault", "Journaled", "PriceDisagreed"} & set(heard)
    assert (receipt.cost, receipt.held) == (tg.Money("0.01"), tg.Money(0))


def test_a_server_that_is_restarted_in_mid_transaction_is_asked_anew(
    open_sql: Any, stage: PostgresStage, desk: Any
) -> None:
    ledger = open_sql(stage.url)
    runs: list[int] = []

    def restarted(tx: Any) -> Any:
        runs.append(1)
        tx.select(sa.select(sa.literal(1)))
        if len(runs) == 1:
            stage._restart("immediate")
        return tx.select(sa.select(sa.literal(2)))[0][0]

    found = ledger._database.transact(restarted)

    assert (found, len(runs)) == (2, 2)
    assert isinstance(ledger.reserve(desk.hold(), desk.ask()), Grant)


def test_a_server_that_is_restarted_while_it_commits_has_the_truth(
    open_sql: Any, stage: PostgresStage, desk: Any
) -> None:
    ledger = open_sql(stage.url)
    hold = desk.hold(desk.scope(usd="1.00"))
    ledger.reserve(hold, desk.ask())
    stage.proxy.lose(COMMIT, then="refuse")

    done: list[Settled] = []
    settling = threading.Thread(target=lambda: done.append(ledger.settle(hold.id, desk.booking())))
    settling.start()
    assert stage.proxy.has_lost.wait(30)
    stage._restart("immediate")
    stage.proxy.heal()
    settling.join()

    assert done[0].states[0].settled == desk.cent
    assert ledger.verify().ok


def test_a_disk_that_fails_in_a_commit_leaves_a_doubt_and_the_truth_is_booked_once(
    open_sql: Any, sqlite: str, desk: Any
) -> None:
    ledger = open_sql(sqlite)
    hold = desk.hold(desk.scope(usd="1.00"))
    ledger.reserve(hold, desk.ask())
    room = Path(f"{sqlite}-wal").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(LedgerUnavailable, match="may be in the books or not") as caught:
            ledger.settle(hold.id, desk.booking())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert caught.value.in_doubt
    assert ledger.settle(hold.id, desk.booking()).states[0].settled == desk.cent
    assert ledger.verify().ok
