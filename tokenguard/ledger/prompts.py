"""Prompts in the books: originals that were asked to be kept, and what folding saved."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from tokenguard.core.money import Money
from tokenguard.core.recovery import StoredText, digest_of
from tokenguard.core.savings import SAVING_DIMENSIONS, Saving, SavingBy, SavingSpend, ordered
from tokenguard.errors import LedgerConflict
from tokenguard.ledger.prompt_schema import COUNTS, original, saving
from tokenguard.ledger.tx import Tx

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokenguard.core.clock import Clock
    from tokenguard.ledger.engine import Database

__all__ = ["SqlPrompts"]

T = TypeVar("T")

_text, _row = original.c, saving.c


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


def _store(tx: Tx, texts: Sequence[StoredText]) -> None:
    # Over is what both clocks call over: a caller's that was set ahead would take everybody's originals away.
    tx.write(sa.delete(original).where(_text.until <= min(tx.now(), *(one.at for one in texts))))
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


def _savings(
    connection: sa.Connection,
    by: SavingBy,
    run_ids: Sequence[str] | None,
    since: datetime | None,
    until: datetime | None,
) -> tuple[SavingSpend, ...]:
    name = _row[SAVING_DIMENSIONS[by]]
    sums = [sa.func.sum(_row[one]) for one in (*COUNTS, "estimated_pico", "settled_pico")]
    clause = sa.select(name, _row.applied, *sums).group_by(name, _row.applied)
    if since is not None:
        clause = clause.where(_row.at >= since)
    if until is not None:
        clause = clause.where(_row.at < until)
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
