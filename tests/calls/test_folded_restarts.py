"""Processes that die and others that go on: the same bytes are sent, and every marker still leads somewhere."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from folding_talk import FLAT, LONG, ORDERS, TEXT, send, sent, used
from support import MakeGuard, MakeServer

import tokenguard as tg
from tokenguard.prompt.markers import markers_in
from tokenguard.testing.model_server import ModelServer, Reply

READER = str(Path(__file__).parent / "programs" / "reader.py")
KILLED, FINE = -9, 0


def begin(database: Path, run: tg.Run, server: ModelServer, *how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, READER, str(database), run.token(), server.url, *how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=database.parent,
    )


def ended(reader: subprocess.Popen[str]) -> int:
    _, said = reader.communicate(timeout=120)
    assert reader.returncode in (KILLED, FINE), said
    return reader.returncode


def prompts(server: ModelServer) -> list[list[Any]]:
    return [request.messages for request in server.requests]


def in_force(prompt: list[Any]) -> dict[str, str]:
    """Stubs of a prompt by what they stand for."""
    return {marker: one["content"] for one in prompt if one["role"] == "tool" for marker in markers_in(one["content"])}


def test_a_process_that_takes_anothers_place_goes_on_with_its_stubs(
    make_guard: MakeGuard, make_server: MakeServer, tmp_path: Path
) -> None:
    server, database = make_server(Reply("ok")), tmp_path / "spend.db"
    guard = make_guard(str(database), prices=FLAT)

    with guard.run("restarted") as run:
        codes = [
            ended(begin(database, run, server, "long", *which))
            for which in (("1", "12", "killed"), ("13", "13", "killed"), ("14", "16", "done"))
        ]
        originals = {marker: guard.unfold(marker) for marker in in_force(server.requests[-1].messages)}

    died, took_over = prompts(server)[11:13]
    assert codes == [KILLED, KILLED, FINE]
    assert len(in_force(died)) >= 3
    assert took_over[: len(died)] == died
    for earlier, later in pairwise(prompts(server)):
        assert in_force(earlier).items() <= in_force(later).items()
    assert set(originals.values()) <= set(ORDERS)


def test_what_is_said_in_full_stays_so_in_the_next_process(
    make_guard: MakeGuard, make_server: MakeServer, tmp_path: Path
) -> None:
    server, database = make_server(Reply("ok")), tmp_path / "spend.db"
    guard = make_guard(str(database), prices=FLAT)

    with guard.run("restarted") as run:
        ended(begin(database, run, server, "again", "1", "3", "killed"))
        ended(begin(database, run, server, "again", "4", "5", "done"))

    assert sent(server) == TEXT
    for earlier, later in pairwise(prompts(server)):
        assert later[: len(earlier)] == earlier


def test_a_process_killed_between_keeping_and_sending_leaves_nothing_that_is_missing(
    make_guard: MakeGuard, make_server: MakeServer, tmp_path: Path
) -> None:
    server, database = make_server(Reply("ok")), tmp_path / "spend.db"
    guard = make_guard(str(database), prices=FLAT)

    with guard.run("restarted") as run:
        assert ended(begin(database, run, server, "long", "1", "16", "stored")) == KILLED
        sent_before = server.count
        assert all(not in_force(one) for one in prompts(server))
        ended(begin(database, run, server, "long", str(sent_before + 1), "16", "done"))
        markers = in_force(server.requests[-1].messages)
        assert markers
        assert all(guard.unfold(marker) in ORDERS for marker in markers)
    assert guard.late.get().ledger.spend(())[0].calls == 16


def test_eight_processes_that_leave_out_the_same_text_keep_it_once(
    make_guard: MakeGuard, make_server: MakeServer, tmp_path: Path
) -> None:
    server, database = make_server(Reply("ok")), tmp_path / "spend.db"
    guard = make_guard(str(database), prices=FLAT)

    with guard.run("together") as run:
        readers = [begin(database, run, server, "long", "10", "12", "done") for _ in range(8)]
        assert [ended(one) for one in readers] == [FINE] * 8
        markers = {marker for prompt in prompts(server) for marker in in_force(prompt)}
        assert markers
        assert all(guard.unfold(marker) in ORDERS for marker in markers)
    with closing(sqlite3.connect(database)) as books:
        kept = books.execute("SELECT root_id, marker FROM tg_original").fetchall()
    assert sorted(kept) == sorted((run.id, marker) for marker in markers)


def test_a_ledger_that_forgot_how_far_a_run_was_folded_costs_a_cache_and_no_call(
    make_guard: MakeGuard, make_server: MakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, database = make_server(Reply("ok")), str(tmp_path / "spend.db")
    first = make_guard(database, prices=FLAT, loops=False)
    faults: list[tg.events.Fault] = []
    folding = tg.Folding("gated", recovery="shell", off=["refer"])
    guard = make_guard(database, prices=FLAT, loops=False, prompt=folding)
    guard.on(tg.events.Fault, faults.append)

    def away(*_: Any, **__: Any) -> Any:
        raise tg.LedgerUnavailable("the network is down.")

    with first.run("restarted") as run, guard.join(run.token()):
        ledger = guard.late.get().ledger
        monkeypatch.setattr(ledger, "folding_of", away)
        send(guard, server, used(LONG[:2_000]))
        monkeypatch.undo()
        monkeypatch.setattr(ledger, "keep_folding", away)
        for count in range(1, 13):
            send(guard, server, used(*ORDERS[:count]))
        assert in_force(server.requests[-1].messages)
        monkeypatch.undo()
        send(guard, server, used(*ORDERS[:13]))
        kept = guard.late.get().ledger.folding_of(run.id)

    assert {one.where for one in faults} == {"prompt.state"}
    assert kept is not None
    assert len(re.findall("tokenguard folded", json.dumps(kept))) == len(in_force(server.requests[-1].messages))
