"""Named scopes: places in an organisation, such as `acme/search`, whose budgets hold over restarts and machines."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Self

from tokenguard.calls.drive import adrive, drive
from tokenguard.calls.effects import Book, Flow, ask
from tokenguard.calls.scope import Frame, enter, entered, leave
from tokenguard.core.account import Scope
from tokenguard.core.forks import renew_in_children
from tokenguard.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token
    from types import TracebackType

    from tokenguard.calls.parts import LateParts, Parts
    from tokenguard.core.budget import Budget
    from tokenguard.core.ladder import Ladder

__all__ = ["ScopeBlock", "path_scopes"]

_PATH_MAX: Final = 512


def path_scopes(above: str, path: str, budgets: tuple[Budget, ...]) -> tuple[Scope, ...]:
    """A scope for each segment of `path` below `above`; the budgets belong to the last one.

    Raises:
        SetupError: an empty segment, a control character, or more than 512 characters.
    """
    segments = [segment.strip() for segment in path.strip("/").split("/")] if path else []
    if any(not segment or not segment.isprintable() for segment in segments) or len(path) > _PATH_MAX:
        raise SetupError(
            f"scope={path!r}: give printable names divided by '/', as in 'acme/search', up to 512 characters."
        )
    scopes: list[Scope] = []
    for index, segment in enumerate(segments):
        above = f"{above}/{segment}" if above else segment
        scopes.append(Scope(f"scope:{above}", above, budgets if index == len(segments) - 1 else ()))
    return tuple(scopes)


class ScopeBlock:
    """`with guard.scope("team/ml", budget=...)`: what is called inside pays from this scope too. May be reused."""

    def __init__(
        self, late: LateParts, base: Callable[[], Frame], path: str, *, budget: Budget | None, ladder: Ladder | None
    ) -> None:
        if not path.strip("/ "):
            raise SetupError(f"scope({path!r}) has no name; give one, as in guard.scope('team/ml').")
        if budget is not None and budget.per == "run":
            raise SetupError(
                "a scope outlives its runs, so its budget needs a period: Budget(..., per='day'), or per='total' "
                "for good."
            )
        self._late, self._base, self._path, self._ladder = late, base, path, ladder
        self._budgets = (budget,) if budget is not None else ()
        self._entered: list[tuple[Frame, Token[Frame | None]]] = []
        self.renew_lock()
        renew_in_children(self)

    def renew_lock(self) -> None:
        """In a forked child: see `core.forks`."""
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        frame = self._frame(self._late.get())
        drive(self._declared(frame), self._late.get())
        self._entered.append((frame, enter(frame)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    async def __aenter__(self) -> Self:
        parts = await self._late.aget()
        frame = self._frame(parts)
        await adrive(self._declared(frame), parts)
        self._entered.append((frame, enter(frame)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        """Leave this context's own entry: one block may be entered by many tasks and threads at once."""
        here = entered()
        with self._lock:
            places = [place for place, (frame, _) in enumerate(self._entered) if frame is here]
            entry = self._entered.pop(places[-1] if places else -1)
        leave(*entry)

    def _frame(self, parts: Parts) -> Frame:
        base = self._base()
        own = path_scopes(base.scope, self._path, self._budgets)
        return Frame(
            parts.owner_key, entered(), base.node, own[-1].label, (*base.scopes, *own), self._ladder or base.ladder
        )

    def _declared(self, frame: Frame) -> Flow[None]:
        scope, now = frame.scopes[-1], self._late.get().clock.now()
        if scope.budgets:
            yield from ask(Book(lambda ledger: ledger.declare(scope, now)))
