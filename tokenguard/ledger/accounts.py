"""Which accounts a call must fit: those its own process declares, plus budgets that others stored for the same scopes.

A stored budget binds everybody under its scope. Where the calling process declares the same account, the stored cap in
force wins, because a person may have changed it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from tokenguard.core.account import Account, Scope, Window, account_id, window_at
from tokenguard.core.books import Source
from tokenguard.core.budget import Budget, Per, Unit
from tokenguard.core.money import dollars
from tokenguard.core.verdict import AccountState
from tokenguard.errors import BadAmount

__all__ = [
    "BudgetState",
    "Opening",
    "StoredBudget",
    "Windows",
    "check_cap",
    "check_top_up",
    "declared_budgets",
    "is_open",
    "openings_for",
    "person_budget",
    "redeclared",
    "spoken",
    "undeclared",
    "unset_sentence",
    "without_person",
]

_PRECEDENCE = {unit: place for place, unit in enumerate(Unit)}


@dataclass(frozen=True, slots=True)
class StoredBudget:
    """One cap that binds every process under a scope; the key is (scope_key, unit, per, tz)."""

    scope_key: str
    label: str
    unit: Unit
    per: Per
    tz: str
    declared: int | None
    """What the code declared last; None: it declares none."""
    cap: int
    """In force for windows that open from now on."""
    warn_at: tuple[float, ...] = ()
    reserve_final_pico: int = 0
    set_by: str = Source.CODE
    """Whose the cap in force is: a `Source`."""
    in_file: int | None = None
    """What `tokenguard.toml` declared last; None: it declares none."""
    allowance_pico: int | None = None

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes it one budget."""
        return (self.scope_key, self.unit, self.per, self.tz)

    @property
    def beneath(self) -> int | None:
        """The cap where no person set one: the code's, else the file's; None: only a person did."""
        return self.in_file if self.declared is None else self.declared

    @property
    def declarer(self) -> Source:
        """Who declares `beneath`."""
        return Source.FILE if self.declared is None else Source.CODE

    def caps(self, account: Account) -> bool:
        """Whether the account is this cap in one of its windows."""
        return account.id == account_id(self.scope_key, self.unit, self.per, self.tz, account.bucket)

    def account_in(self, window: Window) -> Account:
        """Its account in one window."""
        return Account(
            id=account_id(self.scope_key, self.unit, self.per, self.tz, window.bucket),
            scope_key=self.scope_key,
            scope_label=self.label,
            unit=self.unit,
            per=self.per,
            bucket=window.bucket,
            cap=self.cap if self.beneath is None else self.beneath,
            ends_at=window.ends_at,
            warn_at=self.warn_at,
            reserve_final_pico=self.reserve_final_pico,
            allowance_pico=self.allowance_pico,
        )


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A stored budget with the balance of its window."""

    budget: StoredBudget
    state: AccountState


@dataclass(frozen=True, slots=True)
class Opening:
    """An account a call must fit, and the cap its balance row starts with where there is none yet."""

    account: Account
    cap: int


class Windows:
    """Calendar windows with the last one of each kind remembered: calendar arithmetic costs more than a balance."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], tuple[datetime, Window]] = {}

    def at(self, per: Per, tz: str, at: datetime) -> Window:
        """The window of `per` in `tz` that holds `at`, as `core.account.window_at` computes it."""
        known = self._last.get((per, tz))
        if known is not None and known[0] <= at and (known[1].ends_at is None or at < known[1].ends_at):
            return known[1]
        window = window_at(per, tz, at)
        self._last[per, tz] = (at, window)
        return window


def declared_budgets(scope: Scope, source: Source) -> tuple[StoredBudget, ...]:
    """What a scope's code or file declares, one per (unit, per, tz); of two caps on one account the lower one."""
    found: dict[tuple[str, str, str, str], StoredBudget] = {}
    for budget in scope.budgets:
        for unit, cap in budget.caps():
            one = _declared(scope, budget, unit, cap, source)
            other = found.get(one.key)
            found[one.key] = one if other is None or cap < other.cap else other
    return tuple(found.values())


def _declared(scope: Scope, budget: Budget, unit: Unit, cap: int, source: Source) -> StoredBudget:
    kept = budget.reserve_final.pico if budget.reserve_final and unit is Unit.USD else 0
    in_code, in_file = (cap, None) if source is Source.CODE else (None, cap)
    return StoredBudget(
        scope.key,
        scope.label,
        unit,
        budget.per,
        budget.tz,
        in_code,
        cap,
        budget.warn_at,
        kept,
        source,
        in_file,
        None if budget.allowance is None else budget.allowance.pico,
    )


