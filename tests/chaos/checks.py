"""What must hold at every look at the balances, and when a round is over and swept."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from chaos.plan import ORG
from tokenguard.core.clock import SystemClock
from tokenguard.ledger.sql import SqlLedger
from tokenguard.testing.model_server import Exchange

__all__ = ["Found", "Watch", "findings"]

Look = Callable[[str], list[tuple[Any, ...]]]
_PICO_PER_TOKEN: Final = 25 * 10**6
"""support.PENNY's price."""
_PASSED: Final = (
    "SELECT scope_key, unit, cap, settled, held FROM tg_balance "
    "WHERE settled + held > cap OR settled < 0 OR held < 0 OR live < 0"
)
_BETWEEN_LOOKS_S: Final = 0.01
_BILLED_ERRORS: Final = frozenset({504})
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at the books after a round found."""

    broken: tuple[str, ...]
    assumed: int


class Watch:
    """Looks at the balances all the time; what it saw that must not be is in `seen`."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-watch", daemon=True)
        self.looks = 0
        self.seen: set[str] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_BETWEEN_LOOKS_S):
            try:
                self.seen.update(f"during the round: {_passed(row)}" for row in self._look(_PASSED))
            except Exception:
                continue  # The database is away, as planned; it is asked again.
            self.looks += 1


def findings(
    ledger: SqlLedger, look: Look, exchanges: Sequence[Exchange], acknowledged: Sequence[str], watch: Watch
) -> Found:
    """Sweep, then look for every promise that was broken."""
    now = SystemClock().now()
    ledger.sweep(now.replace(year=now.year + 1))
    broken = [*sorted(watch.seen), *(_passed(row) for row in look(_PASSED))]
    broken += [one.sentence for one in ledger.verify().findings]
    broken += _unbooked(exchanges, look)
    broken += _lost(acknowledged, look)
    broken += [f"hold {row[0]} was not swept" for row in look("SELECT id FROM tg_hold")]
    assumed = look("SELECT count(*) FROM tg_spend_event WHERE quality = 'assumed' AND revision = 1")
    return Found(tuple(broken), int(assumed[0][0]))


def _passed(row: Sequence[Any]) -> str:
    scope_key, unit, cap, settled, held = row
    return f"{scope_key}: {settled} settled and {held} held of {cap} {unit}"


def _unbooked(exchanges: Sequence[Exchange], look: Look) -> Iterator[str]:
    """Scopes that were booked less than the model counted for them."""
    booked = {
        (scope_key, unit): int(settled)
        for scope_key, unit, settled in look("SELECT scope_key, unit, settled FROM tg_balance")
    }
    for (scope_key, unit), counted in _counted(exchanges).items():
        stands = booked.get((scope_key, unit))
        if stands is None or stands < counted:
            yield f"{scope_key}: the model counted {counted} {unit}, booked are {stands}"


def _counted(exchanges: Sequence[Exchange]) -> Counter[tuple[str, str]]:
    """What the model would bill each scope for: whole answers, also those that nobody received."""
    counted: Counter[tuple[str, str]] = Counter()
    for exchange in exchanges:
        asked = json.loads(exchange.request.messages[0]["content"])
        reply, most = exchange.reply, exchange.request.output_max or 0
        billed = reply.status == _OK or reply.status in _BILLED_ERRORS
        pico = min(reply.completion_tokens or 0, most) * _PICO_PER_TOKEN if billed else 0
        for scope_key in (
            f"scope:{ORG}",
            f"scope:{ORG}/{asked['team']}",
            f"run:{asked['run']}",
            f"run:{asked['agent']}",
        ):
            counted[scope_key, "usd"] += pico
        counted[f"run:{asked['run']}", "calls"] += 1
    return counted


def _lost(acknowledged: Sequence[str], look: Look) -> Iterator[str]:
    """Settlements that a worker was told of and that the events do not say, or say otherwise."""
    booked = {str(row[0]): int(row[1]) for row in look("SELECT id, sum(usd_pico) FROM tg_spend_event GROUP BY id")}
    for line in acknowledged:
        _, attempt_id, pico = line.split()
        if booked.get(attempt_id) != int(pico):
            yield f"attempt {attempt_id} was acknowledged with {pico} pico, booked are {booked.get(attempt_id)}"
