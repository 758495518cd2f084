"""What people and code do to scopes: kill, resume, top up, charge, join."""

from __future__ import annotations

import getpass
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tokenguard.calls.attempt import hold_for
from tokenguard.calls.baggage import token_in
from tokenguard.calls.call import Call, Target
from tokenguard.calls.callers import call_in
from tokenguard.calls.charge import Charge, book_charge, charge_attempt
from tokenguard.calls.drive import drive
from tokenguard.calls.guards import goes_on
from tokenguard.calls.join import Joined, frame_of_run, make_token, read_token
from tokenguard.calls.loop_acts import forgive_in_books
from tokenguard.calls.scope import here
from tokenguard.core import events
from tokenguard.core.books import Closure
from tokenguard.core.budget import Unit
from tokenguard.core.money import Money
from tokenguard.errors import BadAmount, RunRevoked, SettingsError, SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tokenguard.calls.parts import LateParts, Parts
    from tokenguard.calls.scope import Frame
    from tokenguard.core.ids import Ids
    from tokenguard.core.money import UsdLike

__all__ = ["RUN_VARIABLE", "Acts", "who"]

RUN_VARIABLE = "TOKENGUARD_RUN"
"""The environment variable by which a child process finds its parent's run."""


class Acts:
    """The acts of one guard."""

    def __init__(self, late: LateParts, base: Callable[[], Frame], ids: Ids) -> None:
        self._late, self._base, self._ids = late, base, ids
        self._inherited: Frame | None = None

    def token(self, run_id: str) -> str:
        """A token for a run."""
        return make_token(run_id, self._late.get())

    def join(self, token: str) -> Joined:
        """Enter a run of another process."""
        return Joined(self._late, self._base, token)

    def join_baggage(self, headers: Mapping[str, str]) -> Joined:
        """Enter the run that a caller's headers name, where callers are believed."""
        trusted = self._late.get().trust_baggage
        return Joined(self._late, self._base, token_in(headers) if trusted else None)

    def env(self, frame: Frame) -> dict[str, str]:
        """Variables for a child process that joins the current run."""
        if frame.node is None:
            raise SetupError("guard.env() hands the current run down; call it inside `with guard.run(...)`.")
        found = {RUN_VARIABLE: self.token(frame.node.run.id)}
        name = self._late.get().ledger.name
        if os.path.isabs(name):  # noqa: PTH117  # a file's path is no credential; a server's URL may hold one and is not passed
            found["TOKENGUARD_DATABASE"] = name
        return found

    def inherited(self, base: Frame) -> Frame:
        """The run that a parent process handed down in the environment, else `base`."""
        token = os.environ.get(RUN_VARIABLE)
        if not token:
            return base
        if self._inherited is None:
            parts = self._late.get()
            run_id = read_token(token, parts)
            frame = frame_of_run(run_id, parts, parts.ledger.lineage(run_id), None)
            self._inherited = replace(frame, ladder=base.ladder)
        return self._inherited

    def kill(self, run_id: str, *, why: str, by: str | None) -> bool:
        """Write a tombstone for a run."""
        parts, by = self._late.get(), by or who()
        run_id = run_id.removeprefix("run:")
        if not parts.ledger.lineage(run_id):
            raise SettingsError(
                f"there is no run {run_id!r} in this ledger ({parts.ledger.name}); see `tokenguard runs list`."
            )
        error = RunRevoked(
            f"run {run_id!r} was stopped by {by}: {why}. It goes on after guard.resume({run_id!r}, why=...).",
            scope=run_id,
            scope_key=f"run:{run_id}",
            by=by,
            why=why,
        )
        facts = {"scope": run_id, "scope_key": f"run:{run_id}", "by": by, "why": why}
        closure = Closure(run_id, error.code, error.sentence, facts, parts.clock.now(), by)
        closed = parts.ledger.close_run(closure)
        parts.mark(run_id, error)
        if closed:
            parts.emit(
                events.Stopped(
                    at=closure.at, run_id=run_id, scope_key=error.scope_key, sentence=error.sentence, error=error
                )
            )
        return closed

    def resume(self, run_id: str, *, why: str, by: str | None) -> bool:
        """End a run's closures."""
        parts, now = self._late.get(), self._late.get().clock.now()
        run_id = run_id.removeprefix("run:")
        stops = parts.ledger.closures((run_id,))
        opened = parts.ledger.reopen(run_id, by=by or who(), why=why, at=now)
        if opened:
            node = parts.nodes.get(run_id)
            if node is not None:
                goes_on(node, parts)
            forgive_in_books(run_id, stops, node, parts)
            parts.emit(events.Resumed(at=now, run_id=run_id, scope_key=f"run:{run_id}", why=why))
        return opened

    def top_up(self, scope: str, amounts: Mapping[str, Any], *, by: str | None) -> None:
        """Raise caps."""
        parts = self._late.get()
        given = {name: amount for name, amount in amounts.items() if amount is not None}
        if not given:
            raise BadAmount("top_up needs an amount: usd=, tokens=, calls= or steps=.", amount=None)
        for name, amount in given.items():
            unit = Unit(name)
            raised = Money(amount).pico if unit is Unit.USD else amount
            if type(raised) is not int or raised <= 0:
                raise BadAmount(f"top_up({name}={amount!r}): give an amount above zero.", amount=amount)
            key, now = self._key_of(scope, parts), parts.clock.now()
            states = parts.ledger.top_up(key, unit, raised, by=by or who(), at=now)
            if not states:
                raise SettingsError(f"{scope!r} has no {unit} budget to top up; see `tokenguard budget list`.")
            parts.mark(key.removeprefix("run:"), None)
            parts.shares.note(states)
            parts.lines.room_made(state.account.id for state in states)
            wrap = Money.from_pico if unit is Unit.USD else int
            parts.emit(
                events.ToppedUp(at=now, run_id=None, scope_key=key, amount=wrap(raised), cap=wrap(states[-1].cap))
            )

    def charge(self, what: str, frame: Frame, *, usd: UsdLike | None, up_to: UsdLike | None) -> Charge | None:
        """Book or reserve a cost that is no model call."""
        parts = self._late.get()
        if (usd is None) == (up_to is None):
            raise BadAmount("charge needs either usd= (what it cost) or up_to= (what it may cost).", amount=None)
        amount = Money(usd if usd is not None else up_to or 0)
        if amount.pico < 0:
            raise BadAmount(f"a charge of {amount} is below zero; nothing was booked.", amount=amount)
        call = self._call(what, frame, parts)
        attempt = charge_attempt(hold_for(call, call.targets[0], 1, "other", parts), call, amount)
        if up_to is not None:
            return Charge(attempt, parts)
        drive(book_charge(attempt, amount, parts), parts)
        return None

    def _call(self, what: str, frame: Frame, parts: Parts) -> Call:
        target = Target(what, {}, parts.terms.of("charge", {}))
        return call_in(frame, "charge", (), (target,), parts=parts, opened_by=here())

    def _key_of(self, scope: str, parts: Parts) -> str:
        """A scope's key, from what people write: a key, a run's id or a path."""
        if scope.partition(":")[0] in ("scope", "run", "agent", "step"):
            return scope
        return f"run:{scope}" if parts.ledger.lineage(scope) else f"scope:{scope.strip('/')}"


def who() -> str:
    """Who acts, for the books."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"
