"""A model that has everything a model can have, for the tests of structured prompts."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NotRequired, TypeVar

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, RootModel
from typing_extensions import TypedDict

T = TypeVar("T")


class Color(enum.StrEnum):
    RED = "red"
    DARK = "dark red"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 7


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = Field(9, ge=1, lt=10)


class Dog(BaseModel):
    kind: Literal["dog"]
    good: bool = True


class Page(BaseModel, Generic[T]):
    items: list[T] = Field(max_length=5)
    after: str | None = None


@dataclass
class Point:
    x: float
    y: float = 0.0


class Loose(TypedDict):
    a: int
    b: NotRequired[str]


class Node(BaseModel):
    name: str
    children: list[Node]


class Left(BaseModel):
    right: Right | None = None


class Right(BaseModel):
    left: list[Left]


class Tags(RootModel[list[str]]):
    pass


class Everything(BaseModel):
    """All kinds."""

    model_config = ConfigDict(extra="forbid")
    color: Color
    level: Level
    maybe_level: Level | None
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    pets: list[Cat | Dog]
    either: int | str | None
    price: Decimal = Field(ge=0, max_digits=8, decimal_places=2)
    ratio: float = Field(gt=0, le=1.5)
    step: int = Field(multiple_of=5)
    at_least: int = Field(ge=18)
    at_most: float = Field(le=99)
    code: str = Field(pattern=r"^[A-Z]{3}$", min_length=3, max_length=3)
    short: str = Field(max_length=77)
    long: str = Field(min_length=33)
    day: dt.date
    instant: dt.datetime
    clock: dt.time
    span: dt.timedelta
    identity: uuid.UUID
    raw: bytes
    anything: Any
    counts: dict[str, int]
    shades: dict[Color, float] = Field(min_length=2)
    unique: set[int]
    pair: tuple[int, str]
    row: tuple[int, ...]
    frozen: frozenset[str] = frozenset()
    page: Page[Cat]
    wire: str = Field(alias="wireName")
    described: str = Field("x", description="a\n short  note")
    point: Point
    loose: Loose
    tags: Tags
    nested: Left | None = None
    nothing: None = None
    literal: Literal["a b", 1, True, "string", "semi;colon"] | None
    url: HttpUrl
    few: list[int] = Field(min_length=1, max_length=4)
