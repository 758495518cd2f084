"""What a reply comes to for one request: which words, how many tokens, how it ends, what usage says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice, pairwise
from typing import Any

from tokenguard.testing.model_server.requests import RecordedRequest, words
from tokenguard.testing.model_server.script import Reply, ToolCall

__all__ = ["Answer", "endless_words", "write"]

# Ordinary words that are one token each in common tokenizers. They vary, because LiteLLM breaks a stream off that
# sends the same chunk a hundred times in a row.
_FILLER = (
    *("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog"),
    *("and", "then", "it", "runs", "back", "home", "for", "tea"),
)
_DEFAULT_TOKENS = 16
_WORDS = re.compile(r"\s*\S+(?:\s+\Z)?|\s+\Z")


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes out: one text for each of n answers, how it ends, and the tokens it counts for."""

    text: str
    answers: int
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    """Of all n answers, reasoning included."""
    reasoning_tokens: int
    reply: Reply

    @property
    def pieces(self) -> list[str]:
        """The text as a stream delivers it; joined, they are the text."""
        parts = _split(self.text)
        if self.reply.chunks is None or not parts:
            return parts
        count = max(1, self.reply.chunks)
        edges = [round(at * len(parts) / count) for at in range(count + 1)]
        return ["".join(parts[start:end]) for start, end in pairwise(edges)]

    def chat_usage(self) -> dict[str, Any]:
        """The usage object of chat completions."""
        if self.reply.usage is not None:
            return dict(self.reply.usage)
        usage: dict[str, Any] = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.reply.cached_tokens, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning_tokens, "audio_tokens": 0},
        }
        if self.reply.cache_write_tokens:
            usage["prompt_tokens_details"]["cache_write_tokens"] = self.reply.cache_write_tokens
        return self._with_cost(usage)

    def responses_usage(self) -> dict[str, Any]:
        """The usage object of the responses API."""
        if self.reply.usage is not None:
            return dict(self.reply.usage)
        return self._with_cost(
            {
                "input_tokens": self.prompt_tokens,
                "input_tokens_details": {
                    "cached_tokens": self.reply.cached_tokens,
                    "cache_write_tokens": self.reply.cache_write_tokens,
                },
                "output_tokens": self.completion_tokens,
                "output_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
                "total_tokens": self.prompt_tokens + self.completion_tokens,
            }
        )

    def embedding_usage(self) -> dict[str, Any]:
        """The usage object of embeddings."""
        if self.reply.usage is not None:
            return dict(self.reply.usage)
        return self._with_cost({"prompt_tokens": self.prompt_tokens, "total_tokens": self.prompt_tokens})

    def _with_cost(self, usage: dict[str, Any]) -> dict[str, Any]:
        if self.reply.cost_usd is not None:
            # JSON has no decimals: providers that state a cost send a number.
            usage["cost"] = float(self.reply.cost_usd)
        return usage


def write(request: RecordedRequest, reply: Reply) -> Answer:
    """Write the answer to a request, within the maximum that it sets."""
    limit = request.output_max
    tool_tokens = sum(words(call.arguments) + 1 for call in reply.tool_calls)
    wanted = _wanted(reply, limit, tool_tokens)
    written = wanted if limit is None else min(wanted, limit)
    reasoning = min(reply.reasoning_tokens + words(reply.reasoning), written)
    visible = max(0, written - reasoning - tool_tokens)
    natural = "length" if written < wanted else "tool_calls" if reply.tool_calls else "stop"
    return Answer(
        text=_cut(reply.text, visible) if reply.text else " ".join(islice(endless_words(), visible)),
        answers=request.answers,
        tool_calls=tuple(reply.tool_calls) if natural != "length" else (),
        finish_reason=reply.finish_reason or natural,
        prompt_tokens=request.prompt_tokens if reply.prompt_tokens is None else reply.prompt_tokens,
        completion_tokens=written * request.answers,
        reasoning_tokens=reasoning * request.answers,
        reply=reply,
    )


def endless_words() -> Iterator[str]:
    """Filler, one token each, for ever."""
    return cycle(_FILLER)


def _wanted(reply: Reply, limit: int | None, tool_tokens: int) -> int:
    """How many tokens the model would write if nobody stopped it."""
    if reply.completion_tokens is not None:
        return reply.completion_tokens
    if reply.share_of_max is not None and limit is not None:
        return int(limit * reply.share_of_max)
    hidden = reply.reasoning_tokens + words(reply.reasoning) + tool_tokens
    if reply.text:
        return words(reply.text) + hidden
    return hidden if reply.tool_calls else _DEFAULT_TOKENS + hidden


def _cut(text: str, count: int) -> str:
    """The first `count` words of a text, as they stand in it; all of it where it is not longer."""
    parts = _split(text)
    return text if words(text) <= count else "".join(parts[:count])


def _split(text: str) -> list[str]:
    """A text word by word with the blanks before each; joined, they are the text."""
    return _WORDS.findall(text)
