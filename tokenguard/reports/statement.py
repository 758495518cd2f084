"""A provider's statement, read strictly: CSV or JSON lines with day, provider, model (optional) and usd."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NoReturn, cast

from tokenguard.core.money import Money
from tokenguard.core.statement import Billed
from tokenguard.errors import BadAmount, SettingsError

__all__ = ["read_statement"]

_NEEDED: Final = ("day", "provider", "usd")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FIRST: Final = date(2000, 1, 1)
_NAME_MAX: Final = 300
_SIZE_MAX: Final = 64 * 2**20
_SHOWN: Final = 60


class _Place:
    """Where in which file; every complaint names it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.line = 0

    def wrong(self, what: str) -> NoReturn:
        """Complain.

        Raises:
            SettingsError: always.
        """
        where = f"{self.path}, line {self.line}" if self.line else str(self.path)
        raise SettingsError(f"{where}: {what}", path=str(self.path), line=self.line)


def read_statement(path: Path, today: date) -> tuple[Billed, ...]:
    """What was billed, by day, provider and model; lines of one key are added up.

    Args:
        path: CSV with a header, or one JSON object a line. UTF-8.
        today: The present UTC day; a statement knows nothing of later ones.

    Raises:
        SettingsError: it cannot be read or meant, with the line and what to write instead.
    """
    place = _Place(path)
    text = _text(place)
    rows = _json_rows(text, place) if text.lstrip()[:1] in ("{", "[") else _csv_rows(text, place)
    sums: dict[tuple[str, str, str | None], Billed] = {}
    whole: dict[tuple[str, str], bool] = {}
    for row in rows:
        one = _billed(row, place, today)
        day, provider, _ = one.key
        if whole.setdefault((day, provider), one.model is None) is not (one.model is None):
            place.wrong(
                f"{one.provider} has lines with a model and lines without one on {day}, so they may overlap. Name the "
                "model in all lines of a day, or in none."
            )
        known = sums.get(one.key)
        sums[one.key] = one if known is None else Billed(known.day, known.provider, known.model, known.usd + one.usd)
    if not sums:
        place.line = 0
        place.wrong("there is nothing in this statement. It needs lines with day, provider, model (optional) and usd.")
    return tuple(sums[key] for key in sorted(sums, key=lambda key: (key[0], key[1], key[2] or "")))


def _text(place: _Place) -> str:
    try:
        with place.path.open("rb") as file:
            content = file.read(_SIZE_MAX + 1)
    except OSError as error:
        place.wrong(f"the statement cannot be read ({error.strerror or type(error).__name__}). Name a readable file.")
    if len(content) > _SIZE_MAX:
        place.wrong(f"the statement is larger than {_SIZE_MAX // 2**20} MB. Split it, for example by month.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place.line = content.count(b"\n", 0, error.start) + 1
        place.wrong("this is not UTF-8. Save the statement as UTF-8 text.")


def _csv_rows(text: str, place: _Place) -> Iterator[Mapping[str, Any]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            place.line = reader.line_num
            place.wrong(f"this is not CSV ({error}). Check its quotes, or give JSON lines.")
        if cells is None:
            return
        place.line = reader.line_num
        if not any(cell.strip() for cell in cells):
            continue
        if not header:
            header = _header(cells, place)
        elif len(cells) != len(header):
            place.wrong(f"there are {len(cells)} fields and the header has {len(header)}. Quote fields with commas.")
        else:
            yield dict(zip(header, cells, strict=True))


def _header(cells: list[str], place: _Place) -> list[str]:
    names = [cell.strip().casefold() for cell in cells]
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        place.wrong(
            f"the header has no {' and no '.join(missing)}: {_shown(','.join(cells))}. Name the columns day, provider, "
            "model (optional) and usd, divided by commas."
        )
    double = next((name for name in ("model", *_NEEDED) if names.count(name) > 1), None)
    if double:
        place.wrong(f"the header has {double} twice. Keep one.")
    return names


def _json_rows(text: str, place: _Place) -> Iterator[Mapping[str, Any]]:
    # Not `splitlines`: JSON may hold characters that only that takes for the end of a line.
    for number, line in enumerate(text.split("\n"), 1):
        place.line = number
        if not line.strip():
            continue
        try:
            found: Any = json.loads(line, parse_float=Decimal, parse_constant=str)
        except (ValueError, ArithmeticError, RecursionError):
            place.wrong(f"this is not JSON: {_shown(line)}. Write one object a line, or CSV with a header.")
        if not isinstance(found, dict):
            place.wrong(f"this is a {type(found).__name__}, not an object. Write one object a line.")
        row = cast("dict[str, Any]", found)
        missing = [name for name in _NEEDED if row.get(name) is None]
        if missing:
            place.wrong(f"there is no {' and no '.join(missing)}. Each line needs day, provider and usd.")
        yield row


def _billed(row: Mapping[str, Any], place: _Place, today: date) -> Billed:
    day = _day(row["day"], place, today)
    provider = _name(row["provider"], "provider", place)
    given = row.get("model")
    blank = given is None or (isinstance(given, str) and not given.strip())
    model = None if blank else _name(given, "model", place)
    amount = row["usd"]
    if not isinstance(amount, str | int | Decimal) or isinstance(amount, bool):
        place.wrong(f"usd is a {type(amount).__name__}. Write dollars, as in 1234.50.")
    try:
        usd = Money(amount)
    except BadAmount as error:
        place.wrong(f"{_printable(error.sentence)} Write dollars with a point and at most 12 decimals, as in 1234.50.")
    return Billed(day, provider, model, usd)


def _day(value: Any, place: _Place, today: date) -> date:
    text = value.strip() if isinstance(value, str) else ""
    try:
        day = date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        day = None
    if day is None or day < _FIRST:
        place.wrong(f"day {_shown(value)} is not one. Write it as 2026-03-14 (UTC).")
    if day > today:
        place.wrong(f"{day} has not begun: today is {today} (UTC). Leave it out.")
    return day


def _name(value: Any, column: str, place: _Place) -> str:
    name = value.strip() if isinstance(value, str) else ""
    if not name or not name.isprintable() or len(name) > _NAME_MAX:
        place.wrong(
            f"{column} {_shown(value)} is no name. Write it as the ledger does: `tokenguard report spend --by "
            "provider,model`."
        )
    return name


def _shown(value: Any) -> str:
    """What was found, short and harmless."""
    text = value if isinstance(value, str) else type(value).__name__
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def _printable(text: str) -> str:
    short = text if len(text) <= 4 * _SHOWN else f"{text[: 4 * _SHOWN]}…"
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in short)
