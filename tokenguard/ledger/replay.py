"""Do the books replay? Facts are added up again and compared with every cache and total made from them.

Checked, to the pico-dollar: transfers, from the closing rows on, against balances, slices of rolling windows and open
holds, events against the transfers that booked them, lines against events, rollups against events.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tokenguard.core.budget import Unit
from tokenguard.core.rolling import PREFIX, slice_at
from tokenguard.ledger import schema
from tokenguard.ledger.months import keep_months
from tokenguard.ledger.rollups import AMOUNTS, DIMENSIONS

__all__ = ["Finding", "Verification", "verify"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One place where the books contradict themselves."""

    table: str
    key: str
    what: str
    booked: int | str | None
    replayed: int | str | None

    @property
    def sentence(self) -> str:
        """The finding for a reader."""
        return f"{self.table} {self.key}: {self.what} is {self.booked}, replayed it is {self.replayed}"


@dataclass(frozen=True, slots=True)
class Verification:
    """What was replayed, and every difference."""

    transfers: int
    balances: int
    events: int
    lines: int
    rollups: int
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether the books replay."""
        return not self.findings


@dataclass(slots=True)
class _Replay:
    """Sums of the transfers' legs."""

    accounts: dict[str, list[int]]
    open_holds: set[str]
    settled: dict[str, dict[str, int]]
    """By attempt: account id → settled, as events must say it."""
    rolling: dict[str, str]
    """Accounts with a rolling window, and how long that is."""
    slices: dict[tuple[str, datetime], int]
    """By rolling account and slice: settled."""
    transfers: int = 0


def verify(connection: sa.Connection) -> Verification:
    """Replay everything on one snapshot. Reads each table once; memory grows with accounts and attempts."""
    keep_months(connection)
    replay = _replay(connection)
    findings: list[Finding] = []
    _check_closings(connection, findings)
    balances = _check_balances(connection, replay, findings)
    _check_slices(connection, replay, findings)
    _check_holds(connection, replay, findings)
    events = _check_events(connection, replay, findings)
    lines = _check_lines(connection, findings)
    rollups = _check_rollups(connection, findings)
    return Verification(replay.transfers, balances, events, lines, rollups, tuple(findings))


def _replay(connection: sa.Connection) -> _Replay:
    row, closing, balance = schema.transfer.c, schema.closing.c, schema.balance.c
    rolling = sa.select(balance.id, balance.per).where(balance.per.startswith(PREFIX))
    replay = _Replay({}, set(), {}, {one.id: one.per for one in connection.execute(rolling)}, {})
    for account_id, *sums in connection.execute(
        sa.select(closing.account_id, closing.held, closing.settled, closing.live)
    ):
        replay.accounts[account_id] = sums
    for hold_id, held_at, phase, legs in connection.execute(
        sa.select(row.hold_id, row.held_at, row.phase, row.legs).order_by(row.hold_id, row.phase)
    ):
        replay.transfers += 1
        if phase == 1:
            replay.open_holds.add(hold_id)
        else:
            replay.open_holds.discard(hold_id)
        booked = replay.settled.setdefault(hold_id, {}) if phase > 1 else None
        for account_id, held, settled, live in legs:
            sums = replay.accounts.setdefault(account_id, [0, 0, 0])
            sums[0] += held
            sums[1] += settled
            sums[2] += live
            if booked is not None:
                booked[account_id] = booked.get(account_id, 0) + settled
            if account_id in replay.rolling:
                key = (account_id, slice_at(replay.rolling[account_id], held_at))
                replay.slices[key] = replay.slices.get(key, 0) + settled
    return replay


def _check_closings(connection: sa.Connection, findings: list[Finding]) -> None:
    """Only what was resolved is ever pruned: nothing held, nothing live."""
    row = schema.closing.c
    for account_id, held, live in connection.execute(sa.select(row.account_id, row.held, row.live)):
        for what, amount in (("held", held), ("live", live)):
            if amount:
                findings.append(Finding("closing", account_id, what, amount, 0))


def _check_balances(connection: sa.Connection, replay: _Replay, findings: list[Finding]) -> int:
    row = schema.balance.c
    seen: set[str] = set()
    for account_id, scope, held, settled, live in connection.execute(
        sa.select(row.id, row.scope_key, row.held, row.settled, row.live)
    ):
        seen.add(account_id)
        sums = replay.accounts.get(account_id, [0, 0, 0])
        for what, booked, replayed in zip(("held", "settled", "live"), (held, settled, live), sums, strict=True):
            if booked != replayed:
                findings.append(Finding("balance", f"{account_id} ({scope})", what, booked, replayed))
    missing = sorted(set(replay.accounts) - seen)
    findings.extend(Finding("balance", one, "row", None, "in transfers") for one in missing)
    return len(seen)


