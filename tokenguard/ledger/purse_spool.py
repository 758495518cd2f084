"""What a purse did, on this machine's disk before the call is sent, and what another process makes of it.

Of a process that dies, a process of the same machine books what it paid, assumes the worst case of what was in flight,
and gives the rest of its leases back; everything is looked for in the books first, so that doing it twice does nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from tokenguard.core.allowance import Exchange, Paid, Promise
from tokenguard.core.books import Booking, CallFacts, Hold
from tokenguard.core.leases import LEASE_S
from tokenguard.ledger.outcomes import assumed
from tokenguard.ledger.purse import Purse
from tokenguard.ledger.spool import Spool

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = ["lease_for", "recovered", "rewrite", "tidied", "write_kept", "write_lease", "write_paid", "write_promise"]

_MOST: Final = 4 * 1024 * 1024
"""Bytes of a spool before it begins anew with what is still to be told."""
_LEASE: Final = timedelta(seconds=LEASE_S)


def lease_for(hold: Hold, lease_id: str, at: datetime, owner: str) -> Hold:
    """A lease on the path of a call: what it is for is in the calls that it pays."""
    facts = CallFacts(
        call_id=lease_id,
        attempt=1,
        operation="allowance",
        model="allowance",
        provider="",
        run_id=hold.facts.run_id,
        root_id=hold.facts.root_id,
        node_id=hold.facts.run_id,
        agent=hold.facts.agent,
        scope=hold.facts.scope,
    )
    until = at + _LEASE
    return Hold(lease_id, at, owner, until, hold.accounts, hold.scope_keys, hold.run_ids, facts, paced=hold.paced)


def write_lease(spool: Spool, purse: int, lease_id: str) -> None:
    """A lease is asked for: from now on it may be this process's."""
    spool.append({"do": "lease", "purse": purse, "id": lease_id})


def promise_json(promise: Promise) -> bytes | None:
    """A promise as JSON; None where no database could write it down: with lone surrogates or NUL in a name."""
    return _json(_promises(), promise)


def storable(booking: Booking) -> tuple[Booking, bytes]:
    """A booking that every database can write down, and its JSON: what a provider said is not known to be text."""
    text = _json(_bookings(), booking)
    if text is None:
        said = {one.name: getattr(booking, one.name) for one in fields(booking)}
        clean: dict[str, Any] = {name: escaped(value) for name, value in said.items() if type(value) is str}
        booking = replace(booking, **clean)
        text = _bookings().dump_json(booking)
    return booking, text


def escaped(text: str) -> str:
    """Text without what no database takes, which is spelled out instead."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def write_promise(spool: Spool, purse: int, promise: bytes) -> None:
    """A call is about to be sent."""
    spool.append_json(b'{"do":"promise","purse":%d,"promise":%b}' % (purse, promise))


def write_paid(spool: Spool, purse: int, promise_id: str, booking: bytes) -> None:
    """What it came to."""
    told_of = json.dumps(promise_id).encode("ascii")
    spool.append_json(b'{"do":"paid","purse":%d,"id":%b,"booking":%b}' % (purse, told_of, booking))


def write_kept(spool: Spool, purse: int, promise_id: str, booking: bytes) -> None:
    """Nobody knows what it came to."""
    told_of = json.dumps(promise_id).encode("ascii")
    spool.append_json(b'{"do":"kept","purse":%d,"id":%b,"booking":%b}' % (purse, told_of, booking))


def rewrite(spool: Spool, purse: Purse) -> None:
    """Write down what a purse has still to tell, for a file that begins anew."""
    asked = purse.unanswered
    paid, kept = [*purse.paid], [*purse.kept]
    lease_ids = [*purse.lease_ids]
    if asked is not None:
        lease_ids.append(asked.lease.id)
        paid += asked.paid
        kept += asked.kept
    for lease_id in lease_ids:
        write_lease(spool, purse.number, lease_id)
    settled = [*(one.promise for one in paid), *(one.promise for one in kept)]
    for promise in (*purse.open.values(), *settled):
        write_promise(spool, purse.number, _promises().dump_json(promise))
    for one in paid:
        write_paid(spool, purse.number, one.promise.id, storable(one.booking)[1])
    for other in kept:
        if other.booking is not None:
            write_kept(spool, purse.number, other.promise.id, storable(other.booking)[1])


def tidied(spool: Spool, purses: Sequence[Purse]) -> Spool:
    """Forget what the ledger has; the file to go on with.

    Raises:
        LedgerUnavailable: a new file cannot be written; the old one has everything.
    """
    if not any(one.has_news or one.open for one in purses):
        spool.clear()
        for one in purses:
            rewrite(spool, one)
        return spool
    if spool.size <= _MOST:
        return spool
    anew = Spool.open(spool.path.parent)
    try:
        for one in purses:
            rewrite(anew, one)
    except BaseException:
        anew.close(remove=True)
        raise
    spool.close(remove=True)
    return anew


@dataclass(slots=True)
class _Left:
    """What a dead process left of one purse."""

    lease_ids: dict[str, None] = field(default_factory=dict[str, None])
    promises: dict[str, Promise] = field(default_factory=dict[str, Promise])
    paid: dict[str, Booking] = field(default_factory=dict[str, Booking])
    kept: dict[str, Booking] = field(default_factory=dict[str, Booking])


def recovered(records: Iterable[Mapping[str, Any]], at: datetime, owner: str) -> list[Exchange]:
    """One exchange for each purse of a dead process; none leases anything."""
    purses: dict[int, _Left] = {}
    for record in records:
        left = purses.setdefault(record["purse"], _Left())
        if record["do"] == "lease":
            left.lease_ids[record["id"]] = None
        elif record["do"] == "promise":
            promise = _promises().validate_python(record["promise"])
            left.promises[promise.id] = promise
        else:
            told = left.paid if record["do"] == "paid" else left.kept
            told[record["id"]] = _bookings().validate_python(record["booking"])
    return [_exchange(left, at, owner) for left in purses.values() if left.lease_ids]


def _exchange(left: _Left, at: datetime, owner: str) -> Exchange:
    first, *_ = left.lease_ids
    facts = CallFacts(first, 1, "allowance", "allowance", "", None, None, None, None, "")
    # Its id is not used: with nothing in flight and nothing wanted, no lease follows.
    lease = Hold(f"after-{first}", at, owner, at + _LEASE, (), (), (), facts)
    paid = [Paid(one, _outcome(left, one, at)) for one in left.promises.values()]
    return Exchange(lease, tuple(left.lease_ids), tuple(paid), repeated=True)


def _outcome(left: _Left, promise: Promise, at: datetime) -> Booking:
    return left.paid.get(promise.id) or assumed(promise.amounts, left.kept.get(promise.id), at)


def _json(adapter: TypeAdapter[Any], value: object) -> bytes | None:
    try:
        text = adapter.dump_json(value)
    except ValueError:
        return None
    return None if b"\\u0000" in text else text


@lru_cache(maxsize=1)
def _promises() -> TypeAdapter[Promise]:
    """Promises to JSON and back; loaded with the first lease."""
    from pydantic import TypeAdapter  # noqa: PLC0415

    return TypeAdapter(Promise)


@lru_cache(maxsize=1)
def _bookings() -> TypeAdapter[Booking]:
    from pydantic import TypeAdapter  # noqa: PLC0415

    return TypeAdapter(Booking)
