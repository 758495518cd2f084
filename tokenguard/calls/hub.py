"""Where facts go: the user's listeners, and the ledger's guard events. A sink that fails never breaks a call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from tokenguard.core import events
from tokenguard.core.books import GuardEvent
from tokenguard.core.events import Event
from tokenguard.core.forks import renew_in_children
from tokenguard.core.money import Money
from tokenguard.core.stops import json_facts
from tokenguard.errors import TokenguardError

if TYPE_CHECKING:
    from tokenguard.core.ids import Ids
    from tokenguard.core.ports import Ledger

__all__ = ["Hub", "guard_event", "record"]

E = TypeVar("E", bound=events.Event)

_KINDS: Final[Mapping[type[Event], str]] = {
    events.Stopped: "stopped",
    events.Refused: "refused",
    events.WouldHave: "would_have",
    events.Warned: "warned",
    events.Clamped: "clamped",
    events.Laddered: "laddered",
    events.Overrun: "overrun",
    events.PriceDisagreed: "price_disagreed",
    events.Unattributed: "unattributed",
    events.Replayed: "replayed",
    events.Repaired: "repaired",
    events.Reasked: "reasked",
    events.Fault: "fault",
}
"""What becomes a guard event in the background. Settlements have rows of their own, the ledger writes down what people
do, and repetitions are written where they are found, because receipts tell them (`calls/loop_acts.py`)."""


class Hub:
    """Hands each fact to every listener of its type, on the thread that made it."""

    def __init__(self) -> None:
        self._listeners: list[tuple[type[Any], Callable[[Any], object]]] = []
        self.renew_lock()
        renew_in_children(self)

    def renew_lock(self) -> None:
        """In a forked child: see `core.forks`."""
        self._lock = threading.Lock()

    def on(self, kind: type[E], listener: Callable[[E], object]) -> Callable[[], None]:
        """Listen to facts of a type and its subtypes; the answer ends it."""
        entry = (kind, listener)
        with self._lock:
            self._listeners = [*self._listeners, entry]

        def off() -> None:
            with self._lock:
                self._listeners = [one for one in self._listeners if one is not entry]

        return off

    def hears(self, kind: type[Event]) -> bool:
        """Whether anybody listens to facts of a type, so that one which nobody wants need not be made."""
        return any(issubclass(kind, wanted) for wanted, _ in self._listeners)

    def emit(self, event: Event) -> None:
        """Tell everybody. A listener that raises is reported as a `Fault`, once, and the call goes on."""
        for kind, listener in self._listeners:
            if isinstance(event, kind):
                try:
                    listener(event)
                except Exception as error:  # noqa: BLE001  # told to the other listeners instead
                    if not isinstance(event, events.Fault):
                        self.emit(
                            events.Fault(at=event.at, run_id=event.run_id, where=f"listener {listener!r}", error=error)
                        )


def record(hub: Hub, ledger: Ledger, ids: Ids, submit: Callable[..., object]) -> None:
    """Write what becomes a guard event to the ledger, through `submit` so that no call waits for it."""

    def accept(event: Event) -> None:
        submit(ledger.record, guard_event(event, _KINDS[type(event)], ids.new()))

    for kind in _KINDS:
        hub.on(kind, accept)


def guard_event(event: Event, kind: str, new_id: str) -> GuardEvent:
    """A fact as the ledger's row."""
    return GuardEvent(new_id, event.at, kind, event.run_id, event.scope_key, event.sentence, _facts(event))


def _facts(event: Event) -> dict[str, Any]:
    """The numbers of a fact as JSON values; text of prompts and answers is in none of them."""
    facts: dict[str, Any] = {}
    for name in getattr(event, "__dataclass_fields__", {}):
        value = getattr(event, name)
        if name in ("at", "run_id", "scope_key", "sentence"):
            continue
        if isinstance(value, TokenguardError):
            facts["facts"] = json_facts(value)
        if isinstance(value, Exception):
            value = getattr(value, "code", type(value).__name__)
        if isinstance(value, Mapping):
            value = dict(cast("Mapping[str, Any]", value))
        facts[name] = value.json() if isinstance(value, Money) else value
    return facts
