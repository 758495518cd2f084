"""What a call's options alone decide about its price and its size, read once for every distinct set of options.

Agents send the same options for hours, tools included, so what was read is remembered by what they say. Only the
options named here are looked at; all others neither cost anything nor make a set distinct.
"""

from __future__ import annotations

import marshal
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

from tokenguard.core.marks import cache_life, dearest_life
from tokenguard.core.untrusted import list_of, mapping_of
from tokenguard.errors import BadAmount, UnsupportedOption

__all__ = ["OUTPUT_FLOOR", "HostedTool", "KnownTerms", "Terms"]

OUTPUT_FLOOR: Final = 256
"""Fewer output tokens than this are not worth asking for, unless the caller did."""
_DEFAULT_TIMEOUT_S: Final = 600.0
_LONGEST_TIMEOUT_S: Final = 7 * 24 * 60 * 60.0
"""A lease ends some day, even where a caller would wait forever (`timeout=inf`)."""
_REMEMBERED_MAX: Final = 256
_OWN_TOOLS: Final = (None, "function", "custom")
"""Types of tools that the caller runs; all others run, and are billed, at the provider."""
_OWN_KEYS: Final = frozenset(
    {"custom", "function", "functionDeclarations", "function_declarations", "name", "toolSpec"}
)
"""Keys of tools that the caller runs; Gemini's hosted ones have a key of their own and often no type."""
_DATED: Final = re.compile(r"_\d{8}$")
_RESPONSES_OUTPUT_FLOOR: Final = 16
_OUTPUT_NAMES: Final = {
    "chat": ("max_completion_tokens", "max_tokens"),
    "responses": ("max_output_tokens",),
}
_SIZES: Final = frozenset(
    {"max_tokens", "max_completion_tokens", "max_output_tokens", "n", "best_of", "stream_options"}
)
"""Options that decide how large an answer may be."""
_READ: Final = _SIZES | {
    "additional_drop_params",
    "audio",
    "cache_control_injection_points",
    "extra_body",
    "functions",
    "inference_geo",
    "max_retries",
    "max_tool_calls",
    "modalities",
    "num_retries",
    "response_format",
    "service_tier",
    "speed",
    "stream",
    "text_format",
    "thinking",
    "timeout",
    "tools",
    "vertex_location",
    "web_search_options",
}
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_WHOLE: Final = frozenset({list, dict, tuple})

Options: TypeAlias = Mapping[str, Any]


class HostedTool(NamedTuple):
    """A tool that runs at the provider, as a request asks for it."""

    kind: str
    """Its type, or the key that Gemini knows it by; `web_search_options` for that option."""
    uses_max: int | None
    """Above 0; None: it does not say."""
    search_size: str | None
    """`search_context_size`; None: it does not say."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the options of one target decide."""

    stream: bool
    usage_asked: bool
    """Whether the caller wants the stream's usage chunk handed out."""
    retries: int | None
    """None: the guard's default."""
    timeout_s: float
    schemas: str
    """What is billed as prompt besides the messages (tools, functions, answer schemas), as the counter counts it."""
    output_name: str | None
    """The option under which a bound of the answer is sent."""
    output_given: int | None
    """What the caller gave there."""
    output_min: int
    """The fewest output tokens worth sending for: thinking comes on top, and a structured answer is never cut."""
    answers: int
    """`n`, at least 1; providers that take `best_of` bill every candidate."""
    tier: str | None
    """The name of the card's table that the request asks for: a service tier, a fast mode, or a place."""
    audio: bool
    image: bool
    """Whether the answer may carry sound or pictures."""
    cache_life: str | None
    """The dearest cache write that marks outside the messages can cause: `1h`, `5m` or None."""
    hosted: tuple[HostedTool, ...]
    tool_calls_max: int | None
    """Of all hosted tools together, which OpenAI's responses API keeps. Above 0; None: not said."""


class KnownTerms:
    """Terms by what the options say; forgets all of them when there are too many. Safe to use from any thread."""

    def __init__(self, *, refused: Mapping[str, str], enforce: bool, written: Callable[[Any], str]) -> None:
        """Begin without any.

        Args:
            refused: Options that would send requests behind the guard's back, with the reason.
            enforce: Whether options that undo the bound of an answer are refused too.
            written: `core.ports.TokenCounter.written`.
        """
        self._refused = refused
        self._enforce = enforce
        self._written = written
        self._names = _READ | refused.keys()
        self._known: dict[tuple[Any, ...], Terms] = {}

    def of(self, operation: str, options: Options) -> Terms:
        """The terms of one target.

        Raises:
            UnsupportedOption: an option that would send requests behind the guard's back, by name, with the reason.
            BadAmount: a size or a number of retries that cannot be meant.
            SetupError: tools that cannot be written as JSON.
        """
        relevant = {name: value for name, value in options.items() if name in self._names}
        key = _key(operation, relevant)
        known = None if key is None else self._known.get(key)
        if known is None:
            known = self._read(operation, relevant)
            if key is not None:
                if len(self._known) >= _REMEMBERED_MAX:
                    self._known.clear()
                self._known[key] = known
        return known

    def _read(self, operation: str, options: Options) -> Terms:
        _check_refused(options, self._refused)
        if self._enforce:
            _check_bounds(options)
        name, given = _output_option(operation, options)
        return Terms(
            stream=bool(options.get("stream")),
            usage_asked=bool(mapping_of(options.get("stream_options")).get("include_usage")),
            retries=_retries(options),
            timeout_s=_timeout_s(options.get("timeout")),
            schemas=self._written(schemas) if (schemas := _schemas(options)) else "",
            output_name=name,
            output_given=given,
            output_min=_output_min(options, given),
            answers=_answers(options),
            tier=_asked_tier(options),
            audio=_wants(options, "audio"),
            image=_wants(options, "image"),
            cache_life=_cache_life(options),
            hosted=tuple(_hosted(options)),
            tool_calls_max=_positive(options.get("max_tool_calls")) if operation == "responses" else None,
        )


