"""JSON as tools give it, in sets of one kind each, from the recorded outputs in ../shared."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["json_sets", "random_document"]


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
