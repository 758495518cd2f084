"""The ways a request can take through LiteLLM: operation, HTTP client, streamed or whole, blocking or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tokenguard.core.ports import Request

INPUTS: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "hello there"}]},
    "responses": {"input": "hello there"},
    "embeddings": {"input": ["hello there"]},
}


@dataclass(frozen=True)
class Way:
    """One of the ways a request can take through LiteLLM."""

    operation: str
    model: str
    stream: bool
    asynchronous: bool

    def __str__(self) -> str:
        provider = self.model.partition("/")[0]
        kind = "stream" if self.stream else "whole"
        return f"{self.operation}-{provider}-{kind}-{'async' if self.asynchronous else 'blocking'}"

    def request(self, url: str, **options: Any) -> Request:
        """The request that goes this way to `url`."""
        streamed = {"stream": True} if self.stream else {}
        return Request(
            self.operation,
            self.model,
            {**INPUTS[self.operation], "api_base": url, "api_key": "none", **streamed, **options},
        )


WAYS = tuple(
    Way(operation, model, stream, asynchronous)
    for operation, model in (
        ("chat", "openai/gpt-4o"),
        ("chat", "hosted_vllm/some-model"),
        ("responses", "openai/gpt-4o"),
        ("embeddings", "openai/text-embedding-3-small"),
        ("embeddings", "hosted_vllm/some-model"),
    )
    for stream in ((False, True) if operation != "embeddings" else (False,))
    for asynchronous in (False, True)
)