def _check_slices(connection: sa.Connection, replay: _Replay, findings: list[Finding]) -> None:
    """Each slice is what the transfers of its holds settled; one that nothing settled in may be absent.

    Slices from before the last pruning have lost transfers, and no window holds them any more.
    """
    pruned = connection.scalar(sa.select(sa.func.max(schema.closing.c.before)))
    stored = {(one.account_id, one.starts_at): one.settled for one in connection.execute(sa.select(*_SLICE))}
    for key in sorted(stored.keys() | replay.slices.keys()):
        if pruned is not None and key[1] < pruned:
            continue
        was, now = stored.get(key, 0), replay.slices.get(key, 0)
        if was != now:
            findings.append(Finding("window_slice", f"{key[0]} from {key[1]:%Y-%m-%d %H:%M:%S}", "settled", was, now))


_SLICE = tuple(schema.window_slice.c)


def _check_holds(connection: sa.Connection, replay: _Replay, findings: list[Finding]) -> None:
    there = set(connection.execute(sa.select(schema.hold.c.id)).scalars())
    findings.extend(
        Finding("hold", one, "row", "open", "resolved or never held") for one in sorted(there - replay.open_holds)
    )
    findings.extend(Finding("hold", one, "row", None, "open") for one in sorted(replay.open_holds - there))


def _check_events(connection: sa.Connection, replay: _Replay, findings: list[Finding]) -> int:
    """Events of an attempt, corrections included, add up to what its transfers settled."""
    units = {
        one.id: Unit(one.unit) for one in connection.execute(sa.select(schema.balance.c.id, schema.balance.c.unit))
    }
    row = schema.spend_event.c
    count = 0
    booked: dict[str, list[int]] = {}
    for event_id, *amounts in connection.execute(sa.select(row.id, row.usd_pico, row.tokens, row.calls, row.steps)):
        count += 1
        sums = booked.setdefault(event_id, [0, 0, 0, 0])
        for place, amount in enumerate(amounts):
            sums[place] += amount
    order = (Unit.USD, Unit.TOKENS, Unit.CALLS, Unit.STEPS)
    for event_id, sums in booked.items():
        settled = replay.settled.get(event_id)
        if settled is None:
            findings.append(Finding("spend_event", event_id, "transfer", "booked", None))
            continue
        for account_id, amount in settled.items():
            unit = units.get(account_id)
            if unit is not None and sums[order.index(unit)] != amount:
                findings.append(Finding("spend_event", event_id, str(unit), sums[order.index(unit)], amount))
    return count


def _check_lines(connection: sa.Connection, findings: list[Finding]) -> int:
    """Each line is quantity × rate, and the lines of an event are its computed cost."""
    line, event = schema.spend_line.c, schema.spend_event.c
    count = 0
    sums: dict[tuple[str, int], int] = {}
    columns = (line.event_id, line.revision, line.meter, line.quantity, line.rate_pico, line.amount_pico)
    for event_id, revision, meter, quantity, rate, amount in connection.execute(sa.select(*columns)):
        count += 1
        if amount != quantity * rate:
            findings.append(Finding("spend_line", f"{event_id} {meter}", "amount_pico", amount, quantity * rate))
        sums[event_id, revision] = sums.get((event_id, revision), 0) + amount
    stored: dict[tuple[str, int], int] = {}
    for event_id, revision, computed, usd in connection.execute(
        sa.select(event.id, event.revision, event.computed_pico, event.usd_pico)
    ):
        stored[event_id, revision] = usd if computed is None else computed
    for key, replayed in sums.items():
        if stored.get(key) != replayed:
            findings.append(
                Finding("spend_event", f"{key[0]} revision {key[1]}", "cost of its lines", stored.get(key), replayed)
            )
    return count


def _check_rollups(connection: sa.Connection, findings: list[Finding]) -> int:
    """Per day and dimensions, rollups and the deltas that are not compacted yet add up to events."""
    event = schema.spend_event.c
    columns = ("day", *DIMENSIONS, *AMOUNTS)
    booked: dict[tuple[Any, ...], list[int]] = {}
    count = 0
    for table in (schema.rollup, schema.rollup_delta):
        clause: sa.Select[Any] = sa.select(*(table.c[name] for name in columns))
        if table is schema.rollup:
            clause = clause.where(schema.rollup.c.pruned.is_(sa.false()))
        for one in connection.execute(clause):
            count += 1
            _add(booked, tuple(one[:8]), one[8:])
    replayed: dict[tuple[Any, ...], list[int]] = {}
    for one in connection.execute(sa.select(event.at, *(event[name] for name in (*DIMENSIONS, *AMOUNTS)))):
        _add(replayed, (one[0].date().isoformat(), *(value or "" for value in one[1:8])), one[8:])
    for key in sorted(booked.keys() | replayed.keys()):
        was, now = booked.get(key, [0, 0, 0, 0]), replayed.get(key, [0, 0, 0, 0])
        findings.extend(
            Finding("rollup", "/".join(key), name, one, other)
            for name, one, other in zip(AMOUNTS, was, now, strict=True)
            if one != other
        )
    return count


def _add(sums: dict[tuple[Any, ...], list[int]], key: tuple[Any, ...], amounts: Any) -> None:
    found = sums.setdefault(key, [0, 0, 0, 0])
    for place, amount in enumerate(amounts):
        found[place] += amount
