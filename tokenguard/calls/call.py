"""One guarded call as the caller meant it: what to send, to whom, and who pays. A value; nothing here acts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tokenguard.calls.scope import Node
from tokenguard.calls.terms import KnownTerms, Terms
from tokenguard.core.account import Path
from tokenguard.core.ladder import Ladder
from tokenguard.core.untrusted import list_of, mapping_of
from tokenguard.errors import SetupError

if TYPE_CHECKING:
    from tokenguard.calls.routes import Routed
    from tokenguard.prompt.folder import Folded
    from tokenguard.routing import Choice
    from tokenguard.routing.route import Routing

__all__ = ["CONTENT", "Applied", "Call", "Target", "other_target", "targets_of"]

CONTENT: Final = {"chat": "messages", "responses": "input", "embeddings": "input"}
"""The argument that carries the prompt, by operation."""

_RETRIED_BY_US: Final = frozenset({"num_retries", "max_retries", "fallbacks"})
"""Options of LiteLLM that are never handed on: each retry and each fallback is an attempt with a hold of its own."""


@dataclass(frozen=True, slots=True)
class Target:
    """Who is asked: the call's own model first, then its fallbacks."""

    model: str
    options: Mapping[str, Any]
    terms: Terms
    choice: Choice | None = None
    """The endpoint of a route; None: the caller named this model."""


@dataclass(frozen=True, slots=True)
class Applied:
    """A prompt that was folded."""

    folded: Folded
    is_sent: bool
    """False: only measured, because the guard observes or the run is held out."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a caller asked for. Options are LiteLLM's, less those that are the guard's own."""

    id: str
    operation: str
    content: Any
    targets: tuple[Target, ...]
    node: Node | None
    scope: str
    path: Path
    """Who pays."""
    began_s: float
    """Monotonic."""
    opened_by: object
    """The task or thread that made the call."""
    ladder: Ladder = field(default_factory=Ladder)
    """Of where the call is made."""
    prompt_id: str | None = None
    """Under which the ledger reports it; None: a digest of the instructions stands for it."""
    whole: bool = False
    """A part of the answer is of no use: what was asked for is never lowered to what is affordable."""
    given: Any = None
    """The content as the caller gave it, which is what the repetition rules look at."""
    asked: Any = None
    """The content without a note of ours, where one was added; else `content` itself."""
    folded: Applied | None = None
    """What was done to the content before any note; None: nothing."""
    routing: Routing | None = None
    """What it asks of its route."""
    routed: Routed | None = None
    """Its place in a route; None: it has none."""
    is_rerouted: bool = False
    """A budget has reached its reroute rung."""

    def __post_init__(self) -> None:
        if self.given is None:
            object.__setattr__(self, "given", self.content)
        if self.asked is None:
            object.__setattr__(self, "asked", self.content)

    @property
    def terms(self) -> Terms:
        """Of the call's own model; retries, timeout and streaming are the same for its fallbacks."""
        return self.targets[0].terms

    def output_min(self, target: Target) -> int:
        """The fewest output tokens that are worth sending a target for."""
        given = target.terms.output_given
        return given if self.whole and given is not None else target.terms.output_min

    @property
    def messages(self) -> Sequence[Mapping[str, Any]]:
        """The conversation, for what looks at messages; empty for other shapes."""
        return self.content if self.operation == "chat" else ()


def targets_of(
    operation: str, model: str, content: Any, options: Mapping[str, Any], known: KnownTerms
) -> tuple[Target, ...]:
    """Whom to ask: the model, then its `fallbacks`. The guard's own options are taken out of LiteLLM's.

    Raises:
        UnsupportedOption: an option that would send requests behind the guard's back, by name, with the reason.
        BadAmount: a size or a number of retries that cannot be meant.
        SetupError: the prompt or an option has a shape that cannot be sent.
    """
    _check_content(operation, content)
    own = options
    if not _RETRIED_BY_US.isdisjoint(options):
        own = {name: value for name, value in options.items() if name not in _RETRIED_BY_US}
    first = Target(model, own, known.of(operation, options))
    fallbacks = options.get("fallbacks")
    return (first, *(_fallback(one, operation, options, known) for one in fallbacks)) if fallbacks else (first,)


def other_target(other: str | Mapping[str, Any], asked: Target, operation: str, known: KnownTerms) -> Target:
    """Who is asked instead of a target: another model with its options, or with what a mapping puts over them.

    Raises:
        SetupError: a mapping without a model.
    """
    return _fallback(other, operation, asked.options, known)


def _fallback(fallback: Any, operation: str, options: Mapping[str, Any], known: KnownTerms) -> Target:
    """A model's name, or a mapping with `model` and options that go over the call's own."""
    theirs: Mapping[str, Any] = {"model": fallback} if isinstance(fallback, str) else mapping_of(fallback)
    model = theirs.get("model")
    if not isinstance(model, str):
        raise SetupError(f'{fallback!r} names no model: give its name, or {{"model": ...}} with options.')
    merged = {**options, **theirs}
    own = {name: value for name, value in merged.items() if name not in _RETRIED_BY_US and name != "model"}
    return Target(model, own, known.of(operation, merged))


def _check_content(operation: str, content: Any) -> None:
    """The prompt has the shape its operation sends."""
    if operation == "chat" and not list_of(content):
        given = "an empty list" if content == [] else f"a {type(content).__name__}"
        raise SetupError(
            f'messages is {given}; give a list of at least one message, as in [{{"role": "user", "content": "…"}}].'
        )
