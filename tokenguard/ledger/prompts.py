"""Prompts in the books: originals that were asked to be kept, and what folding saved."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import sqlalchemy as sa

from tokenguard.core.holdout import FoldedRun
from tokenguard.core.money import Money
from tokenguard.core.recovery import StoredText, digest_of
from tokenguard.core.savings import SAVING_DIMENSIONS, Saving, SavingBy, SavingSpend, ordered
from tokenguard.errors import LedgerConflict
from tokenguard.ledger.prompt_schema import COUNTS, fold_state, original, saving
from tokenguard.ledger.schema import spend_event
from tokenguard.ledger.spending import PRUNED, event_day
from tokenguard.ledger.tx import Tx

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokenguard.core.clock import Clock
    from tokenguard.ledger.engine import Database

__all__ = ["SqlPrompts", "add_up_savings", "single_savings"]

T = TypeVar("T")

_KEPT: Final = ("scope", "agent", "model", "stage", "applied")
_SUMS: Final = (*COUNTS, "estimated_pico", "settled_pico")

_text, _row, _state = original.c, saving.c, fold_state.c


class SqlPrompts:
    """The part of a ledger in a database that concerns prompts."""

    _database: Database
    _clock: Clock
    if TYPE_CHECKING:

        def _repeatable(self, work: Callable[[Tx], T], *, checks_schema: bool = False) -> T: ...

    def store_texts(self, texts: Sequence[StoredText]) -> None:
        """See `core.prompt_books.PromptBooks.store_texts`; what is over by then goes with it."""
        if texts:
            self._repeatable(lambda tx: _store(tx, texts))

    def find_text(self, marker: str, *, root_id: str | None) -> str | None:
        """See `core.prompt_books.PromptBooks.find_text`."""
        now = self._clock.now()
        return self._database.read(lambda connection: _find(connection, marker, root_id, now))

    def keep_folding(self, run_id: str, state: Mapping[str, Any], *, at: datetime, until: datetime) -> None:
        """See `core.prompt_books.PromptBooks.keep_folding`."""
        row = {"run_id": run_id, "at": at, "until": until, "packed": zlib.compress(json.dumps(state).encode(), 6)}
        self._repeatable(lambda tx: tx.run(tx.statements.put(fold_state), row))

    def folding_of(self, run_id: str) -> Mapping[str, Any] | None:
        """See `core.prompt_books.PromptBooks.folding_of`."""
        clause = sa.select(_state.packed).where(_state.run_id == run_id, _state.until > self._clock.now())
        packed = self._database.read(lambda connection: connection.execute(clause).scalar())
        found: Mapping[str, Any] | None = None if packed is None else json.loads(zlib.decompress(packed))
        return found

    def note_savings(self, savings: Sequence[Saving]) -> None:
        """See `core.prompt_books.PromptBooks.note_savings`."""
        if savings:
            self._repeatable(lambda tx: _note(tx, savings))

    def savings(
        self,
        by: SavingBy = "stage",
        *,
        run_ids: Sequence[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> tuple[SavingSpend, ...]:
        """See `core.prompt_books.PromptBooks.savings`."""
        return self._database.read(lambda connection: _savings(connection, by, run_ids, since, until))

    def folded_runs(self, *, since: datetime | None = None, until: datetime | None = None) -> tuple[FoldedRun, ...]:
        """Run trees in which folding found something to do, with the calls that they sent.

        Args:
            since: Aware; runs with savings of then or later.
            until: Aware; excluded.
        """
        return self._database.read(lambda connection: _folded_runs(connection, since, until))


def _store(tx: Tx, texts: Sequence[StoredText]) -> None:
    # Over is what both clocks call over: a caller's that was set ahead would take everybody's originals away.
    over = min(tx.now(), *(one.at for one in texts))
    tx.write(sa.delete(original).where(_text.until <= over))
    tx.write(sa.delete(fold_state).where(_state.until <= over))
    insert = tx.statements.insert_missing(original)
    # In one order, so that two processes that keep the same texts do not wait for each other in a circle.
    for one in sorted(texts, key=lambda text: (text.root_id, text.marker)):
        digest = digest_of(one.text)
        packed = zlib.compress(one.text.encode("utf-8", "surrogatepass"), 6)
        row = {
            "root_id": one.root_id,
            "marker": one.marker,
            "digest": digest,
            "at": one.at,
            "until": one.until,
            "packed": packed,
        }
        if tx.run(insert, row):
            continue
        mine = sa.and_(_text.root_id == one.root_id, _text.marker == one.marker)
        ((found,),) = tx.select(sa.select(_text.digest).where(mine))
        if found != digest:
            raise LedgerConflict(
                f"marker {one.marker} stands for another text of this run already; this one is sent as it came.",
                hold_id=one.marker,
            )
        tx.write(sa.update(original).where(mine, _text.until < one.until).values(until=one.until))


def _find(connection: sa.Connection, marker: str, root_id: str | None, now: datetime) -> str | None:
    clause = sa.select(_text.packed).where(_text.marker == marker, _text.until > now)
    if root_id is not None:
        clause = clause.where(_text.root_id == root_id)
    packed = connection.execute(clause.order_by(_text.until.desc()).limit(1)).scalar()
    return None if packed is None else zlib.decompress(packed).decode("utf-8", "surrogatepass")


def _note(tx: Tx, savings: Sequence[Saving]) -> None:
    insert = tx.statements.insert_missing(saving)
    for one in savings:
        tx.run(insert, asdict(one))


def _folded_runs(connection: sa.Connection, since: datetime | None, until: datetime | None) -> tuple[FoldedRun, ...]:
    event = spend_event.c
    folded = sa.func.max(sa.cast(_row.applied, sa.Integer))
    removed = sa.func.sum(_row.tokens_before - _row.tokens_after)
    # Cache marks and routes change no result, and what was pruned has no runs.
    of_runs = sa.select(_row.root_id, folded.label("folded"), removed.label("removed"))
    of_runs = of_runs.where(
        _row.stage.not_in(("mark", "route")), _row.root_id.not_in(("", PRUNED)), *_within(since, until)
    )
    run = of_runs.group_by(_row.root_id).subquery()
    steps = sa.func.count(event.id)
    clause = sa.select(run.c.folded, steps, run.c.removed).join(spend_event, event.root_id == run.c.root_id)
    clause = clause.group_by(run.c.root_id, run.c.folded, run.c.removed)
    return tuple(FoldedRun(bool(yes), count, int(tokens)) for yes, count, tokens in connection.execute(clause))


def _within(since: datetime | None, until: datetime | None) -> list[sa.ColumnElement[bool]]:
    bounds = [] if since is None else [_row.at >= since]
    return bounds if until is None else [*bounds, _row.at < until]


def single_savings(before: datetime) -> sa.ColumnElement[bool]:
    """Rows from before that are not the sum of a day yet."""
    return sa.and_(_row.at < before, _row.run_id != PRUNED)


def add_up_savings(tx: Tx, before: datetime) -> None:
    """Put sums of days, at their midnights, in place of single rows: reports say the same, but not by run."""
    if tx.on_server:
        # Or two prunings would add the same rows up, and what is written meanwhile would go without having counted.
        tx.write(sa.text(f"LOCK TABLE {saving.name} IN SHARE ROW EXCLUSIVE MODE"))
    old = single_savings(before)
    keys = [event_day(tx.statements.dialect.name).label("day"), *(_row[name] for name in _KEPT)]
    sums = [sa.func.sum(_row[name]).label(name) for name in _SUMS]
    clause = sa.select(sa.func.min(_row.id).label("id"), *keys, *sums).where(old).group_by(*keys)
    found: list[dict[str, Any]] = [
        dict(zip(("id", "day", *_KEPT, *_SUMS), one, strict=True)) for one in tx.select(clause)
    ]
    tx.write(sa.delete(saving).where(old))
    for one in found:
        one["at"] = datetime.fromisoformat(one.pop("day")).replace(tzinfo=UTC)
        one.update({name: int(one[name]) for name in _SUMS}, run_id=PRUNED, root_id=PRUNED)
    tx.append(saving, found)


def _savings(
    connection: sa.Connection,
    by: SavingBy,
    run_ids: Sequence[str] | None,
    since: datetime | None,
    until: datetime | None,
) -> tuple[SavingSpend, ...]:
    name = _row[SAVING_DIMENSIONS[by]]
    sums = [sa.func.sum(_row[one]) for one in _SUMS]
    clause = sa.select(name, _row.applied, *sums).where(*_within(since, until)).group_by(name, _row.applied)
    if run_ids is not None:
        clause = clause.where(_row.run_id.in_(run_ids))
    rows: list[tuple[Any, ...]] = [tuple(one) for one in connection.execute(clause)]
    found = [
        SavingSpend(
            name=group,
            applied=bool(applied),
            **dict(zip(COUNTS, map(int, counts), strict=True)),
            estimated=Money.from_pico(int(estimated)),
            settled=Money.from_pico(int(settled)),
        )
        for group, applied, *counts, estimated, settled in rows
    ]
    return ordered(found)
