"""Silent networks, slow servers and servers that say no: each ends within its limit, with a sentence."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa
from chaos.proxy import Proxy

from tokenguard.core.verdict import Grant
from tokenguard.errors import LedgerUnavailable
from tokenguard.ledger import patience, schema, tries
from tokenguard.ledger.address import Address
from tokenguard.ledger.engine import Database

COMMIT = b"COMMIT\0"


def with_options(url: str, **parameters: Any) -> str:
    """The URL with more parameters."""
    return sa.make_url(url).update_query_dict(parameters).render_as_string(hide_password=False)


def timeouts(connection: sa.Connection) -> tuple[Any, ...]:
    """What the server allows a statement, and a transaction that does nothing."""
    names = ("statement_timeout", "idle_in_transaction_session_timeout")
    return tuple(connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in names)


@pytest.fixture
def impatient(far: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address, with limits of tenths of seconds, so that nobody waits for their end here."""
    monkeypatch.setattr(patience, "SILENCE_MARGIN_S", 0.1)
    monkeypatch.setattr(patience, "PING_S", 0.2)
    return with_options(far, options="-c statement_timeout=100", connect_timeout="2")


def test_a_network_that_falls_silent_in_a_transaction_is_given_up_within_its_limit(
    open_sql: Any, impatient: str, proxy: Proxy, desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tries, "ASKING_S", 0.1)
    ledger = open_sql(impatient)

    def silenced(tx: Any) -> None:
        proxy.stall(on=True)
        tx.check_schema()

    with pytest.raises(
        LedgerUnavailable, match=r"said nothing for 0\.2 s.*Nothing was written.*Check the net"
    ) as caught:
        ledger._database.transact(silenced)
    proxy.stall(on=False)

    assert (caught.value.wait_s, caught.value.retry_in_s, caught.value.in_doubt) == (0.2, 5.0, False)
    assert isinstance(ledger.reserve(desk.hold(), desk.ask()), Grant)


def test_a_network_that_falls_silent_in_a_commit_ends_in_the_truth(
    open_sql: Any, impatient: str, proxy: Proxy, desk: Any
) -> None:
    ledger = open_sql(impatient)
    hold = desk.hold(desk.scope(usd="1.00"))
    ledger.reserve(hold, desk.ask())
    proxy.lose(COMMIT, then="stall")
    back = threading.Timer(0.4, lambda: proxy.stall(on=False))
    back.start()

    settled = ledger.settle(hold.id, desk.booking())
    back.join()

    assert (settled.duplicate, settled.states[0].settled) == (False, desk.cent)
    assert ledger.verify().ok


def test_a_network_that_is_silent_before_anything_is_asked_is_given_up_within_its_limit(
    open_sql: Any, impatient: str, proxy: Proxy
) -> None:
    ledger = open_sql(impatient)
    proxy.stall(on=True)

    with pytest.raises(LedgerUnavailable, match="no connection within connect_timeout") as caught:
        ledger.closures(["run-1"])

    assert caught.value.retry_in_s == 5.0


def test_an_answer_that_comes_in_pieces_is_waited_for(open_sql: Any, impatient: str) -> None:
    ledger = open_sql(impatient)
    slow = "SELECT repeat('x', 1000000), pg_sleep(0.05) FROM generate_series(1, 8)"

    def read(connection: sa.Connection) -> int:
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        return len(connection.exec_driver_sql(slow).all())

    assert ledger._database.read(read) == 8


def test_limits_bind_calls_and_not_reports_upgrades_and_retention(open_sql: Any, postgres: str) -> None:
    ledger = open_sql(postgres)
    patient = Database(Address.of(postgres), "normal", 10.0, patient=True)

    found = [ledger._database.read(timeouts, long=long) for long in (False, True, False)]
    unbound = patient.read(timeouts)
    patient.dispose(forked=False)

    assert found == [("15s", "15s"), ("0", "0"), ("15s", "15s")]
    assert unbound == ("0", "0")


def test_limits_that_somebody_set_stand_also_for_reports(
    open_sql: Any, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = "-c statement_timeout=40s -c idle_in_transaction_session_timeout=0"
    ledger = open_sql(with_options(postgres, options=options, connect_timeout="3", tcp_user_timeout="7000"))
    unlimited = open_sql(with_options(postgres, options="-c statement_timeout=0"))
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "4")
    by_variable = open_sql(postgres)

    found = [ledger._database.read(timeouts, long=long) for long in (False, True)]
    with ledger._database.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        parameters, waits_s = driver.info.get_parameters(), driver.statement_s
    driver = unlimited._database.engine.raw_connection().driver_connection
    driver.hurry()

    assert found == [("40s", "0")] * 2
    assert waits_s == 40
    assert {name: parameters[name] for name in ("connect_timeout", "tcp_user_timeout", "keepalives_idle")} == {
        "connect_timeout": "3",
        "tcp_user_timeout": "7000",
        "keepalives_idle": "10",
    }
    assert driver.silence_s is None
    assert "connect_timeout" not in patience.parameters(by_variable._database.address.url.query)