def openings_for(
    accounts: Sequence[Account],
    scope_keys: Sequence[str],
    stored: Iterable[StoredBudget],
    at: datetime,
    windows: Windows,
) -> tuple[Opening, ...]:
    """Every account a call at `at` must fit, outermost scope first, units in their precedence, each once."""
    found: dict[str, Opening] = {}
    for account in accounts:
        twin = found.get(account.id)
        if twin is None or account.cap < twin.cap:
            found[account.id] = Opening(account, account.cap)
    in_order = len(found)
    for budget in stored:
        # Only the id is needed where the process declares the account too, which is the common case.
        window = windows.at(budget.per, budget.tz, at)
        own = found.get(account_id(budget.scope_key, budget.unit, budget.per, budget.tz, window.bucket))
        account = budget.account_in(window) if own is None else own.account
        found[account.id] = Opening(account, budget.cap)
    if len(found) == in_order:
        return tuple(found.values())
    places = {key: place for place, key in enumerate(scope_keys)}
    innermost = len(places)
    return tuple(
        sorted(
            found.values(),
            key=lambda one: (
                places.get(one.account.scope_key, innermost),
                _PRECEDENCE[one.account.unit],
                one.account.id,
            ),
        )
    )


def is_open(account: Account, at: datetime) -> bool:
    """Whether the account's window has not ended at `at`."""
    return account.ends_at is None or account.ends_at > at


def check_cap(unit: Unit, per: str, tz: str, cap: int) -> str:
    """The period as it is spelled in the books, if a person may set such a cap.

    Raises:
        BadAmount: the cap is below zero, the period or the time zone unknown.
    """
    _check_amount(unit, cap)
    return Budget(calls=0, per=per, tz=tz).per


def person_budget(old: StoredBudget | None, scope_key: str, *, unit: Unit, per: str, tz: str, cap: int) -> StoredBudget:
    """A budget as a person sets it: the cap is theirs, the declaration beneath it stays what it was."""
    if old is not None:
        return replace(old, cap=cap, set_by=Source.PERSON)
    label = scope_key.partition(":")[2] or scope_key
    return StoredBudget(scope_key, label, unit, per, tz, None, cap, set_by=Source.PERSON)


def redeclared(old: StoredBudget | None, new: StoredBudget) -> StoredBudget:
    """A budget as the code or the file declares it now, the other's declaration beside it.

    A cap in force (a person's) stays while the declaration that it stands on stays.
    """
    if old is None:
        return new
    if new.declared is None and old.declared is not None:
        # The file speaks, and the code's word is stronger, its warnings and its reserve too.
        return replace(old, in_file=new.in_file)
    return _on_top(old, new if new.declared is None else replace(new, in_file=old.in_file))


def undeclared(old: StoredBudget, source: Source) -> StoredBudget | None:
    """A budget that the code or the file declares no more; None: then nobody does.

    What a person set on a declaration goes with it; what only a person ever set is no declaration and stays.
    """
    if old.beneath is None:
        return old
    left = replace(old, declared=None) if source is Source.CODE else replace(old, in_file=None)
    return None if left.beneath is None else _on_top(old, left)


def without_person(old: StoredBudget) -> StoredBudget | None:
    """A budget as it is declared; None: only a person ever set it."""
    return None if old.beneath is None else replace(old, cap=old.beneath, set_by=old.declarer)


def _on_top(old: StoredBudget, new: StoredBudget) -> StoredBudget:
    """The cap in force over a declaration that may have changed."""
    if new.beneath is not None and new.beneath != old.beneath:
        return replace(new, cap=new.beneath, set_by=new.declarer)
    return replace(new, cap=old.cap, set_by=old.set_by if old.set_by == Source.PERSON else new.declarer)


def check_top_up(unit: Unit, amount: int) -> None:
    """Refuse a top-up that is not a whole number of 0 or more.

    Raises:
        BadAmount: it is not.
    """
    _check_amount(unit, amount)


def spoken(unit: Unit, amount: int) -> str:
    """An amount for a reader: dollars, or a whole count."""
    return dollars(amount) if unit is Unit.USD else f"{amount:,}"


def unset_sentence(by: str, old: StoredBudget, left: StoredBudget | None) -> str:
    """What a person did who took a cap back."""
    then = "nothing caps it now" if left is None else f"{spoken(left.unit, left.cap)}, as the {left.set_by} declares"
    return f"{by} unset {old.unit} per {old.per} of {old.scope_key}, which was {spoken(old.unit, old.cap)}: {then}."


def _check_amount(unit: Unit, amount: int) -> None:
    if type(amount) is not int:
        raise BadAmount(
            f"{amount!r} of {unit}: caps and top-ups are whole numbers, usd in pico-dollars.", amount=repr(amount)
        )
    if amount < 0:
        shown = dollars(amount) if unit is Unit.USD else str(amount)
        raise BadAmount(
            f"{shown} of {unit} is below zero: caps and top-ups are 0 or more.", unit=str(unit), amount=amount
        )
