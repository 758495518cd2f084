"""What makes a prompt dear or its answers unreliable, each with a dollar figure: the checkable form of "be specific".

Amounts rest on a price card and on `Traffic`; a finding names what is assumed. Nothing is sent and nothing guessed
about what a model would answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tokenguard.core.untrusted import list_of, mapping_of
from tokenguard.prompt.structured.findings import Finding, Pricing, Traffic
from tokenguard.prompt.structured.shapes import Items, Record, Ref, Scalar, Schema, Shape, parts_of, read_schema
from tokenguard.prompt.structured.sizes import Count, likely_tokens
from tokenguard.prompt.structured.tolerant import candidates
from tokenguard.prompt.structured.writing import compact, write_schema

if TYPE_CHECKING:
    from tokenguard.core.money import Money
    from tokenguard.core.price import PriceCard
    from tokenguard.prompt.structured.prompts import StructuredPrompt

__all__ = ["lint_messages", "lint_prompt"]

_VAGUE_WORDS: Final = 4
_USUAL_ITEMS: Final = 8
_TEXT_TOKENS: Final = 66
_PRETTY_PERCENT: Final = 30
"""Of the tokens of 500 recorded JSON answers, what line breaks and blanks were."""
_BEHIND_MIN: Final = 32
_MOVING: Final = re.compile(
    r"\b\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}"  # a time of day
    r"|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"  # a UUID
    r"|\b1[5-9]\d{8}(?:\d{3})?\b",  # seconds or milliseconds since 1970
    re.IGNORECASE,
)
_PLACE: Final = re.compile(r"\{\{ ?\w+ ?\}\}|(?<![\w{])\{[a-z_]\w*\}(?!\})|\$\{\w+\}|<<\w+>>")
"""Where a template puts a variable."""
_EXAMPLE: Final = re.compile(r"\b(example|e\.g\.|for instance|input:|output:)", re.IGNORECASE)
_FORM: Final = re.compile(r"\b(json|schema|yaml|xml|csv|format)\b", re.IGNORECASE)
_ROLE: Final = re.compile(r"\b(you are|role:|act as|your role)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Draft:
    """What the rules look at."""

    prefix: str
    """The text that every call begins with."""
    behind: str
    """Fixed text behind the first variable."""
    role: bool
    form: bool
    example: bool
    task: str
    schema: Schema | None
    schema_text: str


def lint_prompt(
    prompt: StructuredPrompt[Any],
    *,
    card: PriceCard | None = None,
    count: Count = likely_tokens,
    traffic: Traffic | None = None,
) -> tuple[Finding, ...]:
    """What could be better about a structured prompt, the dearest first.

    Args:
        prompt: Any.
        card: Of the model that answers; None: no dollars.
        count: Tokens of a text, of that model.
        traffic: As measured; None: assumed.
    """
    draft = _Draft(
        prefix=prompt.prefix,
        behind="",
        role=bool(prompt.role),
        form=True,
        example=bool(prompt.examples),
        task=prompt.task,
        schema=prompt.output.schema,
        schema_text=prompt.schema_text,
    )
    return _found(draft, Pricing(card, traffic or Traffic()), count)


def lint_messages(
    messages: Sequence[Mapping[str, Any]],
    *,
    card: PriceCard | None = None,
    count: Count = likely_tokens,
    traffic: Traffic | None = None,
) -> tuple[Finding, ...]:
    """The same for messages that were written by hand, with places for variables such as `{ticket}`.

    Args:
        messages: Of a chat, as a template.
        card: As for `lint_prompt`.
        count: As for `lint_prompt`.
        traffic: As for `lint_prompt`.
    """
    texts = [_text(one) for one in messages]
    whole = "\n".join(texts)
    place = _PLACE.search(whole)
    fixed = whole if place is None else whole[: place.start()]
    schema = next(filter(None, (mapping_of(one.value) for one in candidates(whole, cut=False))), None)
    schema = schema if schema is not None and "properties" in schema else None
    has_system = any(mapping_of(one).get("role") in ("system", "developer") for one in messages)
    draft = _Draft(
        prefix=fixed,
        behind="" if place is None else _PLACE.sub("", whole[place.end() :]),
        role=has_system or bool(_ROLE.search(whole)),
        form=bool(schema or _FORM.search(whole)),
        example=bool(_EXAMPLE.search(whole)) or any(mapping_of(one).get("role") == "assistant" for one in messages),
        task=_PLACE.sub("", whole),
        schema=read_schema(schema) if schema else None,
        schema_text="",
    )
    found = list(_found(draft, Pricing(card, traffic or Traffic()), count))
    found += _json_schema(draft, Pricing(card, traffic or Traffic()), count, schema) if schema else []
    return _dearest_first(found)


def _found(draft: _Draft, pricing: Pricing, count: Count) -> tuple[Finding, ...]:
    tokens = count(draft.prefix)
    return _dearest_first(
        [
            *_words(draft, pricing, tokens),
            *_order(draft, pricing, count, tokens),
            *_minimum(pricing, tokens),
            *_lists(draft, pricing),
            *_long_schema(draft, pricing, count),
        ]
    )


def _dearest_first(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda one: -(one.cost.pico if one.cost else 0)))


def _words(draft: _Draft, pricing: Pricing, tokens: int) -> Iterator[Finding]:
    """Role, task, form and example: what a model has to guess, it guesses wrong now and then."""
    cost = pricing.of_retries(tokens)
    assumption = f"it makes {pricing.traffic.asked_again_percent} % of the answers be asked again"
    words = len(draft.task.split())
    if not draft.role:
        yield Finding(
            "no_role", "It has no role: say who the model is, as in role='support triager'.", cost, assumption
        )
    if words < _VAGUE_WORDS:
        counted = "1 word" if words == 1 else f"{words} words"
        yield Finding("vague_task", f"Its task has {counted}: say what is decided, and from what.", cost, assumption)
    if not draft.example:
        yield Finding("no_example", "It has no example: one input with its output shows the form.", cost, assumption)
    if not draft.form:
        output = pricing.traffic.output_tokens
        yield Finding(
            "no_schema",
            "It asks for no form: give output=, so that answers are compact and checked.",
            pricing.of_output(output * _PRETTY_PERCENT // 100),
            f"answers of {output:,} tokens get {_PRETTY_PERCENT} % shorter, as 500 recorded ones did",
        )


def _order(draft: _Draft, pricing: Pricing, count: Count, tokens: int) -> Iterator[Finding]:
    """What varies must come last: from the first byte that changes on, no cache helps."""
    calls, least = pricing.traffic.calls, pricing.traffic.cache_minimum
    behind = count(draft.behind)
    if behind >= _BEHIND_MIN:
        cost = pricing.of_input(
            lambda rate: pricing.prefix(tokens) + behind * rate * calls - pricing.prefix(tokens + behind)
        )
        if _matters(cost):
            yield Finding(
                "variables_first",
                f"{behind:,} tokens that never change come behind the first variable: put them before it.",
                cost,
                f"the provider caches prefixes of {least:,} tokens or more",
            )
    moving = _MOVING.search(draft.prefix)
    if moving is not None:
        kept = count(draft.prefix[: moving.start()])
        cost = pricing.of_input(
            lambda rate: pricing.prefix(kept) + (tokens - kept) * rate * calls - pricing.prefix(tokens)
        )
        if _matters(cost):
            yield Finding(
                "moving_prefix",
                f"{tokens - kept:,} tokens of its fixed part come behind a time or an id, so that they are new in "
                "every call: make it a variable.",
                cost,
                f"the provider caches prefixes of {least:,} tokens or more, and the time or id changes with each call",
            )


def _matters(cost: Money | None) -> bool:
    """Whether there is something to save, as far as anybody knows."""
    return cost is None or bool(cost)


def _minimum(pricing: Pricing, tokens: int) -> Iterator[Finding]:
    """Just under the size from which a prefix is cached, a longer one is cheaper (facts: promotion to the minimum)."""
    least, calls = pricing.traffic.cache_minimum, pricing.traffic.calls
    if not least // 2 < tokens < least:
        return
    cost = pricing.of_input(lambda rate: tokens * rate * calls - pricing.prefix(least))
    if _matters(cost):
        yield Finding(
            "under_cache_minimum",
            f"Its fixed part has {tokens:,} tokens, {least - tokens:,} under the {least:,} from which on it would be "
            "cached: fill it up with examples.",
            cost,
            "each call comes while the cache is warm",
        )


def _lists(draft: _Draft, pricing: Pricing) -> Iterator[Finding]:
    """Lists of texts without an end: the model decides how much it writes."""
    if draft.schema is None:
        return
    for path in _unbounded(draft.schema):
        yield Finding(
            "unbounded_list",
            f"{path} is a list of texts without a limit: give it max_length=.",
            pricing.of_output(_USUAL_ITEMS * _TEXT_TOKENS),
            f"it is {_USUAL_ITEMS} texts of {_TEXT_TOKENS} tokens longer than it need be",
        )


def _unbounded(schema: Schema) -> Iterator[str]:
    """Paths of unlimited lists of unlimited texts."""
    seen: set[str] = set()
    pending: list[tuple[str, Shape]] = [("the answer", schema.root)]
    while pending:
        path, shape = pending.pop(0)
        if isinstance(shape, Ref):
            if shape.name not in seen:
                seen.add(shape.name)
                pending.append((path, schema.named[shape.name]))
        elif isinstance(shape, Record):
            inside = "" if path == "the answer" else f"{path}."
            pending += [(f"{inside}{field.name}", field.shape) for field in shape.fields]
        else:
            if isinstance(shape, Items) and "maxItems" not in dict(shape.limits) and _is_text(shape.item):
                yield path
            pending += [(f"{path}[]" if isinstance(shape, Items) else path, part) for part in parts_of(shape)]


def _is_text(shape: Shape) -> bool:
    return isinstance(shape, Scalar) and shape.kind == "string" and "maxLength" not in dict(shape.limits)


def _long_schema(draft: _Draft, pricing: Pricing, count: Count) -> Iterator[Finding]:
    """A schema that is longer than what it is asked about."""
    typical = pricing.traffic.input_tokens
    tokens = count(draft.schema_text)
    if draft.schema is None or tokens <= typical:
        return
    shorter = count(write_schema(draft.schema, "line"))
    saved = tokens - shorter
    move = f"style='line' takes {shorter:,}." if saved > 0 else "ask for fewer fields, or in two steps."
    yield Finding(
        "long_schema",
        f"Its schema takes {tokens:,} tokens, more than a typical input of {typical:,}: {move}",
        pricing.of_input(lambda _: pricing.traffic.calls * pricing.read_pico * (saved if saved > 0 else tokens)),
        "the schema is read from the provider's cache",
    )


def _json_schema(draft: _Draft, pricing: Pricing, count: Count, schema: Mapping[str, Any]) -> Iterator[Finding]:
    """A JSON schema in the prompt, which says the same in four times the tokens."""
    assert draft.schema is not None, "it was found"
    tokens, shorter = count(compact(schema)), count(write_schema(draft.schema, "typescript"))
    yield Finding(
        "json_schema",
        f"A JSON schema of {tokens:,} tokens is in it; as types it takes {shorter:,}.",
        pricing.of_input(lambda _: pricing.traffic.calls * pricing.read_pico * (tokens - shorter)),
        "the schema is read from the provider's cache",
    )


def _text(message: Any) -> str:
    """The text of a message, parts joined."""
    content = mapping_of(message).get("content")
    if isinstance(content, str):
        return content
    return "\n".join(str(mapping_of(part).get("text") or "") for part in list_of(content))