def _key(operation: str, options: Options) -> tuple[Any, ...] | None:
    """What tells one set of options from another, types included; None where an option cannot be told."""
    key: list[Any] = [operation]
    for name, value in options.items():
        kind: type[Any] = type(value)  # pyright: ignore[reportUnknownVariableType]  # an option may be anything
        if kind in _PLAIN or isinstance(value, type):
            key += (name, kind, value)
        elif kind in _WHOLE:
            try:
                key += (name, kind, marshal.dumps(value, 2))
            except ValueError:  # It holds something else, or itself.
                return None
        else:
            return None
    return tuple(key)


def _check_refused(options: Options, refused: Mapping[str, str]) -> None:
    """No option sends by itself; a fallback's own options neither."""
    for name in options:
        if name in refused and options[name] not in (None, False):
            raise UnsupportedOption(f"{name}= is not available through tokenguard: {refused[name]}", option=name)


def _check_bounds(options: Options) -> None:
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


def _retries(options: Options) -> int | None:
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


def _schemas(options: Options) -> list[Any]:
    """Everything besides the messages that is billed as prompt: tools, functions, answer schemas."""
    answer = options.get("response_format") or options.get("text_format")
    if isinstance(answer, type):
        schema = getattr(answer, "model_json_schema", None)
        answer = schema() if schema else repr(answer)
    return [extra for extra in (options.get("tools"), options.get("functions"), answer) if extra]


def _output_option(operation: str, options: Options) -> tuple[str | None, int | None]:
    """The name under which a bound of the answer is sent, and what the caller gave."""
    names = _OUTPUT_NAMES.get(operation, ())
    for name in names:
        given = options.get(name)
        if given is not None:
            if type(given) is not int or given < 1:
                raise BadAmount(f"{name}={given!r}: give a whole number above zero.", amount=repr(given))
            # OpenAI's responses API refuses less than 16, so LiteLLM sends 16 to every provider that it treats alike.
            return name, max(given, _RESPONSES_OUTPUT_FLOOR) if operation == "responses" else given
    return (names[-1] if names else None), None


def _output_min(options: Options, given: int | None) -> int:
    if given is not None and (options.get("response_format") or options.get("text_format")):
        return given
    budget = mapping_of(options.get("thinking")).get("budget_tokens")
    return OUTPUT_FLOOR + (budget if type(budget) is int else 0)


def _answers(options: Options) -> int:
    counts = [value for value in (options.get("n"), options.get("best_of")) if type(value) is int]
    return max([1, *counts])


def _asked_tier(options: Options) -> str | None:
    tier = options.get("service_tier")
    if isinstance(tier, str) and tier not in ("", "auto", "default", "standard"):
        return tier
    if options.get("speed") == "fast":
        return "fast"
    place = options.get("inference_geo")
    if isinstance(place, str) and place and place != "global":
        return f"geo-{place.lower()}"
    location = options.get("vertex_location")
    return "geo-regional" if isinstance(location, str) and location not in ("", "global") else None


def _wants(options: Options, modality: str) -> bool:
    return modality in (options.get("modalities") or ()) or (modality == "audio" and bool(options.get("audio")))


def _cache_life(options: Options) -> str | None:
    found = "5m" if options.get("cache_control_injection_points") else None
    return dearest_life([found, *map(cache_life, list_of(options.get("tools")))])


def _hosted(options: Options) -> Iterator[HostedTool]:
    for tool in map(mapping_of, list_of(options.get("tools"))):
        kind = _hosted_kind(tool)
        if kind is not None:
            # Anthropic's tools, whose types end in a date, keep `max_uses`; from others LiteLLM drops it unsaid.
            uses = _positive(tool.get("max_uses")) if _DATED.search(kind) else None
            yield HostedTool(kind, uses, _size(tool))
    searching = options.get("web_search_options")
    if searching is not None:  # `{}` switches the search on.
        yield HostedTool("web_search_options", None, _size(mapping_of(searching)))


def _hosted_kind(tool: Mapping[str, Any]) -> str | None:
    """What a tool is called at the provider that runs it; None: the caller runs it."""
    kind = tool.get("type")
    if kind not in _OWN_TOOLS:
        return str(kind)
    return None if _OWN_KEYS & tool.keys() else next((key for key in tool if key != "type"), None)


def _size(asked: Mapping[str, Any]) -> str | None:
    size = asked.get("search_context_size")
    return size if isinstance(size, str) else None


def _positive(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None
