"""Bad input gets a sentence or a correct booking, never a traceback from inside and never a lost row."""

from __future__ import annotations

import os
import sqlite3
from typing import Any

import litellm
import pytest
from support import PENNY, MakeGuard, MakeServer, ask, at

import tokenguard as tg
from tokenguard.testing.model_server import Reply

CYCLE: dict[str, Any] = {"role": "user", "content": "x"}
CYCLE["self"] = CYCLE


@pytest.mark.parametrize(
    ("messages", "part"),
    [
        ([], "at least one message"),
        ("hello", "give a list"),
        (None, "give a list"),
        ([CYCLE], "Circular"),
        ([{"role": "user", "content": object()}], "JSON"),
    ],
)
def test_messages_that_cannot_be_sent_are_a_sentence(
    make_guard: MakeGuard, make_server: MakeServer, messages: Any, part: str
) -> None:
    server, guard = make_server(), make_guard()

    with guard.run("agent") as run, pytest.raises(tg.SetupError, match=part):
        guard.completion(PENNY, messages, **at(server))

    assert server.count == 0
    assert run.receipt().held == tg.Money(0)


@pytest.mark.parametrize("given", [0, -1, 1.5, "many"])
def test_a_maximum_that_cannot_be_meant_is_a_sentence(
    make_guard: MakeGuard, make_server: MakeServer, given: Any
) -> None:
    server, guard = make_server(), make_guard()

    with guard.run("agent"), pytest.raises(tg.BadAmount, match="max_tokens"):
        guard.completion(PENNY, ask(), max_tokens=given, **at(server))


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -5, "completion_tokens": 10, "total_tokens": 5},
        {"prompt_tokens": 5, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 50}},
    ],
)
def test_a_usage_that_cannot_be_meant_is_counted_instead_and_said(
    make_guard: MakeGuard, make_server: MakeServer, usage: dict[str, Any]
) -> None:
    server, guard = make_server(Reply(text="one two three", usage=usage)), make_guard()
    settlements: list[tg.events.Settlement] = []
    guard.on(tg.events.Settlement, settlements.append)

    with guard.run("agent") as run:
        guard.completion(PENNY, ask(), **at(server))

    assert settlements[0].booking.quality == "estimated"
    assert "unreadable" in (settlements[0].booking.note or "")
    assert run.receipt().tokens > 0


def test_a_text_that_cannot_be_encoded_is_void_because_it_never_left(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(), make_guard()

    with guard.run("agent") as run, pytest.raises(litellm.InternalServerError, match="surrogates"):
        guard.completion(PENNY, [{"role": "user", "content": "lone \ud800"}], num_retries=0, **at(server))

    assert server.count == 0
    assert run.receipt().held == tg.Money(0)


def test_a_ten_megabyte_message_is_bounded_and_sent(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(completion_tokens=10)), make_guard()

    with guard.run("agent", budget=tg.Budget(usd="1")) as run:
        guard.completion(PENNY, [{"role": "user", "content": "word " * 2_000_000}], max_tokens=10, **at(server))

    assert server.count == 1
    assert run.receipt().cost > tg.Money(0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_a_sentence_as_a_user(make_guard: MakeGuard, tmp_path: Any) -> None:
    tmp_path.chmod(0o500)
    guard = make_guard(str(tmp_path / "sub" / "spend.db"))

    with pytest.raises(tg.LedgerUnavailable), guard.run("agent"):
        pass


def test_a_file_that_is_no_database_is_a_sentence(make_guard: MakeGuard, tmp_path: Any) -> None:
    path = tmp_path / "spend.db"
    path.write_bytes(b"this is a letter to my aunt, not a database at all " * 40)
    guard = make_guard(str(path))

    with pytest.raises(tg.LedgerUnavailable, match="not a"), guard.run("agent"):
        pass


def test_a_locked_database_refuses_the_call_and_sends_nothing(
    make_guard: MakeGuard, make_server: MakeServer, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tokenguard.core.clock import SystemClock  # noqa: PLC0415
    from tokenguard.core.ids import RandomIds  # noqa: PLC0415
    from tokenguard.ledger.sql import SqlLedger  # noqa: PLC0415

    ledger = SqlLedger.open(str(tmp_path / "spend.db"), SystemClock(), RandomIds(), busy_timeout_s=0.1)
    server, guard = make_server(), make_guard(ledger=ledger)

    with guard.run("agent") as run:
        blocker = sqlite3.connect(tmp_path / "spend.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(tg.LedgerUnavailable, match="locked"):
            guard.completion(PENNY, ask(), **at(server))
        blocker.execute("ROLLBACK")
        blocker.close()
        guard.completion(PENNY, ask(), max_tokens=400, **at(server))

    assert server.count == 1
    assert run.receipt().cost == tg.Money("0.01")


def test_a_ledger_that_is_away_at_settlement_still_hands_the_answer_out_and_keeps_the_hold(
    make_guard: MakeGuard, make_server: MakeServer, tmp_path: Any
) -> None:
    from tokenguard.core.clock import SystemClock  # noqa: PLC0415
    from tokenguard.core.ids import RandomIds  # noqa: PLC0415
    from tokenguard.ledger.sql import SqlLedger  # noqa: PLC0415

    path = tmp_path / "spend.db"
    ledger = SqlLedger.open(str(path), SystemClock(), RandomIds(), busy_timeout_s=0.1)
    blocker = sqlite3.connect(path, isolation_level=None, check_same_thread=False)

    def script(_: object) -> Reply:
        blocker.execute("BEGIN IMMEDIATE")
        return Reply(completion_tokens=400)

    server, guard = make_server(script), make_guard(ledger=ledger)
    faults: list[tg.events.Fault] = []
    guard.on(tg.events.Fault, faults.append)

    with guard.run("agent") as run:
        reply = guard.completion(PENNY, ask(), max_tokens=400, **at(server))
        blocker.execute("ROLLBACK")
        blocker.close()

    receipt = tg.receipt_of(reply)
    assert receipt is not None
    assert receipt.quality == "assumed"
    assert faults[0].where == "settle"
    assert run.receipt().held == tg.Money("0.01")


@pytest.mark.parametrize("name", ["", "   ", 7, None])
def test_a_run_without_a_name_is_a_sentence(make_guard: MakeGuard, name: Any) -> None:
    with pytest.raises(tg.SetupError, match="needs a name"):
        make_guard().run(name)


def test_a_run_is_entered_once(make_guard: MakeGuard) -> None:
    run = make_guard().run("once")
    with run:
        pass

    with pytest.raises(tg.SetupError, match="used before"), run:
        pass


@pytest.mark.parametrize("path", ["a//b", "", "a/\x1b[31m", "x" * 600])
def test_a_scope_that_cannot_be_printed_is_a_sentence(make_guard: MakeGuard, path: str) -> None:
    guard = make_guard()

    with pytest.raises(tg.SetupError), guard.scope(path):
        pass


def test_hostile_names_reach_the_receipt_without_control_characters(make_guard: MakeGuard) -> None:
    guard = make_guard()

    with guard.run("\x1b[2Jevil\r\n[red]name") as run:
        pass

    assert "\x1b" not in str(run.receipt())
    assert "\r" not in str(run.receipt())
