"""From verdicts to sentences: the error for a `Short`, and the tombstone that carries a stop to other processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokenguard import errors
from tokenguard.core.books import Closure
from tokenguard.core.budget import Unit
from tokenguard.core.money import Money, dollars
from tokenguard.core.rolling import PREFIX, is_rolling
from tokenguard.core.verdict import Reason, Short
from tokenguard.errors import BudgetExceeded, CallTooLarge, HeadroomBusy, RunRevoked, SpendStopped, TokenguardError

if TYPE_CHECKING:
    from datetime import datetime

    from tokenguard.core.account import Account

__all__ = ["amount_text", "closes_run", "closure_of", "error_from", "error_of", "json_facts", "stop_of"]

_BUSY_RETRY_S = 0.5
_JSON: tuple[type[Any], ...] = (str, int, float, bool, dict, list)
_STOPS = {
    kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SpendStopped)
}


def error_of(short: Short) -> TokenguardError:
    """The error to raise for a verdict that is not a grant."""
    if short.reason is Reason.SPENT:
        return stop_of(short)
    state, account = short.state, short.state.account
    facts = _facts(short)
    if short.reason is Reason.TOO_LARGE:
        return CallTooLarge(
            f"this call could cost {amount_text(account.unit, short.asked)} at the least, above the whole cap of "
            "budget "
            f"{account.scope_label!r}: {amount_text(account.unit, state.cap)}. {_raise_hint(account)}",
            **facts,
        )
    return HeadroomBusy(
        f"budget {account.scope_label!r} has {amount_text(account.unit, state.room)} of room, calls in flight hold "
        f"{amount_text(account.unit, state.held)}, and this call could cost {amount_text(account.unit, short.asked)}. "
        f'Nothing was sent; try again when they end, or let calls wait with Guard(busy="wait").',
        retry_in_s=_BUSY_RETRY_S,
        **facts,
    )


def stop_of(short: Short) -> BudgetExceeded:
    """The stop for a spent account."""
    state, account = short.state, short.state.account
    when = f" It rolls at {account.ends_at:%Y-%m-%d %H:%M} UTC." if account.ends_at else ""
    if short.retry_at is not None:
        when = f" There is room for it at {short.retry_at:%Y-%m-%d %H:%M:%S} UTC."
    return BudgetExceeded(
        f"budget {account.scope_label!r} is spent: {amount_text(account.unit, state.settled)} of "
        f"{amount_text(account.unit, state.cap)} used{_per(account)}, this call could cost "
        f"{amount_text(account.unit, short.asked)} at the least.{when} {_raise_hint(account)}",
        retry_at=short.retry_at or account.ends_at,
        **_facts(short),
    )


def amount_text(unit: Unit, amount: int) -> str:
    """An amount for a reader: `$1.98`, `1,200 tokens`, `3 calls`."""
    if unit is Unit.USD:
        return dollars(amount)
    return f"{amount:,} {unit.removesuffix('s') if amount == 1 else unit}"


def closes_run(account: Account) -> str | None:
    """The run that a spent account closes; None for shared and windowed scopes, whose balance refuses by itself."""
    kind, _, run_id = account.scope_key.partition(":")
    return run_id if kind == "run" and account.per == "run" else None


def closure_of(error: SpendStopped, *, run_id: str, at: datetime, by: str, account_id: str | None = None) -> Closure:
    """The tombstone of a stop, with its facts as JSON values."""
    return Closure(run_id, error.code, error.sentence, json_facts(error), at, by, account_id)


def json_facts(error: TokenguardError) -> dict[str, Any]:
    """The facts of an error as JSON values, but for its receipt."""
    return {name: _to_json(value) for name, value in error.facts.items() if name not in ("receipt", "__notes__")}


def error_from(closure: Closure) -> SpendStopped:
    """The stop that a tombstone stands for, as the process that first raised it would raise it again."""
    kind = _STOPS.get(closure.code, RunRevoked)
    facts = {name: _from_json(value) for name, value in closure.facts.items()}
    facts.setdefault("scope", closure.run_id)
    facts.setdefault("scope_key", f"run:{closure.run_id}")
    if kind is RunRevoked:
        facts.setdefault("by", closure.by)
        facts.setdefault("why", closure.sentence)
    return kind(closure.sentence, **facts)


def _facts(short: Short) -> dict[str, Any]:
    """The numbers of a verdict; usd as Money, counts as they are."""
    account, state = short.state.account, short.state
    wrap = Money.from_pico if account.unit is Unit.USD else int
    return {
        "scope": account.scope_label,
        "scope_key": account.scope_key,
        "unit": account.unit.value,
        "per": account.per,
        "cap": wrap(state.cap),
        "settled": wrap(state.settled),
        "held": wrap(state.held),
        "asked": wrap(short.asked),
    }


def _per(account: Account) -> str:
    if is_rolling(account.per):
        return f" in the last {account.per.removeprefix(PREFIX)}"
    return "" if account.per in ("run", "total") else f" this {account.per}"


def _raise_hint(account: Account) -> str:
    """The next move of whoever reads the sentence."""
    if account.unit is Unit.USD:
        return f"Raise it with Budget(usd=...), or for what runs now: guard.top_up({account.scope_key!r}, usd=...)."
    return f"Raise it with Budget({account.unit}=...)."


def _to_json(value: Any) -> Any:
    """A fact as a JSON value; money keeps its type by a one-key object."""
    if isinstance(value, Money):
        return {"usd": value.json()}
    if hasattr(value, "isoformat"):
        return {"at": value.isoformat()}
    return value if value is None or isinstance(value, _JSON) else str(value)


def _from_json(value: Any) -> Any:
    """The fact behind a JSON value."""
    if isinstance(value, dict) and len(value) == 1:  # pyright: ignore[reportUnknownArgumentType]
        if "usd" in value:
            return Money(str(value["usd"]))  # pyright: ignore[reportUnknownArgumentType]
        if "at" in value:
            from datetime import datetime as instant  # noqa: PLC0415  # only this branch needs it at run time

            return instant.fromisoformat(str(value["at"]))  # pyright: ignore[reportUnknownArgumentType]
    return value  # pyright: ignore[reportUnknownVariableType]
