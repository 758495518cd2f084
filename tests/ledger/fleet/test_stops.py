"""A stop in one process holds in all: at their next reservation, and for open streams within a second."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy as sa
from support import PENNY, PENNY_USAGE, PRICES, ask
from typer.testing import CliRunner

import tokenguard as tg
from tokenguard.backends.scripted import ScriptedBackend, ScriptedReply
from tokenguard.cli.main import app
from tokenguard.core.clock import SystemClock
from tokenguard.core.ids import RandomIds
from tokenguard.core.stops import closure_of
from tokenguard.ledger.sql import SqlLedger
from tokenguard.testing.model_server import ModelServer, Reply
from tokenguard.testing.model_server.requests import RecordedRequest

PACE_S = 0.05
SECOND = round(1 / PACE_S)
"""Chunks that one stream sends in a second."""
STREAMS = 3


def script(request: RecordedRequest) -> Reply:
    """Streams that would last for minutes; whole answers at once."""
    return Reply(endless=True, pace_s=PACE_S) if request.json.get("stream") else Reply(completion_tokens=10)


def kill(guard: tg.Guard, run_id: str, database: str) -> None:
    guard.kill(run_id, why="enough", by="ada")


def stop_by_hand(guard: tg.Guard, run_id: str, database: str) -> None:
    done = CliRunner().invoke(app, ["runs", "stop", run_id, "--why", "enough", "--database", database])
    assert done.exit_code == 0, done.output


def pass_a_limit(guard: tg.Guard, run_id: str, database: str) -> None:
    with guard.run("child"), suppress(tg.FanOutExceeded), guard.run("one too many"):
        raise AssertionError("not reached")


def find_a_loop(guard: tg.Guard, run_id: str, database: str) -> None:
    """Close the run as the loop rules do, whichever of them."""
    owner = {"scope": "run fleet", "scope_key": f"run:{run_id}"}
    error = tg.LoopDetected("It repeats itself.", **owner, rule="cycle", repeats=6, evidence={"subject": "read"})
    ledger = SqlLedger.open(database, SystemClock(), RandomIds())
    assert ledger.close_run(closure_of(error, run_id=run_id, at=SystemClock().now(), by="another process"))
    ledger.dispose()


def pay_too_fast(guard: tg.Guard, run_id: str, database: str) -> None:
    guard.charge("browser", usd="5")
    with pytest.raises(tg.VelocityExceeded):
        guard.completion(PENNY, ask(0), max_tokens=400)


@pytest.mark.parametrize(
    ("act", "kind", "code"),
    [
        (find_a_loop, "sync", "loop_detected"),
        (find_a_loop, "async", "loop_detected"),
        (pay_too_fast, "sync", "velocity_exceeded"),
        (kill, "sync", "run_revoked"),
        (kill, "async", "run_revoked"),
        (stop_by_hand, "sync", "run_revoked"),
        (pass_a_limit, "async", "fan_out_exceeded"),
    ],
)
def test_a_stop_in_one_process_ends_the_streams_of_another_within_a_second(  # noqa: PLR0917  # fixtures and cases, by name
    database: str, start: Any, hears: Any, act: Any, kind: str, code: str
) -> None:
    backend = ScriptedBackend(lambda _: ScriptedReply("answer", usage=PENNY_USAGE))
    guard = tg.Guard(database=database, backend=backend, prices=PRICES)

    limits = tg.Limits(descendants=1, usd_per_minute="5")

    with ModelServer(script) as server, guard, guard.run("fleet", limits=limits) as run:
        joined = start("streamer.py", database, run.token(), server.url, kind)
        hears(joined, "streaming")
        act(guard, run.id, database)
        at_stop = sum(server.sent_chunks)
        codes = hears(joined, "stopped").split()
        after = sum(server.sent_chunks) - at_stop
        refused = hears(joined, "refused")
        guard.resume(run.id, why="go on", by="ada")
        joined.stdin.write("\n")
        joined.stdin.flush()
        again = hears(joined, "again")

    assert codes == [code] * STREAMS
    assert after <= STREAMS * SECOND
    assert refused == code
    assert again == "ok"


def silent(request: RecordedRequest) -> Reply:
    """Streams that say nothing after five chunks; whole answers at once."""
    return Reply(completion_tokens=400, stall=5) if request.json.get("stream") else Reply(completion_tokens=10)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_stop_in_one_process_ends_the_silent_streams_of_another(
    database: str, start: Any, hears: Any, kind: str
) -> None:
    guard = tg.Guard(database=database, backend=ScriptedBackend([]), prices=PRICES)

    with ModelServer(silent) as server, guard, guard.run("fleet") as run:
        joined = start("streamer.py", database, run.token(), server.url, kind)
        hears(joined, "streaming")
        guard.kill(run.id, why="enough", by="ada")
        stopped_s = time.monotonic()
        codes = hears(joined, "stopped").split()
        waited_s = time.monotonic() - stopped_s
        left = [one.client_left for one in server.exchanges]
        receipt = run.receipt()

    assert codes == ["run_revoked"] * STREAMS
    assert waited_s < 10  # a second, on a machine that has time; the clients' own timeouts are ten minutes
    assert left == [True] * STREAMS
    assert (receipt.held, receipt.cost) == (tg.Money(0), receipt.estimated)


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_open_streams_are_asked_about_in_one_query_and_none_is_asked_with_nothing_open(
    database: str, kind: str
) -> None:
    backend = ScriptedBackend(lambda _: ScriptedReply("one two three", usage=PENNY_USAGE))
    guard = tg.Guard(database=database, backend=backend, prices=PRICES)
    ledger: Any = guard.late.get().ledger
    asked: list[str] = []
    thrice = threading.Event()

    with guard, guard.run("agent"):
        options = {"max_tokens": 400, "stream": True}
        streams: list[Any] = [
            guard.completion(PENNY, ask(number), **options)
            if kind == "sync"
            else await guard.acompletion(PENNY, ask(number), **options)
            for number in range(5)
        ]

        @sa.event.listens_for(ledger.inner.inner._database.engine, "before_cursor_execute")
        def _(_: Any, __: Any, statement: str, *___: Any) -> None:
            if "tg_closure" in statement:
                asked.append(threading.current_thread().name)
                if len(asked) >= 3:
                    thrice.set()

        watch = guard.late.get().watch
        thread = watch._thread
        assert thrice.wait(20)
        looks = len(asked)
        for stream in streams:
            stream.close() if kind == "sync" else await stream.aclose()
        assert thread is not None
        thread.join(20)
        quiet = len(asked)
        guard.completion(PENNY, ask(9), max_tokens=400)

    assert set(asked) == {"tokenguard-watch"}
    assert quiet - looks <= 1
    assert len(asked) == quiet
    assert not thread.is_alive()
