"""Where a guard's calls stand when no run says otherwise: its own scopes, a parent process's run, or `unattributed`."""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tokenguard.calls.scope import Frame, current, entered
from tokenguard.calls.scoped import path_scopes
from tokenguard.core import events
from tokenguard.core.account import Scope
from tokenguard.core.books import Source
from tokenguard.core.budget import Budget
from tokenguard.errors import NoActiveRun, UnattributedSpend

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokenguard.calls.parts import LateParts, Parts
    from tokenguard.core.ladder import Ladder

__all__ = ["DEFAULT_SCOPE", "Home"]

DEFAULT_SCOPE: Final = "default"
"""Owns the budget of a guard that was given one without a scope."""


@dataclass(slots=True, eq=False)
class Home:
    """The place of one guard. Settled when its parts are assembled."""

    owner: object
    """The guard."""
    late: LateParts
    inherited: Callable[[Frame], Frame] = field(default=lambda base: base)
    """The run that a parent process handed down, else the given frame."""
    strict: bool = False
    run_budget: Budget | None = None
    """Caps each root run, where the guard's budget is `per="run"`."""
    base: Frame | None = None
    unattributed: Scope | None = None
    _declared: bool = False

    def settle(
        self,
        parts: Parts,
        *,
        scope: str,
        budget: Budget | None,
        unattributed: Budget | None,
        strict: bool,
        ladder: Ladder,
        in_file: Sequence[Scope] = (),
        budget_in_file: bool = False,
    ) -> None:
        """Take a place, and store its budgets so that every process under it is bound by them.

        Args:
            parts: The guard's.
            scope: Its path.
            budget: Its own.
            unattributed: Of calls outside any run.
            strict: Whether those are refused.
            ladder: What is done before a call must be refused, unless an inner scope says otherwise.
            in_file: Scopes with the budgets that the project's file declares.
            budget_in_file: Whether `budget` is from the file too.
        """
        self.strict = strict
        path = scope.strip("/")
        shared = budget if budget is not None and budget.per != "run" else None
        self.run_budget = budget if shared is None else None
        scopes = path_scopes("", path or (DEFAULT_SCOPE if shared else ""), (shared,) if shared else ())
        outside = f"{path}/unattributed" if path else "unattributed"
        self.unattributed = Scope(f"scope:{outside}", outside, (unattributed or Budget(usd=1, per="day"),))
        now = parts.clock.now()
        declared = [one for one in scopes if one.budgets]
        # What the file says about one scope is one declaration, wherever it says it.
        for one in _joined([*in_file, *declared] if budget_in_file else in_file):
            parts.ledger.declare(one, now, Source.FILE)
        for one in declared if not budget_in_file else ():
            parts.ledger.declare(one, now)
        self.base = Frame(self.owner, None, None, path, scopes, ladder)

    def frame(self) -> Frame:
        """Where the caller stands."""
        frame = current(self.owner)
        if frame is not None:
            return frame
        self.late.get()
        assert self.base is not None, "settled with the parts"
        return self.inherited(self.base)

    def paying(self, what: str) -> Frame:
        """Where a call is booked; outside any run the `unattributed` scope pays, with a warning.

        Raises:
            NoActiveRun: outside any run, and the guard is strict.
        """
        frame = self.frame()
        if frame.node is not None:
            return frame
        if self.strict:
            raise NoActiveRun(
                f"{what!r} was called outside any run and strict=True. Call it inside `with guard.run(...)` or an "
                "agent, "
                "and carry the run into threads with guard.bind(fn).",
                model=what,
            )
        outside = self.unattributed
        assert outside is not None, "settled with the parts"
        warnings.warn(
            f"{what!r} was called outside any run; it is booked to {outside.label!r} under a cap of its own. Call it "
            "inside `with guard.run(...)`, or carry the run into threads with guard.bind(fn).",
            UnattributedSpend,
            stacklevel=_outside(),
        )
        parts = self.late.get()
        if not self._declared:
            # Stored at its first use, once: a guard that is never used this way leaves no budget behind.
            self._declared = True
            parts.ledger.declare(outside, parts.clock.now())
        parts.emit(events.Unattributed(at=parts.clock.now(), run_id=None, scope_key=outside.key, model=what))
        return Frame(self.owner, entered(), None, outside.label, (*frame.scopes, outside), frame.ladder)


def _joined(scopes: Sequence[Scope]) -> tuple[Scope, ...]:
    """Scopes of the same key as one."""
    found: dict[str, Scope] = {}
    for one in scopes:
        known = found.get(one.key)
        found[one.key] = one if known is None else replace(known, budgets=(*known.budgets, *one.budgets))
    return tuple(found.values())


def _outside() -> int:
    """How many frames up the first line of the caller's own code is, for warnings that point there."""
    package, depth = str(Path(__file__).parent.parent), 1
    here = inspect.currentframe()
    while here is not None and here.f_code.co_filename.startswith(package):
        here, depth = here.f_back, depth + 1
    return depth - 1
