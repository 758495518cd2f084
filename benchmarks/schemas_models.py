"""Six models of the kinds that structured prompts ask for: a form, two records with lists, a plan, a review, a tree.

`schemas.py` measures them, `peers/schemas.baml` says the same in BAML's language. `Address` is used twice on purpose,
and `Node` contains itself.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, Field

__all__ = ["MODELS", "Invoice", "Node", "Plan", "Resume", "Review", "Ticket"]


class Category(StrEnum):
    BILLING = "billing"
    BUG = "bug"
    FEATURE = "feature_request"
    ACCOUNT = "account"
    OTHER = "other"


class Ticket(BaseModel):
    category: Category
    priority: Literal["low", "medium", "high", "urgent"]
    summary: str = Field(max_length=120)
    customer_id: str | None = None
    tags: list[str]
    needs_human: bool


class Address(BaseModel):
    street: str
    city: str
    postal_code: str
    country: str = Field(description="ISO 3166 alpha-2")


class LineItem(BaseModel):
    sku: str
    description: str
    quantity: int = Field(ge=1)
    unit_price: float
    tax_rate: float | None = None


class Invoice(BaseModel):
    invoice_number: str
    issue_date: date
    due_date: date | None = None
    seller: str
    buyer: str
    billing_address: Address
    shipping_address: Address | None = None
    currency: Literal["USD", "EUR", "GBP", "JPY"]
    items: list[LineItem]
    subtotal: float
    tax: float
    total: float


class Experience(BaseModel):
    company: str
    title: str
    start_date: str
    end_date: str | None = None
    highlights: list[str]


class Education(BaseModel):
    school: str
    degree: str
    field: str | None = None
    year: int | None = None


class Resume(BaseModel):
    name: str
    email: str | None = None
    skills: list[str]
    experience: list[Experience]
    education: list[Education]
    languages: list[str]


class Step(BaseModel):
    id: int
    action: Literal["search", "read", "write", "run", "ask"]
    argument: str
    depends_on: list[int]
    reason: str | None = None


class Plan(BaseModel):
    goal: str
    steps: list[Step]
    done_when: str


class Aspect(BaseModel):
    name: str
    sentiment: Literal["positive", "neutral", "negative"]
    quote: str | None = None


class Review(BaseModel):
    sentiment: Literal["positive", "neutral", "negative", "mixed"]
    rating: int = Field(ge=1, le=5)
    aspects: list[Aspect]
    would_recommend: bool | None = None
    summary: str = Field(max_length=200)


class Node(BaseModel):
    name: str
    children: list[Node]


MODELS: dict[str, type[BaseModel]] = {model.__name__: model for model in (Ticket, Invoice, Resume, Plan, Review, Node)}
