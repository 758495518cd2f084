"""Questions whose answers code can check, over payloads as tools give them. Seeded: the same seed asks the same."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tokenguard.errors import SettingsError
from tokenguard.prompt import lines, tables

__all__ = ["Question", "decoded", "questions"]

_CITIES = ("Oslo", "Lima", "Kyoto", "Quito", "Tunis", "Perth", "Graz", "Cork")
_NAMES = ("Ada Byron", "Emmy Noether", "Alan Turing", "Grace Hopper", "Kurt Gödel", "Mary Jackson", "Ida Rhodes")


@dataclass(frozen=True)
class Question:
    """One question over one payload."""

    kind: str
    payload: str
    """As the tool gave it."""
    text: str
    solve: Callable[[Any], str]
    """The answer, from the payload's value or its lines."""

    @property
    def answer(self) -> str:
        """What is right."""
        return self.solve(decoded(self.payload))


def decoded(text: str) -> Any:
    """The value of a payload in any form: a JSON value, or the lines of a text."""
    if text.startswith(("{", "[")) and not lines.is_folded(text):
        try:
            return json.loads(tables.unfold(text))
        except SettingsError:
            pass
    return (lines.unfold(text) if lines.is_folded(text) else text).split("\n")


def questions(seed: int, count: int) -> list[Question]:
    """So many questions, of all kinds in turn."""
    makers = (_orders, _users, _routes, _log, _paths)
    return [makers[at % len(makers)](random.Random(seed * 1_000_003 + at), at // len(makers)) for at in range(count)]


def _orders(dice: random.Random, turn: int) -> Question:
    orders = [
        {
            "order_id": f"ORD-{dice.randint(1000, 9999)}-{at}",
            "customer": dice.choice(_NAMES),
            "city": dice.choice(_CITIES),
            "total": dice.randint(10, 900),
            "paid": dice.random() < 0.6,
            "coupon": dice.choice((None, None, f"C{dice.randint(10, 99)}")),
            "items": [
                {"sku": f"{dice.randint(0, 99999):05}", "count": dice.randint(1, 9)} for _ in range(dice.randint(1, 4))
            ],
        }
        for at in range(dice.randint(12, 40))
    ]
    one, city = dice.choice(orders), dice.choice(_CITIES)
    order_id = one["order_id"]

    def by_id(value: list[dict[str, Any]]) -> dict[str, Any]:
        return next(row for row in value if row["order_id"] == order_id)

    kinds: list[tuple[str, str, Callable[[Any], str]]] = [
        ("lookup", f"What is the total of order {order_id}?", lambda value: str(by_id(value)["total"])),
        (
            "lookup",
            f"Which coupon has order {order_id}? Say none if it has none.",
            lambda value: by_id(value)["coupon"] or "none",
        ),
        ("count", f"How many orders are from {city}?", lambda value: str(sum(row["city"] == city for row in value))),
        ("count", "How many orders are paid?", lambda value: str(sum(row["paid"] for row in value))),
        (
            "extreme",
            "Which order_id has the highest total? Of equal ones the first.",
            lambda value: str(max(value, key=lambda row: row["total"])["order_id"]),
        ),
        (
            "nested",
            f"How many pieces has order {order_id} in all its items together?",
            lambda value: str(sum(item["count"] for item in by_id(value)["items"])),
        ),
        (
            "nested",
            f"What is the sku of the last item of order {order_id}?",
            lambda value: str(by_id(value)["items"][-1]["sku"]),
        ),
        ("position", "What is the order_id of the last order?", lambda value: str(value[-1]["order_id"])),
    ]
    kind, text, solve = kinds[turn % len(kinds)]
    return Question(kind, json.dumps(orders), text, solve)


def _users(dice: random.Random, turn: int) -> Question:
    users = {
        f"user_{dice.randint(100, 999)}_{at}": {
            "name": dice.choice(_NAMES),
            "address": {"city": dice.choice(_CITIES), "zip": f"{dice.randint(0, 99999):05}"},
            "level": dice.choice(("gold", "silver", "regular")),
            **({"phone": f"+{dice.randint(10**9, 10**10)}"} if dice.random() < 0.5 else {}),
        }
        for at in range(dice.randint(8, 25))
    }
    one, level = dice.choice(list(users)), dice.choice(("gold", "silver"))
    kinds: list[tuple[str, str, Callable[[Any], str]]] = [
        ("nested", f"What is the zip of {one}?", lambda value: str(value[one]["address"]["zip"])),
        (
            "count",
            f"How many users are {level}?",
            lambda value: str(sum(row["level"] == level for row in value.values())),
        ),
        ("absent", f"Does {one} have a phone? yes or no.", lambda value: "yes" if "phone" in value[one] else "no"),
        ("lookup", f"In which city does {one} live?", lambda value: str(value[one]["address"]["city"])),
    ]
    kind, text, solve = kinds[turn % len(kinds)]
    return Question(kind, json.dumps(users), text, solve)


def _routes(dice: random.Random, turn: int) -> Question:
    routes = [
        [
            {
                "flight": f"HAT{dice.randint(100, 999)}",
                "from": dice.choice(_CITIES),
                "to": dice.choice(_CITIES),
                "seats": {"economy": dice.randint(0, 20), "business": dice.randint(0, 9)},
                "price": dice.randint(50, 900),
            }
            for _ in range(2)
        ]
        for _ in range(dice.randint(4, 12))
    ]
    at = dice.randrange(len(routes))
    kinds: list[tuple[str, str, Callable[[Any], str]]] = [
        (
            "position",
            f"Which flight is the second leg of route number {at + 1}, counted from 1?",
            lambda value: str(value[at][1]["flight"]),
        ),
        (
            "nested",
            f"How many business seats has the first leg of route number {at + 1}?",
            lambda value: str(value[at][0]["seats"]["business"]),
        ),
        (
            "sum",
            f"What do both legs of route number {at + 1} cost together?",
            lambda value: str(sum(leg["price"] for leg in value[at])),
        ),
        ("count", "How many routes are there?", lambda value: str(len(value))),
    ]
    kind, text, solve = kinds[turn % len(kinds)]
    return Question(kind, json.dumps(routes), text, solve)


def _log(dice: random.Random, turn: int) -> Question:
    rows = [
        f"2026-05-01T10:{at // 60:02}:{at % 60:02}Z {dice.choice(('INFO', 'INFO', 'INFO', 'ERROR'))} "
        f"worker-{dice.randint(1, 9)} served request {dice.randint(10_000, 99_999)} in {dice.randint(1, 900)} ms"
        for at in range(dice.randint(30, 90))
    ]
    request = dice.choice(rows).split("request ")[1].split(" ")[0]

    def found(value: list[str]) -> str:
        return next(row for row in value if f"request {request} " in row)

    kinds: list[tuple[str, str, Callable[[Any], str]]] = [
        (
            "lookup",
            f"How many ms did request {request} take?",
            lambda value: found(value).split(" in ")[1].split(" ")[0],
        ),
        ("lookup", f"Which worker served request {request}? Say worker-N.", lambda value: found(value).split(" ")[2]),
        ("count", "How many lines are errors?", lambda value: str(sum(" ERROR " in row for row in value))),
        ("position", "Which request is in the last line?", lambda value: value[-1].split("request ")[1].split(" ")[0]),
    ]
    kind, text, solve = kinds[turn % len(kinds)]
    return Question(f"log {kind}", "\n".join(rows), text, solve)


def _paths(dice: random.Random, turn: int) -> Question:
    folders = [f"./src/{name}" for name in ("core", "core/money", "api", "api/v2/handlers", "tests")]
    paths = sorted({f"{dice.choice(folders)}/{dice.choice('abcdefgh')}{dice.randint(1, 60)}.py" for _ in range(60)})
    folder, one = dice.choice(folders), dice.choice(paths)
    kinds: list[tuple[str, str, Callable[[Any], str]]] = [
        (
            "count",
            f"How many files are directly in {folder}?",
            lambda value: str(sum(row.rpartition("/")[0] == folder for row in value)),
        ),
        (
            "lookup",
            f"What is the whole path of the first file that is called {one.rpartition('/')[2]}?",
            lambda value: next(row for row in value if row.endswith("/" + one.rpartition("/")[2])),
        ),
        ("position", "What is the last path?", lambda value: str(value[-1])),
    ]
    kind, text, solve = kinds[turn % len(kinds)]
    return Question(f"paths {kind}", "\n".join(paths), text, solve)
