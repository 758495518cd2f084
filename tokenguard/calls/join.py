"""Runs across processes: tokens that name a live run, and joining it.

A token is `tg1.<run id>.<expiry>.<HMAC>`, signed with a key in the ledger. It is never a credential: whoever can
open the ledger may join, and the token only names the place.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Self

from tokenguard.calls.drive import adrive, drive
from tokenguard.calls.effects import Book, Flow, ask
from tokenguard.calls.loop_acts import kept
from tokenguard.calls.receipts import run_receipt
from tokenguard.calls.scope import Frame, Node, enter, entered, leave
from tokenguard.calls.scoped import path_scopes
from tokenguard.core.account import Scope
from tokenguard.core.books import NodeSpend
from tokenguard.errors import SettingsError, SetupError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token
    from types import TracebackType

    from tokenguard.calls.parts import LateParts, Parts
    from tokenguard.core.receipt import Receipt

__all__ = ["Joined", "frame_of_run", "make_token", "read_token"]

_PREFIX: Final = "tg1"
_LIFE_S: Final = 24 * 60 * 60
_EXPIRY: Final = re.compile(r"[1-9][0-9]{0,11}")


def make_token(run_id: str, parts: Parts) -> str:
    """A token for a run, good for a day."""
    expiry = int(parts.clock.now().timestamp()) + _LIFE_S
    return f"{_PREFIX}.{run_id}.{expiry}.{_sign(run_id, expiry, parts)}"


def read_token(token: object, parts: Parts) -> str:
    """The run that a token names.

    Raises:
        SettingsError: it is no token, not of this ledger, or expired.
    """
    pieces = token.strip().split(".") if isinstance(token, str) else []
    if len(pieces) != 4 or pieces[0] != _PREFIX or not _EXPIRY.fullmatch(pieces[2]):  # noqa: PLR2004  # its four pieces
        raise SettingsError("this is not a run token of tokenguard (tg1.<run>.<expiry>.<signature>); take run.token().")
    run_id, expiry = pieces[1], int(pieces[2])
    # As bytes: text that is not ASCII cannot be compared in constant time.
    if not hmac.compare_digest(pieces[3].encode(), _sign(run_id, expiry, parts).encode()):
        raise SettingsError(
            f"the run token was not made by this ledger ({parts.ledger.name}), or was changed on its way; both "
            "processes must use the same database. Take run.token() there."
        )
    late_s = int(parts.clock.now().timestamp()) - expiry
    if late_s > 0:
        raise SettingsError(
            f"the run token has expired: it ended {timedelta(seconds=late_s)} ago, tokens are good for "
            f"{_LIFE_S // 3600} hours. Take a new one from run.token()."
        )
    return run_id


def frame_of_run(run_id: str, parts: Parts, lineage: tuple[NodeSpend, ...], base: Frame | None) -> Frame:
    """Stand where a run of another process stands; with `base`, inside the caller's own scopes, which pay too.

    Caps are not repeated here: the ledger knows the budgets of every scope on the path by its key. Limits are, because
    a call says which nodes above it limit what flows.
    """
    if not lineage:
        raise SettingsError(f"there is no run {run_id!r} in this ledger ({parts.ledger.name}).")
    if lineage[-1].ended_at is not None:
        raise SettingsError(f"run {lineage[-1].name!r} has ended; only a live run can be joined.")
    node: Node | None = base.node if base else None
    scopes = [*(base.scopes if base else ()), *path_scopes("", lineage[-1].scope, ())]
    for one in lineage:
        node = Node(
            one.id,
            one.kind,
            one.name,
            node,
            one.labels,
            parts.clock.monotonic(),
            limits=one.limits,
            joined_root=lineage[0].root_id,
        )
        node = parts.nodes.setdefault(one.id, node)
        path = f"{one.scope}/{one.name}" if one.scope else one.name
        scopes += [Scope(f"{one.kind}:{path}", f"{one.kind} {path}"), Scope(f"run:{one.id}", f"{one.kind} {one.name}")]
    seen: dict[str, Scope] = {}
    for scope in scopes:
        seen.setdefault(scope.key, scope)
    frame = Frame(parts.owner_key, entered(), node, lineage[-1].scope, tuple(seen.values()))
    return frame if base is None else replace(frame, ladder=base.ladder)


class Joined:
    """A run of another process, entered here: `with guard.join(token) as run:`. Its end is that process's to write.

    Without a token nothing is entered: calls made inside belong where the caller stands, and `id` stays empty.
    """

    def __init__(self, late: LateParts, base: Callable[[], Frame], token: str | None) -> None:
        self._late, self._base, self._token = late, base, token
        self._frame: Frame | None = None
        self._context: Token[Frame | None] | None = None
        self.id = ""

    def receipt(self) -> Receipt:
        """What the joined run cost up to now.

        Raises:
            SetupError: no run was joined.
        """
        if not self.id:
            raise SetupError("no run was joined: there is nothing to receipt.")
        receipt = run_receipt(self._late.get().ledger, self.id)
        assert receipt is not None, "a run that was joined is in the books until its month is pruned"
        return receipt

    def __enter__(self) -> Self:
        parts = self._late.get()
        self._begin(drive(self._found(parts), parts))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        if self._frame is not None and self._frame.node is not None:
            parts = self._late.get()
            drive(kept(self._frame.node.run, parts, now=True), parts)

    async def __aenter__(self) -> Self:
        parts = await self._late.aget()
        self._begin(await adrive(self._found(parts), parts))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        if self._frame is not None and self._frame.node is not None:
            parts = self._late.get()
            await adrive(kept(self._frame.node.run, parts, now=True), parts)

    def _found(self, parts: Parts) -> Flow[Frame | None]:
        if self._token is None:
            return None
        self.id = yield from ask(Book(lambda _: read_token(self._token, parts)))
        lineage = yield from ask(Book(lambda ledger: ledger.lineage(self.id)))
        return frame_of_run(self.id, parts, lineage, self._base())

    def _begin(self, frame: Frame | None) -> None:
        if frame is not None:
            self._frame, self._context = frame, enter(frame)

    def _end(self) -> None:
        if self._frame is not None and self._context is not None:
            leave(self._frame, self._context)
            self._context = None


def _sign(run_id: str, expiry: int, parts: Parts) -> str:
    return hmac.new(parts.ledger.secret(), f"{run_id}.{expiry}".encode(), sha256).hexdigest()[:32]
