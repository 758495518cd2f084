"""JSON as tools give it, in sets of one kind each, from the recorded outputs in ../shared."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["json_sets", "random_document", "random_text", "without_blanks"]


def json_sets(shared: Path) -> dict[str, list[Any]]:
    """Documents by the name of their set; `shared` is the folder of the recorded data."""
    outputs = shared / "tool_outputs"
    users: dict[str, Any] = _read(outputs / "tau_retail_users.json.gz")
    orders: dict[str, Any] = _read(outputs / "tau_retail_orders.json.gz")
    products: dict[str, Any] = _read(outputs / "tau_retail_products.json.gz")
    flights: list[Any] = list(_read(outputs / "tau_airline_flights.json.gz").values())
    recorded = list(_recorded(shared / "trajectories" / "tau_bench_gpt4o_airline.json.gz"))
    return {
        "tau-bench tool outputs": recorded,
        "of them lists": [one for one in recorded if isinstance(one, list)],
        "GitHub repositories": [json.loads((outputs / "github-repos.json").read_text(encoding="utf-8"))],
        "users by id (25)": [dict(part) for part in _cut(list(users.items()), 25, 5)],
        "an order": list(orders.values())[:50],
        "orders (20)": _cut(list(orders.values()), 20, 5),
        "a product with variants": list(products.values())[:50],
        "flights (30)": [[_flat(one) for one in part] for part in _cut(flights, 30, 10)],
        "flights with their dates (20)": _cut(flights, 20, 10),
        "MCP tool definitions": [
            json.loads(path.read_text(encoding="utf-8"))
            for path in sorted((shared / "schemas/mcp_tools").glob("*.json"))
        ],
        "tau-bench tool definitions": [
            json.loads(path.read_text(encoding="utf-8"))
            for path in sorted((shared / "schemas").glob("tau_tools_*.json"))
        ],
    }


def random_document(dice: random.Random, depth: int = 4) -> Any:
    """Any JSON value, often with lists of nearly like objects, and with text full of our own marks."""
    chance = dice.random()
    if depth <= 0 or chance < 0.45:
        return dice.choice(
            (
                dice.choice(_TEXTS),
                dice.choice(_TEXTS),
                dice.randint(-5, 5),
                dice.random(),
                dice.randint(-(10**18), 10**18),
                *_ODD,
            )
        )
    if chance < 0.6:
        return [random_document(dice, depth - 1) for _ in range(dice.randint(0, 4))]
    if chance < 0.75:
        return {dice.choice(_NAMES): random_document(dice, depth - 1) for _ in range(dice.randint(0, 4))}
    rows = _like_rows(dice, depth)
    if dice.random() < 0.4:
        return {f"{dice.choice(_TEXTS)}{at}": one for at, one in enumerate(rows)}
    return rows


def random_text(dice: random.Random) -> str:
    """A random document as a tool of another make could write it, and now and then no JSON at all.

    Numbers are spelled in ways that Python would not use, characters are escaped that need not be, blanks stand where
    they may. One in ten has a key twice, NaN, half of a surrogate pair, a character too many or too few.
    """
    text = _SCALAR.sub(lambda found: _spelled(found[0], dice), json.dumps(random_document(dice)))
    if dice.random() < 0.1:
        at = dice.randrange(len(text))
        text = text[:at] + dice.choice(_DAMAGE) + text[at + dice.randint(0, 1) :]
    return text


def without_blanks(text: str) -> str:
    """A JSON document with its strings as Python writes them, everything else as it is, and no blanks between."""
    return _SCALAR.sub(lambda found: _bare(found[0]), text)


_SCALAR = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|[ \t\n\r]+')
_DAMAGE = (
    "",
    '"',
    ",",
    "}",
    "NaN",
    "-Infinity",
    '"a": 1, "a": 2,',
    "\\ud800",
    "\ud800",
    "\x00",
    "\ufdd0",
    "-0",
    "[2]{a}\n",
)


def _spelled(part: str, dice: random.Random) -> str:
    if part.isspace():
        return dice.choice(("", " ", "\n\t"))
    if dice.random() < 0.8:
        return part
    if part.startswith('"'):
        return part.replace("a", "\\u0061").replace("/", "\\/")
    return (
        dice.choice((f"{part}.50", f"{part}e5", f"{part}E+05", "-0", "1.0E-7", "9" * 500)) if part.isdigit() else part
    )


def _bare(part: str) -> str:
    if part.isspace():
        return ""
    return json.dumps(json.loads(part), ensure_ascii=False) if part.startswith('"') else part


_TEXTS = (
    *("", "~", "*", "=*", "a", "id", "true", "null", "1", "-0", "1e5", "0x1", "[2]{a,b}", "{2}{a}", "{^1}", "^", "a,b"),
    *(" lead", "trail ", '"q"', "\n", "\r\n", "\t", "\u2028", "\x00", "é", "😀", "@", "[", "{", "[1]", "{}", "$", "?"),
    *("a?", "a$", "x=1", "2024-01-01", "NaN", "Infinity", "00", "1.50", "line\nline", "\\", '\\"', "a/b.c-d", "\x85"),
)
_NAMES = ("id", "name", "a", "b", "c", "a b", "", "1", '"', "x,y", "~", "=", "$", "?", "k{", "items", "value", "é")
_ODD = (None, True, False, 1.0, 1e300)


def _like_rows(dice: random.Random, depth: int) -> list[dict[str, Any]]:
    names = dice.sample(_NAMES, dice.randint(1, 5))
    kinds = {name: dice.choice("tncgv") for name in names}
    constants = {name: random_document(dice, 1) for name in names}
    inner = dice.sample(_NAMES, dice.randint(1, 3))
    rows: list[dict[str, Any]] = []
    for _ in range(dice.randint(0, 6)):
        row: dict[str, Any] = {}
        for name in names:
            if dice.random() < 0.12:
                continue
            match kinds[name]:
                case "t":
                    row[name] = dice.choice(_TEXTS)
                case "n":
                    row[name] = dice.randint(0, 99)
                case "c":
                    row[name] = constants[name]
                case "g":
                    row[name] = {one: random_document(dice, 0) for one in inner}
                case _:
                    row[name] = random_document(dice, depth - 1)
        rows.append(row)
    return rows


def _read(path: Path) -> Any:
    return json.loads(gzip.decompress(path.read_bytes()))


def _cut(values: list[Any], size: int, parts: int) -> list[list[Any]]:
    return [values[at * size : (at + 1) * size] for at in range(parts) if values[at * size : (at + 1) * size]]


def _flat(flight: dict[str, Any]) -> dict[str, Any]:
    """A flight as a search gives it: without its dates."""
    return {name: value for name, value in flight.items() if name != "dates"}


def _recorded(path: Path) -> Iterator[Any]:
    for run in _read(path):
        for message in run["traj"]:
            content = message.get("content")
            if message.get("role") == "tool" and isinstance(content, str) and content.lstrip()[:1] in ("{", "["):
                try:
                    yield json.loads(content)
                except ValueError:
                    continue
