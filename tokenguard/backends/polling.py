"""Reads the metrics of own endpoints once a second, beside the calls: no call ever waits for a signal.

One thread for all endpoints of a guard, with a connection each. An endpoint that does not answer is asked again like
all others; after five seconds its last signals are not believed any more (`routing/signals.py`).
"""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    api_key: str | None = None


def poll(places: Sequence[Place], *, every_s: float, clock: Clock) -> Callable[[], None]:
    """Begin to read in a thread of its own, until all routers are gone; returns what ends it at once.

    Args:
        places: Where to ask.
        every_s: Seconds between two readings.
        clock: Whose monotonic seconds signals carry.
    """
    over = threading.Event()
    poller = _Poller(places, clock)
    thread = threading.Thread(target=poller.run, args=(every_s, over), name="tokenguard-signals", daemon=True)
    thread.start()
    return over.set


class _Poller:
    def __init__(self, places: Sequence[Place], clock: Clock) -> None:
        self._places, self._clock = tuple(places), clock
        self._lines: dict[Place, http.client.HTTPConnection] = {}
        self._readings: dict[Place, Reading] = {}

    def run(self, every_s: float, over: threading.Event) -> None:
        while any(one.router() is not None for one in self._places):
            for place in self._places:
                self._read(place)
            if over.wait(every_s):
                break
        for line in self._lines.values():
            line.close()

    def _read(self, place: Place) -> None:
        try:
            text = self._ask(place)
        except (OSError, http.client.HTTPException, ValueError):
            line = self._lines.pop(place, None)
            if line is not None:
                with contextlib.suppress(OSError):
                    line.close()
            return
        router = place.router()
        if text is None or router is None:
            return
        reading = read_signals(text, at_s=self._clock.monotonic(), before=self._readings.get(place))
        self._readings[place] = reading
        router.hear(place.name, reading.signals)

    def _ask(self, place: Place) -> str | None:
        """What `/metrics` answers; None where it is no 200."""
        line = self._lines.get(place)
        if line is None:
            line = self._lines[place] = _connection(place.api_base)
        headers = {"Authorization": f"Bearer {place.api_key}"} if place.api_key else {}
        line.request("GET", _path(place.api_base), headers=headers)
        answer = line.getresponse()
        body = answer.read(_LARGEST_BYTES)
        answer.read()
        return body.decode("utf-8", "replace") if answer.status == http.client.OK else None


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
