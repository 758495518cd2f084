"""Signals of own endpoints, read over real HTTP while calls go on."""

from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tokenguard.backends.polling import Place, places_of, poll
from tokenguard.core.clock import SystemClock
from tokenguard.routing import Endpoint, Router

METRICS = """# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0"} 3.0
vllm:num_requests_waiting{engine="0"} 7.0
vllm:kv_cache_usage_perc{engine="0"} 0.25
"""


class Answers(BaseHTTPRequestHandler):
    asked: list[tuple[str, str | None]] = []  # noqa: RUF012  # one server per test, which begins anew
    seen = threading.Semaphore(0)
    status = 200

    def do_GET(self) -> None:
        type(self).asked.append((self.path, self.headers.get("Authorization")))
        body = METRICS.encode()
        self.send_response(type(self).status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        type(self).seen.release()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    Answers.asked, Answers.seen, Answers.status = [], threading.Semaphore(0), 200
    serving = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    yield serving
    serving.shutdown()
    serving.server_close()


def router(server: ThreadingHTTPServer, *more: Endpoint) -> Router:
    base = f"http://127.0.0.1:{server.server_port}/v1"
    gpu = Endpoint("gpu", "hosted_vllm/llama", base, own=True)
    return Router([gpu, *more], at_s=SystemClock().monotonic())


def waited(times: int) -> None:
    for _ in range(times):
        assert Answers.seen.acquire(timeout=20)


def test_signals_come_beside_the_calls_with_the_key_of_the_route(server: ThreadingHTTPServer) -> None:
    routing = router(server, Endpoint("no-address", "hosted_vllm/llama", own=True))
    places = places_of({"m": routing}, {"m": {"gpu": {"api_key": "secret"}}})

    stop = poll(places, every_s=0.01, clock=SystemClock())
    waited(4)
    stop()

    assert [one.name for one in places] == ["gpu"]
    assert set(Answers.asked) == {("/metrics", "Bearer secret")}
    signals = routing.snapshot.standings[0].signals
    assert signals is not None
    assert (signals.running, signals.waiting, signals.kv_usage) == (3, 7, 0.25)


def test_an_endpoint_that_is_away_or_says_no_is_asked_again(server: ThreadingHTTPServer) -> None:
    Answers.status = 503
    away = Endpoint("away", "hosted_vllm/llama", "http://127.0.0.1:1/v1", own=True)
    routing = router(server, away)

    stop = poll(places_of({"m": routing}, {}), every_s=0.01, clock=SystemClock())
    waited(3)
    nothing = routing.snapshot.standings[0].signals
    Answers.status = 200
    waited(3)
    stop()

    assert nothing is None
    assert routing.snapshot.standings[0].signals is not None
    assert routing.snapshot.standings[1].signals is None


def test_an_endpoint_that_hangs_keeps_nobody_elses_signals_waiting(server: ThreadingHTTPServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # It takes connections and never answers.
        port = silent.getsockname()[1]
        hung = [Endpoint(f"hung-{n}", "hosted_vllm/llama", f"http://127.0.0.1:{port}/v1", own=True) for n in range(4)]
        routing = router(server, *hung)
        places = places_of({"m": routing}, {"m": {"gpu": {"api_key": "secret"}}})

        stop = poll(places[::-1], every_s=0.01, clock=SystemClock())
        waited(5)
        heard = [one.signals is not None for one in routing.snapshot.standings]
        stop()

    assert heard == [True, False, False, False, False]
    assert "secret" not in repr(places)


def test_nobody_is_asked_when_the_router_is_gone(server: ThreadingHTTPServer) -> None:
    before, routing = set(threading.enumerate()), router(server)
    places = places_of({"m": routing}, {})
    poll(places, every_s=0.01, clock=SystemClock())
    waited(1)

    del routing
    gc.collect()
    pollers = [one for one in set(threading.enumerate()) - before if one.name == "tokenguard-signals"]
    for one in pollers:
        one.join(timeout=20)

    assert places[0].router() is None
    assert not any(one.is_alive() for one in pollers)


@pytest.mark.parametrize(
    ("api_base", "path"),
    [
        ("http://h:1/v1", "/metrics"),
        ("http://h:1", "/metrics"),
        ("http://h:1/models/a/v1/", "/models/a/metrics"),
        ("https://h", "/metrics"),
    ],
)
def test_metrics_stand_beside_the_api(api_base: str, path: str) -> None:
    from tokenguard.backends.polling import _connection, _path  # noqa: PLC0415  # what is sent, without a server

    assert _path(api_base) == path
    assert _connection(api_base).host == "h"
    assert isinstance(Place, type)
