"""Reads the metrics of own endpoints once a second, beside the calls: no call ever waits for a signal.

Each endpoint has a thread and a connection of its own, so that one that hangs keeps nobody else's signals waiting. One
that does not answer is asked again; after five seconds its last signals are not believed (`routing/signals.py`).
"""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from weakref import ref

from tokenguard.routing.metrics import Reading, read_signals

if TYPE_CHECKING:
    from collections.abc import Callable
    from weakref import ReferenceType

    from tokenguard.core.clock import Clock
    from tokenguard.routing.router import Router

__all__ = ["Place", "places_of", "poll"]

_TIMEOUT_S: Final = 2.0
_LARGEST_BYTES: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where one endpoint of a router tells its metrics."""

    router: ReferenceType[Router]
    name: str
    api_base: str
    """As LiteLLM takes it, with or without `/v1` at its end."""
    api_key: str | None = field(default=None, repr=False)


def poll(places: Sequence[Place], *, every_s: float, clock: Clock) -> Callable[[], None]:
    """Begin to read, until the routers are gone; returns what ends it at once.

    Args:
        places: Where to ask.
        every_s: Seconds between two readings.
        clock: Whose monotonic seconds signals carry.
    """
    over = threading.Event()
    for place in places:
        reader = _Reader(place, clock)
        threading.Thread(target=reader.run, args=(every_s, over), name="tokenguard-signals", daemon=True).start()
    return over.set


class _Reader:
    def __init__(self, place: Place, clock: Clock) -> None:
        self._place, self._clock = place, clock
        self._line: http.client.HTTPConnection | None = None
        self._reading: Reading | None = None

    def run(self, every_s: float, over: threading.Event) -> None:
        while not over.is_set() and self._place.router() is not None:
            self._read()
            over.wait(every_s)
        self._hang_up()

    def _read(self) -> None:
        try:
            text = self._ask()
        except (OSError, http.client.HTTPException, ValueError):
            self._hang_up()
            return
        router = self._place.router()
        if text is None or router is None:
            return
        self._reading = read_signals(text, at_s=self._clock.monotonic(), before=self._reading)
        router.hear(self._place.name, self._reading.signals)

    def _ask(self) -> str | None:
        """What `/metrics` answers; None where it is no 200."""
        if self._line is None:
            self._line = _connection(self._place.api_base)
        key = self._place.api_key
        self._line.request(
            "GET", _path(self._place.api_base), headers={"Authorization": f"Bearer {key}"} if key else {}
        )
        answer = self._line.getresponse()
        body = answer.read(_LARGEST_BYTES)
        answer.read()
        return body.decode("utf-8", "replace") if answer.status == http.client.OK else None

    def _hang_up(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            with contextlib.suppress(OSError):
                line.close()


def _connection(api_base: str) -> http.client.HTTPConnection:
    url = urlsplit(api_base)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    return kind(url.hostname or "", url.port, timeout=_TIMEOUT_S)


def _path(api_base: str) -> str:
    """Beside the API: vLLM serves `/metrics` at the root of what it serves `/v1` under."""
    return urlsplit(api_base).path.rstrip("/").removesuffix("/v1") + "/metrics"


def places_of(routers: Mapping[str, Router], options: Mapping[str, Mapping[str, Mapping[str, object]]]) -> list[Place]:
    """The own endpoints with an address, by router; their API key is in the options of their route."""
    found: list[Place] = []
    for model, router in routers.items():
        for one in router.snapshot.fleet.endpoints:
            if one.own and one.api_base:
                key = options.get(model, {}).get(one.name, {}).get("api_key")
                found.append(Place(ref(router), one.name, one.api_base, key if isinstance(key, str) else None))
    return found
