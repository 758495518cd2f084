"""Processes that died without a word: what they held and what they ran is given up at once, where that can be known.

Only a process of the same boot and pid namespace can be known to be dead (config/owners.py); everybody else's holds
wait for the end of their leases.
"""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from tokenguard.config.owners import is_dead
from tokenguard.ledger import schema
from tokenguard.ledger.statements import one_of
from tokenguard.ledger.tx import Tx

__all__ = ["bury", "dead_owners"]

_REMEMBERED = timedelta(days=1)
"""How long a process that is gone keeps its row."""


def dead_owners(connection: sa.Connection) -> list[str]:
    """Processes with open holds or live runs that are known to be dead."""
    owners = sa.union(sa.select(schema.hold.c.owner), sa.select(schema.owner.c.id))
    return [one for one in connection.execute(owners).scalars() if is_dead(one)]


def bury(tx: Tx, dead: list[str]) -> None:
    """End the leases of dead processes now: the next sweep charges what they held, and their runs live no more."""
    now, hold, owner = tx.now(), schema.hold.c, schema.owner.c
    tx.write(sa.update(schema.hold).where(one_of(hold.owner, dead), hold.lease_until > now).values(lease_until=now))
    tx.write(sa.delete(schema.owner).where(one_of(owner.id, dead)))
    tx.write(sa.delete(schema.owner).where(owner.lease_until < now - _REMEMBERED))
