"""The user's own prices: a TOML file (or the same as a mapping), read strictly: a typing error here is money.

Prices are texts of dollars, per million tokens unless the key says otherwise. Floats, unknown keys, negative or
unreadable numbers and the `"?"` of a pasted suggestion are refused with the file, the line and the fix. docs/prices.md
is the reference.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from tokenguard.core.price import TOML_KEYS
from tokenguard.core.untrusted import list_of
from tokenguard.core.usage import Meter
from tokenguard.errors import SettingsError
from tokenguard.pricing.quote import STANDARD, Quote, Rounding, is_claude

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Override", "Overrides", "read_overrides"]

_METERS: Final = {key: meter for meter, key in TOML_KEYS.items()}
_UNITS: Final = {Meter.REQUEST: 1, Meter.WEB_SEARCH: 1, Meter.INPUT_TIME: 1000, Meter.OUTPUT_TIME: 1000}
"""Units of ours in the price that a file names; tokens are priced by the million."""
_PER_MILLION: Final = 10**6
_OTHER_KEYS: Final = (
    *("like", "times", "free", "provider", "valid_from"),
    *("context_tokens", "output_tokens_max", "reasoning_model", "tiers"),
)
_SERVICES: Final = ("batch", "flex", "priority")
_ENOUGH: Final = frozenset({"free", "like", "input", "output", "per_request", "input_second", "output_second"})
_LONGEST_PRICE: Final = 40
_TABLES: Final = ("prices", "alias")
_PROJECT_FILE: Final = "tokenguard.toml"
"""May hold prices beside settings, which `config.settings` reads and checks."""


@dataclass(frozen=True, slots=True)
class Override:
    """One table of a price file."""

    model: str
    valid_from: datetime | None
    quote: Quote
    """What the table itself says."""
    like: str | None = None
    """The model whose prices stand wherever the table has none."""
    times: Decimal = Decimal(1)
    """A factor on the token rates of `like`: a negotiated discount, a regional surcharge."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """A price file, read."""

    prices: Mapping[str, tuple[Override, ...]]
    """By model, oldest first."""
    aliases: Mapping[str, str]
    version: str


def read_overrides(source: Path | str | Mapping[str, Any] | None) -> Overrides:
    """Read a price file.

    Args:
        source: A path, the same content as a mapping, or None for no overrides.

    Raises:
        SettingsError: the file is missing, malformed or says something that cannot be meant; `.path` and `.line`.
    """
    if source is None:
        return Overrides({}, {}, "none")
    if isinstance(source, Mapping):
        door = _Door("prices=", "")
        return _read(source, door, blake2b(repr(source).encode(), digest_size=4).hexdigest())
    path = Path(source)
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the price file {path} cannot be read: {error}.", path=str(path), line=None) from None
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        where = int(line.group(1)) if line else None
        raise SettingsError(f"the price file {path} is not TOML: {error}.", path=str(path), line=where) from None
    if path.name == _PROJECT_FILE:
        content = {key: content[key] for key in _TABLES if key in content}
    return _read(content, _Door(str(path), text), blake2b(text.encode(), digest_size=4).hexdigest())


@dataclass(frozen=True, slots=True)
class _Door:
    """Where the words came from, for errors that name the line."""

    path: str
    text: str
    begins: int = 0
    """The line from which on to look."""

    def inside(self, model: str) -> _Door:
        """The same door, at the first line that names a model."""
        return replace(self, begins=self._line(lambda line: model in line) or 0)

    def refuse(self, sentence: str, *, near: str = "") -> NoReturn:
        assigns = re.compile(rf"(?:^|[\[{{,])\s*['\"]?{re.escape(near)}['\"]?\s*=")
        line = self._line(lambda line: assigns.search(line) is not None) or self._line(lambda line: near in line)
        where = f"{self.path}, line {line}" if line else self.path
        raise SettingsError(f"{where}: {sentence}", path=self.path, line=line)

    def _line(self, fits: Callable[[str], bool]) -> int | None:
        lines = enumerate(self.text.splitlines(), 1)
        return next((number for number, line in lines if number >= self.begins and fits(line)), None)


def _read(content: Mapping[str, Any], door: _Door, digest: str) -> Overrides:
    for key in content:
        if key not in _TABLES:
            _unknown(key, _TABLES, door, "at the top of a price file")
    version = f"price file {digest}"
    prices: dict[str, tuple[Override, ...]] = {}
    for model, value in _table(content.get("prices", {}), "prices", door).items():
        tables = list_of(value) or [value]
        read = [_override(model, _table(table, model, door), version, door.inside(model)) for table in tables]
        prices[model] = tuple(sorted(read, key=lambda one: one.valid_from or datetime.min.replace(tzinfo=UTC)))
    aliases: dict[str, str] = {}
    for name, target in _table(content.get("alias", {}), "alias", door).items():
        if not isinstance(target, str) or target in ("", "?"):
            door.refuse(f'alias {name!r} must be the name of a model, as in "azure/gpt-4o".', near=name)
        aliases[name] = target
    return Overrides(prices, aliases, version)


def _table(value: object, name: str, door: _Door) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        door.refuse(f'{name!r} must be a table, as in [prices."hosted_vllm/qwen3"].', near=name)
    return cast("Mapping[str, Any]", value)


def _override(model: str, table: Mapping[str, Any], version: str, door: _Door) -> Override:
    _only(table, (*_METERS, *_OTHER_KEYS, *_SERVICES), f"for {model!r}", door)
    like = table.get("like")
    if like is not None and not isinstance(like, str):
        door.refuse(f"like of {model!r} must be the name of a model.", near="like")
    times = _number(table.get("times", "1"), "times", model, door)
    begins = _day(table.get("valid_from"), model, door)
    rounding = Rounding()
    tables = {STANDARD: _sizes(table, model, door, rounding)}
    for service in _SERVICES:
        if service in table:
            part = _table(table[service], service, door)
            _only(part, (*_METERS, "tiers"), f"for {service} of {model!r}", door)
            tables[service] = _sizes(part, model, door, rounding)
    _check_whole(model, table, times, door)
    quote = Quote(
        source="override",
        model=model,
        provider=_text(table.get("provider"), model, door) or (model.partition("/")[0] if "/" in model else "custom"),
        version=version,
        tables=tables,
        valid_from=begins,
        context_tokens=_limit(table, "context_tokens", model, door),
        output_tokens_max=_limit(table, "output_tokens_max", model, door),
        has_reasoning=_flag(table, "reasoning_model", model, door),
        anthropic_cache=is_claude(model),
        free=_flag(table, "free", model, door),
        notes=rounding.notes(),
    )
    return Override(model, begins, quote, like, times)


def _check_whole(model: str, table: Mapping[str, Any], times: Decimal, door: _Door) -> None:
    """What the keys of a table must be together."""
    if not _ENOUGH & set(table):
        sentence = f'{model!r} has no price. Give input and output, or free = true, or like = "another model".'
        door.refuse(sentence, near=model)
    if "input" in table and not {"output", "like"} & set(table):
        door.refuse(f'{model!r} needs output too; write output = "0" for a model that gives no answer.', near=model)
    if "times" in table and "like" not in table:
        door.refuse(f'times of {model!r} needs like = "…", whose prices it multiplies.', near="times")
    if times <= 0:
        door.refuse(f"times of {model!r} must be above 0.", near="times")
    if table.get("free") is True and set(_METERS) & set(table):
        door.refuse(f"{model!r} cannot be free and have prices.", near=model)


def _sizes(table: Mapping[str, Any], model: str, door: _Door, rounding: Rounding) -> dict[int, dict[Meter, int]]:
    return {0: _rates(table, model, door, rounding), **_tiers(table, model, door, rounding)}


def _rates(table: Mapping[str, Any], model: str, door: _Door, rounding: Rounding) -> dict[Meter, int]:
    return {
        meter: rounding.up(meter, _number(table[key], key, model, door), per=_UNITS.get(meter, _PER_MILLION))
        for key, meter in _METERS.items()
        if key in table
    }


def _tiers(table: Mapping[str, Any], model: str, door: _Door, rounding: Rounding) -> dict[int, dict[Meter, int]]:
    """`tiers = [{ above_input_tokens = 200000, input = "6.00" }]`."""
    found: dict[int, dict[Meter, int]] = {}
    listed = table.get("tiers", [])
    if not isinstance(listed, list):
        door.refuse(f"tiers of {model!r} must be a list of tables.", near="tiers")
    for one in list_of(cast("object", listed)):
        tier = _table(one, "tiers", door)
        _only(tier, (*_METERS, "above_input_tokens"), f"for a tier of {model!r}", door)
        above = _limit(tier, "above_input_tokens", model, door)
        if above is None or above in found:
            door.refuse(f"every tier of {model!r} needs above_input_tokens of its own.", near="tiers")
        found[above] = _rates(tier, model, door, rounding)
    return found


def _number(value: object, key: str, model: str, door: _Door) -> Decimal:
    """A price: dollars as text, or a whole number."""
    if value == "?":
        door.refuse(f'{key} of {model!r} is still "?": write the price in US dollars, such as "0.20".', near='"?"')
    if isinstance(value, float):
        door.refuse(
            f'{key} of {model!r} is the float {value!r}, which cannot hold cents exactly. Write "{value}".', near=key
        )
    if isinstance(value, bool) or not isinstance(value, int | str) or len(str(value)) > _LONGEST_PRICE:
        door.refuse(f'{key} of {model!r} must be a text of US dollars, such as "0.20", not {value!r}.', near=key)
    try:
        price = Decimal(value if isinstance(value, int) else value.strip().removeprefix("$"))
    except InvalidOperation:
        door.refuse(f'{key} of {model!r} is {value!r}, not US dollars. Write a number such as "0.20".', near=key)
    if not price.is_finite() or price < 0:
        door.refuse(f"{key} of {model!r} is {value!r}; a price is 0 or more.", near=key)
    if price > _PER_MILLION:
        door.refuse(f"{key} of {model!r} is {value!r}: more than a dollar per token cannot be meant.", near=key)
    return price


def _limit(table: Mapping[str, Any], key: str, model: str, door: _Door) -> int | None:
    value = table.get(key)
    if value is not None and (type(value) is not int or value < 1):
        door.refuse(f"{key} of {model!r} must be a whole number of tokens, 1 or more, not {value!r}.", near=key)
    return value


def _flag(table: Mapping[str, Any], key: str, model: str, door: _Door) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        door.refuse(f"{key} of {model!r} must be true or false, not {value!r}.", near=key)
    return value


def _text(value: object, model: str, door: _Door) -> str | None:
    if value is not None and not isinstance(value, str):
        door.refuse(f"provider of {model!r} must be a text.", near="provider")
    return value


def _day(value: object, model: str, door: _Door) -> datetime | None:
    """A TOML date, or the same as text; prices change at midnight UTC."""
    if value is None:
        return None
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    try:
        day = date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        day = None
    if not isinstance(day, date) or isinstance(day, datetime):
        door.refuse(f"valid_from of {model!r} must be a day such as 2026-08-01, not {value!r}.", near="valid_from")
    return datetime.combine(day, time(), UTC)


def _only(table: Mapping[str, Any], known: tuple[str, ...], where: str, door: _Door) -> None:
    for key in table:
        if key not in known:
            _unknown(key, known, door, where)


def _unknown(key: str, known: tuple[str, ...], door: _Door, where: str) -> NoReturn:
    close = get_close_matches(key, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else f" Known keys: {', '.join(known)}."
    door.refuse(f"{key!r} is not a key {where}.{hint}", near=key)
