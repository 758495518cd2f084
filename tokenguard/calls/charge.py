"""`guard.charge`: costs that are no model calls (a browser, a search API, a GPU minute), under the same caps."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

from tokenguard.calls.attempt import Attempt
from tokenguard.calls.ceiling import Bounds
from tokenguard.calls.drive import adrive, drive
from tokenguard.calls.effects import Book, Flow, ask
from tokenguard.calls.flow import reserved
from tokenguard.calls.outcome import Sent
from tokenguard.calls.settlement import returned, settled, tell
from tokenguard.core.account import Amounts
from tokenguard.core.books import Booking, Status
from tokenguard.core.money import Money, UsdLike
from tokenguard.core.ports import InputBound
from tokenguard.core.usage import Quality
from tokenguard.core.verdict import Ask, Grant
from tokenguard.errors import BadAmount, SetupError

if TYPE_CHECKING:
    from types import TracebackType

    from tokenguard.calls.call import Call
    from tokenguard.calls.parts import Parts
    from tokenguard.core.books import Hold

__all__ = ["Charge", "book_charge", "charge_attempt"]


class Charge:
    """A cost that is reserved first: `with guard.charge("browser", up_to="0.50") as charge: … charge.usd("0.12")`.

    A block that ends without saying what it cost is booked at `up_to`, marked `assumed`.
    """

    def __init__(self, attempt: Attempt, parts: Parts) -> None:
        self._attempt = attempt
        self._parts = parts
        self._cost: Money | None = None
        self._sent: Sent | None = None
        self._claim = threading.Lock()
        self.opened_by = attempt.call.opened_by
        self.account_ids: frozenset[str] = frozenset()

    @property
    def settled(self) -> bool:
        """Whether its settlement has begun."""
        return self._claim.locked()

    def claim(self) -> bool:
        """Take on the settlement; False: it is taken."""
        return self._claim.acquire(blocking=False)

    def usd(self, usd: UsdLike | Money) -> None:
        """Say what it cost; the last word stands. A cost above `up_to` is booked in full and marked as an overrun.

        Raises:
            BadAmount: below zero, or not an amount of money.
        """
        cost = Money(usd)
        if cost.pico < 0:
            raise BadAmount(f"a charge of {cost} is below zero; nothing was booked.", amount=cost)
        self._cost = cost

    def __enter__(self) -> Self:
        self._begin(drive(reserved(self._attempt, self._parts), self._parts))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        drive(self._settle(), self._parts)

    async def __aenter__(self) -> Self:
        parts = self._parts
        self._begin(await adrive(reserved(self._attempt, parts), parts, undo=lambda sent: returned(sent, parts)))
        return self

    def _begin(self, sent: Sent) -> None:
        self._sent = sent
        self.account_ids = frozenset(state.account.id for state in sent.grant.states)
        self._parts.charges.add(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await adrive(self._settle(), self._parts)

    def _settle(self) -> Flow[None]:
        if self._sent is None:
            raise SetupError("a charge was ended that never began.")
        if not self.claim():
            return
        ceiling = Money.from_pico(self._sent.grant.amounts.usd_pico)
        # Not `or`: a cost of zero is known, and nothing like no answer.
        cost, quality = (ceiling, Quality.ASSUMED) if self._cost is None else (self._cost, Quality.REPORTED)
        yield from settled(self._sent, _booking(cost, ceiling, quality, self._parts), self._parts)


def charge_attempt(hold: Hold, call: Call, up_to: Money) -> Attempt:
    """The attempt of a charge: a fixed amount, no tokens."""
    bounds = Bounds(Ask(fixed_pico=up_to.pico, calls=0), InputBound(0, "charge"), 0)
    return Attempt(call, call.targets[0], hold, bounds, card=None, unpriceable=None, endpoint=None)


def book_charge(attempt: Attempt, cost: Money, parts: Parts) -> Flow[None]:
    """Book a cost that was already incurred, even above the caps: the money is gone."""
    booking = _booking(cost, cost, Quality.REPORTED, parts)
    done = yield from ask(Book(lambda ledger: ledger.charge(attempt.hold, booking)))
    tell(Sent(attempt, Grant(booking.amounts, 0), parts.clock.monotonic()), booking, done, parts)


def _booking(cost: Money, ceiling: Money, quality: Quality, parts: Parts) -> Booking:
    return Booking(
        at=parts.clock.now(),
        status=Status.CHARGED,
        quality=quality,
        amounts=Amounts(usd_pico=cost.pico),
        stated_pico=cost.pico,
        ceiling_pico=ceiling.pico,
        overrun=cost > ceiling,
    )
