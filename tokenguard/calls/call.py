"""One guarded call as the caller meant it: what to send, to whom, and who pays. A value; nothing here acts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tokenguard.calls.scope import Node
from tokenguard.core.account import Scope
from tokenguard.core.untrusted import list_of, mapping_of
from tokenguard.errors import BadAmount, SetupError, UnsupportedOption

__all__ = ["CONTENT", "Call", "Target", "output_option", "parse_call"]

CONTENT: Final = {"chat": "messages", "responses": "input", "embeddings": "input"}
"""The argument that carries the prompt, by operation."""

_OUTPUT_NAMES: Final = {
    "chat": ("max_completion_tokens", "max_tokens"),
    "responses": ("max_output_tokens",),
    "embeddings": (),
}
_RETRIED_BY_US: Final = ("num_retries", "max_retries", "fallbacks")
"""Options of LiteLLM that are never handed on: each retry and each fallback is an attempt with a hold of its own."""
_DEFAULT_TIMEOUT_S: Final = 600.0
_SIZES: Final = frozenset(
    {"max_tokens", "max_completion_tokens", "max_output_tokens", "n", "best_of", "stream_options"}
)
"""Options that decide how large an answer may be."""
_LONGEST_TIMEOUT_S: Final = 7 * 24 * 60 * 60.0
"""A lease ends some day, even where a caller would wait forever (`timeout=inf`)."""


@dataclass(frozen=True, slots=True)
class Target:
    """Who is asked: the call's own model first, then its fallbacks."""

    model: str
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """What a caller asked for. Options are LiteLLM's, less those that are the guard's own."""

    id: str
    operation: str
    content: Any
    targets: tuple[Target, ...]
    retries: int | None
    """None: the guard's default."""
    timeout_s: float
    node: Node | None
    scope: str
    scopes: tuple[Scope, ...]
    began_s: float
    """Monotonic."""
    opened_by: object
    """The task or thread that made the call."""

    @property
    def stream(self) -> bool:
        """Whether the answer comes in parts."""
        return bool(self.targets[0].options.get("stream"))

    @property
    def usage_asked(self) -> bool:
        """Whether the caller wants the stream's usage chunk handed out."""
        return bool(mapping_of(self.targets[0].options.get("stream_options")).get("include_usage"))

    @property
    def messages(self) -> Sequence[Mapping[str, Any]]:
        """The conversation, for what looks at messages; empty for other shapes."""
        return self.content if self.operation == "chat" else ()


def output_option(operation: str, options: Mapping[str, Any]) -> tuple[str | None, int | None]:
    """The name under which a bound of the answer is sent, and what the caller gave.

    Raises:
        BadAmount: the caller's number is not a whole number above zero.
    """
    names = _OUTPUT_NAMES[operation]
    for name in names:
        given = options.get(name)
        if given is not None:
            if type(given) is not int or given < 1:
                raise BadAmount(f"{name}={given!r}: give a whole number above zero.", amount=repr(given))
            return name, given
    return (names[-1] if names else None), None


def parse_call(
    operation: str,
    model: str,
    content: Any,
    options: Mapping[str, Any],
    *,
    refused: Mapping[str, str],
    enforce: bool = True,
) -> tuple[tuple[Target, ...], int | None, float]:
    """Take the guard's own options out of LiteLLM's: (targets, retries, timeout in seconds).

    `num_retries` and `max_retries` become attempts that are each reserved; `fallbacks` become further targets.

    Raises:
        UnsupportedOption: an option that would send requests behind the guard's back, by name, with the reason.
        SetupError: the prompt or an option has a shape that cannot be sent.
    """
    _check_options(options, refused)
    if enforce:
        _check_bounds(options)
    _check_content(operation, content)
    own = {name: value for name, value in options.items() if name not in _RETRIED_BY_US}
    targets = [Target(model, own)]
    for fallback in options.get("fallbacks") or ():
        if isinstance(fallback, str):
            targets.append(Target(fallback, own))
        elif isinstance(mapping_of(fallback).get("model"), str):
            _check_options(fallback, refused)
            theirs = {name: fallback[name] for name in fallback if name not in ("model", *_RETRIED_BY_US)}
            targets.append(Target(fallback["model"], {**own, **theirs}))
        else:
            raise SetupError(f'fallbacks={fallback!r}: give model names, or {{"model": ...}} with options.')
    return tuple(targets), _retries(options), _timeout_s(options.get("timeout"))


def _check_options(options: Mapping[str, Any], refused: Mapping[str, str]) -> None:
    """No option sends by itself; a fallback's own options neither."""
    for name in options:
        if name in refused and options[name] not in (None, False):
            raise UnsupportedOption(f"{name}= is not available through tokenguard: {refused[name]}", option=name)


def _check_bounds(options: Mapping[str, Any]) -> None:
    """Nothing may change the size of the answer behind the bound that was held for it."""
    hidden = [name for name in mapping_of(options.get("extra_body")) if name in _SIZES]
    hidden += [name for name in list_of(options.get("additional_drop_params")) if name in _SIZES]
    if hidden:
        raise UnsupportedOption(
            f"{hidden[0]} in extra_body= or additional_drop_params= would change the answer after its worst case "
            f"was held. Give {hidden[0]}= itself.",
            option=hidden[0],
        )
    if options.get("max_tokens") is not None and options.get("max_completion_tokens") is not None:
        raise UnsupportedOption(
            "max_tokens= and max_completion_tokens= name the same bound, and providers differ in which one they keep. "
            "Give one of them.",
            option="max_tokens",
        )


def _check_content(operation: str, content: Any) -> None:
    """The prompt has the shape its operation sends."""
    if operation == "chat" and not list_of(content):
        given = "an empty list" if content == [] else f"a {type(content).__name__}"
        raise SetupError(
            f'messages is {given}; give a list of at least one message, as in [{{"role": "user", "content": "…"}}].'
        )


def _retries(options: Mapping[str, Any]) -> int | None:
    for name in ("num_retries", "max_retries"):
        given = options.get(name)
        if given is not None:
            if type(given) is not int or given < 0:
                raise BadAmount(f"{name}={given!r}: give a whole number, 0 or more.", amount=repr(given))
            return given
    return None


def _timeout_s(timeout: Any) -> float:
    """Seconds of `timeout=`: a number, or an object with a `read` field as httpx has."""
    seconds = getattr(timeout, "read", timeout)
    if not isinstance(seconds, int | float) or not seconds > 0:
        return _DEFAULT_TIMEOUT_S
    return min(float(seconds), _LONGEST_TIMEOUT_S)
