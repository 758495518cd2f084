"""Runs that cross a network: their token rides on requests to listed hosts, and is read only where it is trusted."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from support import PENNY, MakeGuard, MakeServer, ask, at, penny_guard

import tokenguard as tg
from tokenguard.calls.baggage import token_in
from tokenguard.testing import FakeClock


def baggage_of(server: Any) -> list[str]:
    """The header of each request that arrived, as it was sent."""
    return [request.headers.get("baggage", "") for request in server.requests]


@pytest.mark.parametrize("part", ["netloc", "hostname"])
async def test_a_listed_host_is_told_the_run_by_every_operation(
    make_guard: MakeGuard, make_server: MakeServer, part: str
) -> None:
    server = make_server()
    guard = make_guard(baggage_hosts=[getattr(urlsplit(server.url), part).upper()])

    with guard.run("agent") as run:
        guard.completion(PENNY, ask(), max_tokens=10, **at(server))
        list(guard.completion(PENNY, ask(1), max_tokens=10, stream=True, **at(server)))
        await guard.acompletion(PENNY, ask(2), max_tokens=10, **at(server))
        guard.embedding(PENNY, ["text"], **at(server))
        told = [token_in({"Baggage": one}) for one in baggage_of(server)]
        joined = [guard.join(str(token)).__enter__().id for token in told]

    assert joined == [run.id] * 4


def test_other_hosts_are_told_nothing_and_neither_is_anybody_outside_a_run(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server = make_server()
    listed, other = make_guard(baggage_hosts=[str(urlsplit(server.url).hostname)]), make_guard(baggage_hosts=["a.test"])

    with pytest.warns(tg.UnattributedSpend):
        listed.completion(PENNY, ask(), max_tokens=10, **at(server))
    with other.run("agent"):
        other.completion(PENNY, ask(1), max_tokens=10, **at(server))

    assert baggage_of(server) == ["", ""]


def test_members_of_others_are_kept_and_a_run_handed_on_is_replaced(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server = make_server()
    guard = make_guard(baggage_hosts=[str(urlsplit(server.url).hostname)])
    headers = {"Baggage": "user=ada;p=1, tokenguard-run=tg1.old.1.x", "x-team": "search"}

    with guard.run("agent"):
        guard.completion(PENNY, ask(), max_tokens=10, extra_headers=headers, **at(server))

    (sent,) = baggage_of(server)
    assert sent.startswith("user=ada;p=1,tokenguard-run=tg1.")
    assert "old" not in sent
    assert server.requests[0].headers["x-team"] == "search"
    assert headers["Baggage"].endswith("tg1.old.1.x")


def test_a_service_that_trusts_its_callers_joins_their_run(tmp_path: Any) -> None:
    database = str(tmp_path / "spend.db")

    with penny_guard(database=database) as caller, penny_guard(database=database, trust_baggage=True) as service:
        with caller.run("agent") as run:
            headers = {"baggage": f"user=ada, tokenguard-run = {run.token()};p=1"}
            with service.join_baggage(headers) as joined:
                service.completion(PENNY, ask(), max_tokens=400)

    assert joined.id == run.id
    assert run.receipt().cost == joined.receipt().cost == tg.Money("0.01")


@pytest.mark.parametrize("headers", [{}, {"baggage": "user=ada"}, {"baggage": ""}, {"accept": "tokenguard-run=x"}])
async def test_without_a_run_in_the_headers_a_service_stays_where_it_stands(headers: dict[str, str]) -> None:
    with penny_guard(trust_baggage=True) as guard, guard.run("own") as run:
        async with guard.join_baggage(headers) as joined:
            await guard.acompletion(PENNY, ask(), max_tokens=400)
        with pytest.raises(tg.SetupError, match="no run was joined"):
            joined.receipt()

    assert joined.id == ""
    assert run.receipt().cost == tg.Money("0.01")


def test_headers_of_strangers_are_not_read() -> None:
    with penny_guard() as guard, guard.run("theirs") as theirs:
        headers = {"baggage": f"tokenguard-run={theirs.token()}"}
        with guard.run("own") as own, guard.join_baggage(headers):
            guard.charge("browser", usd="0.25")

    assert own.receipt().cost == tg.Money("0.25")


def test_a_forged_run_in_trusted_headers_is_refused_with_a_sentence() -> None:
    with penny_guard(trust_baggage=True) as guard, pytest.raises(tg.SetupError, match="not made by this ledger"):
        guard.join_baggage({"baggage": "tokenguard-run=tg1.run.99999999999.0"}).__enter__()


def test_a_ledger_that_cannot_sign_sends_nothing_and_gives_the_hold_back(
    make_guard: MakeGuard, make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server()
    guard = make_guard(baggage_hosts=[str(urlsplit(server.url).hostname)])

    def away() -> bytes:
        raise tg.LedgerUnavailable("the ledger is away", database="memory")

    with guard.run("agent") as run:
        monkeypatch.setattr(guard.late.get().ledger, "secret", away)
        with pytest.raises(tg.LedgerUnavailable):
            guard.completion(PENNY, ask(), max_tokens=10, **at(server))

    assert server.count == 0
    assert run.receipt().held == tg.Money(0)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "tg1.run.99999999999",
        "tg2.run.99999999999.abc",
        "tg1.run.soon.abc",
        "tg1.run.-1.abc",
        "tg1.run.٣.abc",
        "tg1.run." + "9" * 5_000 + ".abc",
        7,
    ],
)
def test_what_is_no_token_is_refused_with_a_sentence(wrong: Any) -> None:
    with penny_guard() as guard, guard.run("agent"), pytest.raises(tg.SetupError, match="not a run token"):
        guard.join(wrong).__enter__()


def test_a_signature_of_any_letters_is_forged_and_an_old_token_says_how_old() -> None:
    clock = FakeClock()

    with penny_guard(clock=clock) as guard, guard.run("agent") as run:
        token = run.token()
        with pytest.raises(tg.SetupError, match="changed on its way"):
            guard.join(f"tg1.{run.id}.99999999999.é").__enter__()
        clock.advance(26 * 60 * 60)
        with pytest.raises(tg.SetupError, match="has expired: it ended 2:00:00 ago"):
            guard.join(token).__enter__()


def test_hosts_come_from_the_environment_with_commas_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENGUARD_BAGGAGE_HOSTS", "a.test, B.test:8443,")

    with penny_guard() as guard:
        assert guard.late.get().baggage_hosts == {"a.test", "b.test:8443"}


def test_a_providers_own_endpoint_is_no_listed_host() -> None:
    with penny_guard(baggage_hosts=["a.test"]) as guard, guard.run("agent"):
        guard.completion(PENNY, ask())
        backend: Any = guard.late.get().backend

    assert "extra_headers" not in backend.requests[-1].arguments
