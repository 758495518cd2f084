"""`tokenguard prices`: what a model costs, where that comes from, and where the sources contradict each other."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tokenguard.core.money import Money
from tokenguard.core.price import TOML_KEYS, PriceCard, Rates, RateTable
from tokenguard.core.usage import Meter
from tokenguard.errors import SettingsError, Unpriceable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenguard.pricing.book import Book
    from tokenguard.pricing.compare import Difference

__all__ = ["app"]

app = typer.Typer(help="Prices: what a model costs and which source says so.", no_args_is_help=True)

_PER: Final[dict[str, tuple[int, str]]] = {
    Meter.REQUEST: (1, "per request"),
    Meter.WEB_SEARCH: (1, "per search"),
    Meter.INPUT_TIME: (1000, "per second"),
    Meter.OUTPUT_TIME: (1000, "per second"),
}
_FINDING: Final = 1
_USAGE: Final = 2

PricesOption = Annotated[
    Path | None,
    typer.Option("--prices", envvar="TOKENGUARD_PRICES", help="Your own price file (TOML); docs/prices.md."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON: rates as dollars per million tokens, as text.")]
Pattern = Annotated[str, typer.Argument(help="Names to show: a part of the name, or a pattern such as 'azure/*mini*'.")]


@app.command("list")
def list_models(pattern: Pattern = "", prices: PricesOption = None, as_json: JsonOption = False) -> None:
    """List models and their main prices, in dollars per million tokens."""
    found = [(name, card) for name, card in _cards(_open(prices), pattern) if card is not None]
    if as_json:
        _print_json([{"name": name, **_card_json(card)} for name, card in found])
    for name, card in () if as_json else found:
        inbound, outbound = (_price(card.rates, meter) or "?" for meter in (Meter.INPUT, Meter.OUTPUT))
        typer.echo(f"{name:<60} in {inbound:>10}  out {outbound:>10}  {card.source}")
    if not found:
        typer.echo(f"no priced model matches {pattern!r}.", err=True)
        raise typer.Exit(_FINDING)


@app.command()
def show(model: str, prices: PricesOption = None, as_json: JsonOption = False) -> None:
    """Show everything that is known about one model's price."""
    book = _open(prices)
    try:
        card = book.card(model)
    except Unpriceable as gap:
        if as_json:
            _print_json({"error": gap.code, "message": gap.sentence, **gap.facts})
        else:
            typer.echo(gap.sentence, err=True)
        raise typer.Exit(_FINDING) from None
    if as_json:
        _print_json(_card_json(card))
        return
    typer.echo("\n".join(_described(model, card)))


@app.command()
def check(pattern: Pattern = "", prices: PricesOption = None, as_json: JsonOption = False) -> None:
    """Compare genai-prices with LiteLLM's map: rates more than 1 % apart. Exit code 1 when there are any."""
    from tokenguard.pricing.compare import differences  # noqa: PLC0415  # reads both price lists

    book = _open(prices)
    found = list(differences(book, (name for name in book.models() if _matches(name, pattern))))
    if as_json:
        _print_json({"sources": list(book.versions), "differences": [_difference_json(one) for one in found]})
    for one in () if as_json else found:
        size = f" above {one.above_input_tokens:,}" if one.above_input_tokens else ""
        service = "" if one.service == "standard" else f" {one.service}"
        said = " / ".join(
            "none" if pico is None else _usd(pico, one.meter) for pico in (one.genai_pico, one.litellm_pico)
        )
        typer.echo(f"{one.model:<60} {one.meter}{service}{size}: {said}")
    if not as_json:
        models = len({one.model for one in found})
        typer.echo(
            f"{len(found)} differences in {models} models (genai-prices / LiteLLM); the card of each says which stands."
        )
    if found:
        raise typer.Exit(_FINDING)


def _open(prices: Path | None) -> Book:
    from tokenguard.pricing.book import Book  # noqa: PLC0415  # price data is read when a command asks for it

    try:
        return Book(prices)
    except SettingsError as wrong:
        typer.echo(wrong.sentence, err=True)
        raise typer.Exit(_USAGE) from None


def _cards(book: Book, pattern: str) -> Iterator[tuple[str, PriceCard | None]]:
    for name in book.models():
        if _matches(name, pattern):
            try:
                yield name, book.card(name)
            except Unpriceable:
                yield name, None


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) if any(sign in pattern for sign in "*?[") else pattern in name


def _described(model: str, card: PriceCard) -> Iterator[str]:
    """A card as lines for people."""
    since = f" since {card.valid_from:%Y-%m-%d}" if card.valid_from else ""
    yield f"{model} = {card.provider}/{card.model}, by {card.source}{since}"
    yield f"  card     {card.id}"
    yield f"  version  {card.version}"
    for label, tokens in (("window", card.context_tokens), ("output", card.output_tokens_max)):
        yield f"  {label:<8} {f'{tokens:,} tokens' if tokens else 'unknown'}"
    for name, table in (("standard", RateTable(card.rates, card.tiers)), *sorted(card.services.items())):
        for above, rates in ((0, table.rates), *((tier.above_input_tokens, tier.rates) for tier in table.tiers)):
            yield f"  {name}{f' above {above:,} input tokens' if above else ''}"
            yield from (
                f"    {TOML_KEYS[meter]:<16} {_usd(rate, meter)}" for meter, rate in rates.known().items() if rate
            )
            unknown = [TOML_KEYS[meter] for meter in Meter if rates[meter] is None]
            if unknown and not above and name == "standard":
                yield f"    unknown          {', '.join(unknown)}"
    yield from (f"  note     {note}" for note in card.notes)
    if card.free:
        yield "  free: every call costs nothing"


def _usd(pico: int, meter: str) -> str:
    units, label = _PER.get(meter, (10**6, "per million"))
    return f"${_text(pico, units)} {label}"


def _price(rates: Rates, meter: Meter) -> str | None:
    rate = rates[meter]
    return None if rate is None else _text(rate, _PER.get(meter, (10**6, ""))[0])


def _text(pico: int, units: int) -> str:
    """Dollars for so many units, exactly and without an exponent."""
    return Money.from_pico(pico * units).json()


def _card_json(card: PriceCard) -> dict[str, Any]:
    standard = RateTable(card.rates, card.tiers)
    return {
        "id": card.id,
        "model": card.model,
        "provider": card.provider,
        "source": card.source,
        "version": card.version,
        "valid_from": card.valid_from.isoformat() if card.valid_from else None,
        "context_tokens": card.context_tokens,
        "output_tokens_max": card.output_tokens_max,
        "free": card.free,
        "rates": {name: _table_json(table) for name, table in {"standard": standard, **card.services}.items()},
        "notes": list(card.notes),
    }


def _table_json(table: RateTable) -> dict[str, Any]:
    return {
        **_rates_json(table.rates),
        "tiers": [{"above_input_tokens": tier.above_input_tokens, **_rates_json(tier.rates)} for tier in table.tiers],
    }


def _rates_json(rates: Rates) -> dict[str, str | None]:
    return {TOML_KEYS[meter]: _price(rates, meter) for meter in Meter}


def _difference_json(one: Difference) -> dict[str, Any]:
    return {
        "model": one.model,
        "service": one.service,
        "above_input_tokens": one.above_input_tokens,
        "meter": one.meter,
        "genai_prices": None if one.genai_pico is None else _usd(one.genai_pico, one.meter),
        "litellm": None if one.litellm_pico is None else _usd(one.litellm_pico, one.meter),
    }


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))
