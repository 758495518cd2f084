"""What flows below a node, counted on its anchor: added where money is settled, read where it is held.

Only calls with a limited run or agent above them come by; all others run the statements that they ran before. Whoever
adds locks its hold first, then anchors root first, then balances, so nobody waits in a circle. Who reads locks nothing:
a call that is settled in the same instant counts for the next one. docs/adr/0021.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from tokenguard.core.account import Amounts
from tokenguard.core.tree import Anchor, TooFast, flowed, judge_flow
from tokenguard.ledger import schema
from tokenguard.ledger.tx import Tx

__all__ = ["begin_anew", "flow_in", "keep_others_out", "outpaced"]


def outpaced(tx: Tx, paced: Sequence[str]) -> TooFast | None:
    """The limit that the last minute below one of these nodes has reached."""
    anchors, second = _anchors(tx, paced, locked=False)
    return judge_flow(paced, anchors, second)


def keep_others_out(tx: Tx, paced: Sequence[str]) -> None:
    """Lock the anchors of these nodes, for a transaction that locks balances before it knows what flowed."""
    if paced:
        _anchors(tx, paced, locked=True)


def flow_in(tx: Tx, paced: Sequence[str], flows: Sequence[tuple[int, Amounts]]) -> None:
    """Add what was settled below these nodes.

    Args:
        tx: The transaction; it has locked no balance yet.
        paced: Nodes with such limits, root first.
        flows: (how many seconds ago, amounts), >= 0.
    """
    flows = [(age_s, one) for age_s, one in flows if one.usd_pico or one.tokens]
    if not paced or not flows:
        return
    anchors, second = _anchors(tx, paced, locked=True)
    added = [(second - age_s, one.usd_pico, one.tokens) for age_s, one in flows]
    after = [flowed(one, added, second) for one in anchors]
    if after:
        rows = [{"node": one.node_id, "flow": [list(moment) for moment in one.flow]} for one in after]
        tx.many(tx.statements.count_flow(), rows)


def begin_anew(tx: Tx, run_id: str) -> None:
    """Forget what flowed below a node: somebody resumed it."""
    row = schema.anchor.c
    tx.write(sa.update(schema.anchor).where(row.node_id == run_id, row.flow.is_not(None)).values(flow=None))


def _anchors(tx: Tx, paced: Sequence[str], *, locked: bool) -> tuple[list[Anchor], int]:
    """Those of these nodes that the books know as limited, and the books' second."""
    params: dict[str, Any] = {f"id_{place}": node_id for place, node_id in enumerate(paced)}
    rows = tx.rows(tx.statements.paced(len(paced), locks=locked), {**params, "now": tx.began})
    anchors = [
        Anchor(node_id, None, None, None, None, usd_per_minute_pico=usd, tokens_per_minute=tokens, flow=_flow(flow))
        for node_id, usd, tokens, flow, _ in rows
    ]
    return anchors, int(rows[0][-1].timestamp()) if rows else 0


def _flow(moments: Sequence[Sequence[int]] | None) -> tuple[tuple[int, int, int], ...]:
    return tuple((at, usd, tokens) for at, usd, tokens in moments or ())
