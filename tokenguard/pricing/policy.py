"""What to do where no price is known: refuse, assume a stated ceiling, or observe. Never a silent zero."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from tokenguard.core.price import PriceCard
from tokenguard.errors import SettingsError, Unpriceable

if TYPE_CHECKING:
    from datetime import datetime

    from tokenguard.pricing.book import Book

__all__ = ["Prices", "UnknownPolicy"]

UnknownPolicy = Literal["refuse", "assume", "observe"]


class Prices:
    """Where prices come from and what an unknown one means. Implements `core.ports.PriceBook`.

    `Prices("prices.toml")`, `Prices(unknown="observe")`, or
    `Prices(unknown="assume", assume={"input": "15", "output": "75"})`: dollars per million tokens, as in a price file.
    """

    def __init__(
        self,
        overrides: Mapping[str, Any] | str | os.PathLike[str] | None = None,
        *,
        unknown: UnknownPolicy = "refuse",
        assume: Mapping[str, Any] | None = None,
    ) -> None:
        """Say where the user's own prices are, and the policy.

        Args:
            overrides: A price file, or a mapping of its shape (docs/prices.md).
            unknown: `refuse` raises `Unpriceable` under a usd cap; `assume` books at the rates of `assume`, marked
                `assumed`; `observe` sends and books the tokens, unpriced, and `report unpriced` lists them.
            assume: The rates of a model nobody knows, as one table of a price file. Choose dear ones.

        Raises:
            SettingsError: a policy that is not one, or `assume` without rates.
        """
        if unknown not in ("refuse", "assume", "observe"):
            raise SettingsError(f"unknown={unknown!r} is not a policy: choose 'refuse', 'assume' or 'observe'.")
        if (unknown == "assume") != (assume is not None):
            raise SettingsError("unknown='assume' and assume={...} belong together: the rates for models nobody knows.")
        self._overrides = os.fspath(overrides) if isinstance(overrides, str | os.PathLike) else overrides
        self._unknown, self._assume = unknown, assume
        self._book: Book | None = None
        self._assumed: dict[str, PriceCard] = {}

    @classmethod
    def of(cls, prices: Prices | Mapping[str, Any] | str | os.PathLike[str] | None) -> Prices:
        """What `Guard(prices=)` takes, as `Prices`."""
        return prices if isinstance(prices, Prices) else cls(prices)

    @property
    def observe_unknown(self) -> bool:
        """Whether calls without a price may be sent under a usd cap."""
        return self._unknown == "observe"

    @property
    def book(self) -> Book:
        """The cards behind the policy; loaded when first needed."""
        if self._book is None:
            from tokenguard.pricing.book import Book  # noqa: PLC0415  # price data is read when the first price is asked for

            self._book = Book(self._overrides)
        return self._book

    def card(self, model: str, *, at: datetime | None = None, base_model: str | None = None) -> PriceCard:
        """The card in force, or an assumed one by policy.

        Raises:
            Unpriceable: nothing is known and the policy does not assume.
        """
        try:
            return self.book.card(model, at=at, base_model=base_model)
        except Unpriceable:
            if self._assume is None:
                raise
            return self._assumed_card(model)

    def _assumed_card(self, model: str) -> PriceCard:
        if model not in self._assumed:
            from dataclasses import replace  # noqa: PLC0415  # only where a price is assumed

            from tokenguard.pricing.book import Book  # noqa: PLC0415  # as above

            card = Book({"prices": {model: self._assume}}).card(model)
            self._assumed[model] = replace(
                card, source="assumed", notes=(*card.notes, "nobody knows this model's price")
            )
        return self._assumed[model]