def test_a_row_that_somebody_keeps_locked_is_waited_for_as_long_as_a_statement_may_take(
    open_sql: Any, postgres: str, desk: Any
) -> None:
    ledger = open_sql(with_options(postgres, options="-c statement_timeout=100"))
    hold = desk.hold(desk.scope(usd="1.00"))
    ledger.reserve(hold, desk.ask())

    with ledger._database.engine.begin() as other:
        other.exec_driver_sql("SELECT * FROM tg_balance FOR UPDATE").all()
        with pytest.raises(LedgerUnavailable, match=r"statement_timeout.*pg_stat_activity") as caught:
            ledger.settle(hold.id, desk.booking())

    assert (caught.value.in_doubt, caught.value.retry_in_s) == (False, 5.0)
    assert ledger.settle(hold.id, desk.booking()).states[0].settled == desk.cent


def test_a_transaction_that_is_left_alone_gives_its_locks_back_and_is_done_again(
    open_sql: Any, postgres: str, desk: Any
) -> None:
    ledger = open_sql(with_options(postgres, options="-c idle_in_transaction_session_timeout=50"))
    other = open_sql(postgres)
    hold = desk.hold(desk.scope(usd="1.00"))
    ledger.reserve(hold, desk.ask())
    settled: list[Any] = []

    def suspended(tx: Any) -> int:
        tx.select(sa.select(schema.balance.c.id).with_for_update())
        if not settled:
            settled.append(other.settle(hold.id, desk.booking()))  # waits until the server ends this transaction
        return len(tx.select(sa.select(schema.balance.c.id)))

    assert ledger._database.transact(suspended) == 1
    assert settled[0].states[0].settled == desk.cent


# ---- what a server says --------------------------------------------------------------------------------------------


def raising(state: str) -> sa.TextClause:
    """A statement that ends with a state."""
    return sa.text(f"DO $$ BEGIN RAISE EXCEPTION 'as it were' USING ERRCODE = '{state}'; END $$")


@pytest.mark.parametrize("state", ["40001", "40P01", "55P03", "23505"])
def test_what_passes_is_tried_again(open_sql: Any, postgres: str, state: str) -> None:
    runs: list[int] = []

    def contended(tx: Any) -> str:
        runs.append(1)
        if len(runs) < 3:
            tx.write(raising(state))
        return "written"

    assert open_sql(postgres)._database.transact(contended) == "written"
    assert len(runs) == 3


@pytest.mark.parametrize(
    ("state", "words", "retry_in_s"),
    [
        ("40001", "too much contention", 1.0),
        ("53100", "server's disk is full", None),
        ("53200", "out of room", None),
        ("53300", "accepts no more connections", 5.0),
        ("57P01", "shutting down", 5.0),
        ("57P03", "shutting down or starting", 5.0),
        ("58030", "Nothing was written", 1.0),
    ],
)
def test_what_does_not_pass_is_refused_with_its_sentence_and_when_to_try_again(  # noqa: PLR0917  # fixtures and cases, by name
    open_sql: Any, postgres: str, desk: Any, monkeypatch: pytest.MonkeyPatch, state: str, words: str, retry_in_s: Any
) -> None:
    monkeypatch.setattr(tries, "_BACKOFF_S", 0.0)
    ledger = open_sql(postgres)

    with pytest.raises(LedgerUnavailable, match=words) as caught:
        ledger._database.transact(lambda tx: tx.write(raising(state)))

    assert (caught.value.retry_in_s, caught.value.in_doubt) == (retry_in_s, False)
    assert isinstance(ledger.reserve(desk.hold(), desk.ask()), Grant)


def test_a_server_that_became_a_standby_is_left_and_the_primary_found(open_sql: Any, postgres: str, desk: Any) -> None:
    ledger = open_sql(postgres)
    ledger.reserve(desk.hold(), desk.ask())
    pooled = ledger._database.engine.raw_connection()
    pooled.driver_connection.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
    pooled.driver_connection.commit()
    pooled.close()

    assert isinstance(ledger.reserve(desk.hold(), desk.ask()), Grant)


def test_a_server_that_stays_a_standby_is_named(open_sql: Any, postgres: str, desk: Any) -> None:
    ledger = open_sql(with_options(postgres, options="-c default_transaction_read_only=on"))

    with pytest.raises(LedgerUnavailable, match="target_session_attrs=read-write") as caught:
        ledger.reserve(desk.hold(), desk.ask())

    assert (caught.value.retry_in_s, caught.value.in_doubt) == (5.0, False)
