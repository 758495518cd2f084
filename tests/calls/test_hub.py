"""Who hears which fact."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import tokenguard as tg
from tokenguard.calls.hub import Hub

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def fault() -> tg.events.Fault:
    return tg.events.Fault(at=NOW, run_id=None, where="test", error=ValueError("odd"))


def test_a_hub_knows_whether_anybody_listens_to_a_type() -> None:
    hub = Hub()
    assert not hub.hears(tg.events.Settlement)

    off = hub.on(tg.events.Event, lambda _: None)
    assert hub.hears(tg.events.Settlement)

    off()
    hub.on(tg.events.Fault, lambda _: None)
    assert not hub.hears(tg.events.Settlement)
    assert hub.hears(tg.events.Fault)


def test_a_listener_hears_its_type_and_nothing_else() -> None:
    hub = Hub()
    heard: list[Any] = []
    hub.on(tg.events.Settlement, heard.append)
    hub.on(tg.events.Fault, heard.append)

    event = fault()
    hub.emit(event)

    assert heard == [event]
