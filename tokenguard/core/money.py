"""Money: whole pico-dollars (10⁻¹² USD) in an `int`, so that sums are exact and replay to the last digit.

A public price per million tokens with up to six decimals is a whole number of pico-dollars per token, therefore a
cost is Σ tokens × rate: no rounding, no float, no Decimal on the hot path. docs/adr/0003 has the measurement behind
the unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation, localcontext
from typing import Any, TypeAlias

from tokenguard.errors import BadAmount

__all__ = ["PICO_PER_USD", "ZERO", "Money", "UsdLike", "dollars"]

PICO_PER_USD = 10**12

_SCALE = Decimal(1).scaleb(-12)
_MAX_USD = Decimal(10) ** 24  # NUMERIC(38,0) of pico-dollars is the widest column a ledger has


@dataclass(frozen=True, slots=True, order=True)
class Money:
    """An exact amount of US dollars.

    `Money("2.50")`, `Money(2)` or `Money(Decimal("0.00003"))`; `Money.from_pico(n)` for whole pico-dollars. A float is
    refused, because 0.1 + 0.2 is not 0.3. Amounts may be negative (a correction); caps may not, which `Budget` checks.

    Raises:
        BadAmount: a float, NaN, infinity, an unreadable text, or digits finer than a pico-dollar.
    """

    pico: int

    def __init__(self, usd: UsdLike | Money = 0) -> None:
        object.__setattr__(self, "pico", usd.pico if isinstance(usd, Money) else _to_pico(usd))

    @classmethod
    def from_pico(cls, pico: int) -> Money:
        """Wrap whole pico-dollars (10⁻¹² USD), as the ledger stores them."""
        if type(pico) is not int:
            raise BadAmount(f"pico-dollars are whole numbers, not {pico!r} ({type(pico).__name__}).", amount=repr(pico))
        money = object.__new__(cls)
        object.__setattr__(money, "pico", pico)
        return money

    @property
    def usd(self) -> Decimal:
        """The amount in dollars, exactly."""
        # Built from text: arithmetic would round to the digits of the caller's decimal context.
        return Decimal(f"{self.pico}e-12") if self.pico else Decimal(0)

    def __add__(self, other: Money) -> Money:
        return Money.from_pico(self.pico + other.pico)

    def __sub__(self, other: Money) -> Money:
        return Money.from_pico(self.pico - other.pico)

    def __neg__(self) -> Money:
        return Money.from_pico(-self.pico)

    def __mul__(self, count: int) -> Money:
        return Money.from_pico(self.pico * count)

    __rmul__ = __mul__

    def __bool__(self) -> bool:
        return self.pico != 0

    def __str__(self) -> str:
        return dollars(self.pico)

    def __repr__(self) -> str:
        return f"Money({self.json()!r})"

    def json(self) -> str:
        """The decimal string of dollars that goes into JSON: `"0.00003"`; exact, never in exponent form."""
        text = f"{self.usd:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text


UsdLike: TypeAlias = str | int | Decimal

ZERO = Money.from_pico(0)


def dollars(pico: int) -> str:
    """Whole pico-dollars for a reader: `$1.98`, `$0.000030`, two to six decimals; a tiny non-zero is `<$0.000001`."""
    sign, size = ("-", -pico) if pico < 0 else ("", pico)
    if 0 < size < PICO_PER_USD // 10**6:
        return f"{sign}<$0.000001"
    decimals = 2 if size == 0 or size >= PICO_PER_USD // 10 else 4 if size >= PICO_PER_USD // 1000 else 6
    with localcontext() as context:
        context.prec = 60
        amount = (Decimal(size) * _SCALE).quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_EVEN)
    return f"{sign}${amount:,}"


def _to_pico(usd: Any) -> int:
    """Exact whole pico-dollars of what a person wrote."""
    if isinstance(usd, bool) or not isinstance(usd, str | int | Decimal):  # Typed, but users bring floats.
        fix = f' Write Money("{usd}"): a float cannot hold cents exactly.' if isinstance(usd, float) else ""
        raise BadAmount(f"{usd!r} is a {type(usd).__name__}, not an amount of money.{fix}", amount=repr(usd))
    try:
        amount = Decimal(usd.strip().removeprefix("$").replace("_", "") if isinstance(usd, str) else usd)
    except InvalidOperation:
        raise BadAmount(f'{usd!r} is not an amount of money. Write dollars, as in "2.50".', amount=usd) from None
    if not amount.is_finite():
        raise BadAmount(f"{usd!r} is not a finite amount of money.", amount=str(usd))
    if amount.copy_abs() >= _MAX_USD:  # abs() would round to the caller's decimal context
        raise BadAmount(f"{usd!r} is above the largest amount a ledger can hold ($10^24).", amount=str(usd))
    with localcontext() as context:
        context.prec = 60
        pico = amount.scaleb(12)
        if pico != pico.to_integral_value():
            raise BadAmount(f"{usd!r} is finer than a pico-dollar (10^-12 USD).", amount=str(usd))
        return int(pico)
