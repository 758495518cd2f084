"""Values to rows and back: balances, budgets, holds, nodes, closures and acts. Events are in event_rows.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeAlias

from tokenguard.core.account import Account, Amounts
from tokenguard.core.books import Closure, Entry, GuardEvent, Hold
from tokenguard.core.budget import Per, Unit
from tokenguard.core.verdict import AccountState, Ask, Grant
from tokenguard.ledger.accounts import Opening, StoredBudget
from tokenguard.ledger.event_rows import facts_json

__all__ = [
    "Granted",
    "balance_row",
    "budget_of",
    "budget_row",
    "by_unit",
    "closure_of",
    "closure_row",
    "granted_of",
    "guard_event_row",
    "hold_row",
    "node_row",
    "state_of",
]

Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Granted:
    """What an open hold has taken, as its row remembers it."""

    amounts: Amounts
    output_tokens: int
    input_bound: int
    before: tuple[tuple[str, int, int, int, int], ...]
    """(account id, cap, settled, held, live) as the grant saw them, outermost scope first."""
    paced: tuple[str, ...] = ()
    """As in `Hold.paced`."""

    @property
    def account_ids(self) -> tuple[str, ...]:
        """The accounts it is held on."""
        return tuple([one[0] for one in self.before])


# ---- balances and budgets ------------------------------------------------------------------------------------------


def balance_row(opening: Opening) -> Row:
    """A new balance at zero."""
    account = opening.account
    return {
        "id": account.id,
        "scope_key": account.scope_key,
        "label": account.scope_label,
        "unit": str(account.unit),
        "per": account.per,
        "bucket": account.bucket,
        "ends_at": account.ends_at,
        "declared": account.cap,
        "warn_at": account.warn_at,
        "reserve_final_pico": account.reserve_final_pico,
        "cap": opening.cap,
        "settled": 0,
        "held": 0,
        "live": 0,
        "allowance_pico": account.allowance_pico,
    }


def state_of(row: Sequence[Any]) -> AccountState:
    """A balance row in the order of `BALANCE_COLUMNS`."""
    return AccountState(_account_of(*row[:10], row[14]), row[10], row[11], row[12], row[13])


@lru_cache(maxsize=4096)
def _account_of(  # noqa: PLR0917  # a row's columns in their order; keywords would slow the cache
    account_id: str,
    scope_key: str,
    label: str,
    unit: str,
    per: Per,
    bucket: str,
    ends_at: datetime | None,
    declared: int,
    warn_at: tuple[float, ...],
    reserve_final_pico: int,
    allowance_pico: int | None,
) -> Account:
    """What does not change from call to call, built once."""
    return Account(
        account_id,
        scope_key,
        label,
        Unit(unit),
        per,
        bucket,
        declared,
        ends_at,
        warn_at,
        reserve_final_pico,
        allowance_pico,
    )


def budget_row(budget: StoredBudget, at: datetime) -> Row:
    """A stored budget."""
    return {
        "scope_key": budget.scope_key,
        "unit": str(budget.unit),
        "per": budget.per,
        "tz": budget.tz,
        "label": budget.label,
        "declared": budget.declared,
        "cap": budget.cap,
        "warn_at": budget.warn_at,
        "reserve_final_pico": budget.reserve_final_pico,
        "set_by": budget.set_by,
        "changed_at": at,
        "in_file": budget.in_file,
        "allowance_pico": budget.allowance_pico,
    }


@lru_cache(maxsize=4096)
def budget_of(row: tuple[Any, ...]) -> StoredBudget:
    """A budget row in the order of `BUDGET_COLUMNS`; the same row is read for every call, so it is built once."""
    scope_key, unit, per, tz, label, declared, cap, warn_at, kept, set_by, _, in_file, allowance = row
    return StoredBudget(scope_key, label, Unit(unit), per, tz, declared, cap, warn_at, kept, set_by, in_file, allowance)


def by_unit(prefix: str, amounts: Sequence[int]) -> Row:
    """Parameters of `Statements.move` for (usd, tokens, calls, steps)."""
    usd, tokens, calls, steps = amounts
    return {f"{prefix}_usd": usd, f"{prefix}_tokens": tokens, f"{prefix}_calls": calls, f"{prefix}_steps": steps}


# ---- holds ---------------------------------------------------------------------------------------------------------


def hold_row(hold: Hold, ask: Ask, grant: Grant, now: datetime) -> Row:
    """An open hold, leased from `now`, the books' instant, for as long as its caller asked."""
    amounts = grant.amounts
    granted: Row = {
        "amounts": [amounts.usd_pico, amounts.tokens, amounts.calls, amounts.steps],
        "output_tokens": grant.output_tokens,
        "input_bound": ask.input_tokens,
        "before": [[one.account.id, one.cap, one.settled, one.held, one.live] for one in grant.states],
    }
    if hold.paced:
        granted["paced"] = hold.paced
    return {
        "id": hold.id,
        "held_at": hold.at,
        "owner": hold.owner,
        "lease_until": now + (hold.lease_until - hold.at),
        "state": "held",
        "root_id": hold.facts.root_id,
        "node_id": hold.facts.node_id or hold.facts.run_id,
        "usd_pico": amounts.usd_pico,
        "facts": facts_json(hold.facts),
        "granted": granted,
        "kept": None,
    }


def granted_of(json: Mapping[str, Any]) -> Granted:
    """What `hold_row` wrote."""
    before = tuple([tuple(one) for one in json["before"]])
    return Granted(
        Amounts(*json["amounts"]), json["output_tokens"], json["input_bound"], before, tuple(json.get("paced", ()))
    )


# ---- nodes, closures, acts -----------------------------------------------------------------------------------------


def node_row(entry: Entry) -> Row:
    """A node that begins."""
    return {
        "id": entry.id,
        "kind": str(entry.kind),
        "name": entry.name,
        "parent_id": entry.parent_id,
        "root_id": entry.root_id,
        "scope": entry.scope,
        "owner": entry.owner,
        "labels": dict(entry.labels),
        "started_at": entry.at,
        "ended_at": None,
        "outcome": None,
        "above_id": entry.runs[-2] if len(entry.runs) > 1 else None,
    }


def closure_row(closure: Closure, row_id: str) -> Row:
    """A tombstone."""
    return {
        "id": row_id,
        "run_id": closure.run_id,
        "account_id": closure.account_id or "",
        "code": closure.code,
        "sentence": closure.sentence,
        "facts": dict(closure.facts),
        "at": closure.at,
        "by": closure.by,
        "ended_at": None,
        "ended_by": None,
        "ended_why": None,
    }


def closure_of(row: Mapping[str, Any]) -> Closure:
    """A closure's columns."""
    return Closure(
        row["run_id"], row["code"], row["sentence"], row["facts"], row["at"], row["by"], row["account_id"] or None
    )


def guard_event_row(event: GuardEvent) -> Row:
    """A decision or an act."""
    return {
        "id": event.id,
        "at": event.at,
        "kind": event.kind,
        "run_id": event.run_id,
        "scope_key": event.scope_key,
        "sentence": event.sentence,
        "facts": dict(event.facts),
    }
