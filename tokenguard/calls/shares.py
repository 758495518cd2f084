"""How much of the caps is spent, as this process saw it last in a grant or a settlement: no look of its own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import datetime
from threading import Lock
from typing import Final

from tokenguard.core.forks import renew_in_children
from tokenguard.core.verdict import AccountState

__all__ = ["Shares"]

_SCOPES_MAX: Final = 1024


class Shares:
    """Balances by scope, the scopes used last. Safe to use from any thread."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, dict[str, AccountState]] = OrderedDict()
        self.renew_lock()
        renew_in_children(self)

    def renew_lock(self) -> None:
        """In a forked child: see `core.forks`."""
        self._lock = Lock()

    def note(self, states: Iterable[AccountState]) -> None:
        """Balances as they are now."""
        with self._lock:
            for state in states:
                account = state.account
                of_scope = self._seen.setdefault(account.scope_key, {})
                self._seen.move_to_end(account.scope_key)
                # One window of each cap: the bucket of yesterday is not asked about any more.
                of_scope[f"{account.unit} {account.per}"] = state
            while len(self._seen) > _SCOPES_MAX:
                self._seen.popitem(last=False)

    def of(self, scope_keys: Iterable[str], now: datetime) -> Sequence[AccountState]:
        """Balances of some scopes whose windows are open, the most spent first."""
        with self._lock:
            states = [state for key in scope_keys for state in self._seen.get(key, {}).values()]
        current = [one for one in states if one.cap and (one.account.ends_at is None or one.account.ends_at > now)]
        return sorted(current, key=_parts_spent, reverse=True)


def _parts_spent(state: AccountState) -> int:
    """Of a million: amounts are integers, and only shares compare across units."""
    return state.settled * 1_000_000 // state.cap
