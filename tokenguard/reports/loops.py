"""What repetitions cost and what refusing them spared, the dearest first, with totals that add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokenguard.core.looping import LoopSpend, done_about
from tokenguard.core.money import Money
from tokenguard.reports.runs import short_id
from tokenguard.reports.tables import Column, Table, aligned, visible

if TYPE_CHECKING:
    from datetime import datetime

    from tokenguard.core.ports import Ledger

__all__ = ["LoopReport", "loop_report"]

_COLUMNS = (
    Column("rule"),
    Column("subject"),
    Column("run"),
    Column("repeats", right=True),
    Column("done"),
    Column("wasted", right=True),
    Column("averted", right=True),
)


@dataclass(frozen=True, slots=True)
class LoopReport:
    """The repetitions that reached a rung between two instants."""

    since: datetime | None
    until: datetime | None
    rows: tuple[LoopSpend, ...]
    """The dearest first."""

    @property
    def wasted(self) -> Money:
        """What the repetitions after the first one cost, in all rows."""
        return _sum([row.wasted for row in self.rows])

    @property
    def averted(self) -> Money:
        """What their rungs spared, in all rows."""
        return _sum([row.averted for row in self.rows])

    @property
    def assumption(self) -> str:
        """How `averted` was estimated, in one sentence."""
        said = dict.fromkeys(row.assumption for row in self.rows if row.averted and row.assumption)
        return f"averted is an estimate: {'; '.join(visible(one, 200) for one in said) or 'nothing was averted'}."

    def table(self, limit: int | None = None) -> Table:
        """For a terminal: at most `limit` rows, the rest as one row, and the total."""
        shown = self.rows if limit is None else self.rows[:limit]
        rest = self.rows[len(shown) :]
        ids = list(dict.fromkeys(row.run_id for row in shown))
        amounts = [(row.wasted, row.averted) for row in shown]
        if rest:
            amounts.append((_sum([row.wasted for row in rest]), _sum([row.averted for row in rest])))
        amounts.append((self.wasted, self.averted))
        wasted, averted = (aligned([pair[place] for pair in amounts]) for place in (0, 1))
        names = [
            (
                visible(row.rule),
                visible(row.subject, 48),
                visible(short_id(row.run_id, ids)),
                f"{row.repeats:,}",
                done_about(row),
            )
            for row in shown
        ]
        if rest:
            names.append((f"… {len(rest):,} more", "", "", "", ""))
        names.append(("total", "", "", "", ""))
        cells = [(*name, wasted[place], averted[place]) for place, name in enumerate(names)]
        return Table(_COLUMNS, tuple(cells[:-1]), cells[-1])

    def json(self) -> dict[str, Any]:
        """All rows as JSON values; money as decimal strings of dollars."""
        return {
            "report": "loops",
            "since": self.since.isoformat() if self.since else None,
            "until": self.until.isoformat() if self.until else None,
            "rows": [row.json() for row in self.rows],
            "total": {"wasted_usd": self.wasted.json(), "averted_usd": self.averted.json()},
            "assumption": self.assumption,
        }


def loop_report(ledger: Ledger, *, since: datetime | None = None, until: datetime | None = None) -> LoopReport:
    """Ask a ledger."""
    return LoopReport(since, until, ledger.loops(since=since, until=until))


def _sum(amounts: Sequence[Money]) -> Money:
    return Money.from_pico(sum(one.pico for one in amounts))
