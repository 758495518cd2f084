"""What the benchmarks of calls share: a model server in another process, prices, a backend that answers at once."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tokenguard.core.ports import Failure, Part, Request

MODEL = "openai/bench"
PRICES: dict[str, Any] = {
    "prices": {MODEL: {"input": "1", "output": "2", "output_tokens_max": 4_096, "context_tokens": 1_000_000}}
}
COMPLETION_TOKENS = 20


class Server:
    """A running model server: its `api_base` and its counters."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def arrived(self) -> int:
        """How many model requests arrived up to now."""
        with urllib.request.urlopen(f"{self.url}/stats", timeout=10) as answer:
            return int(json.load(answer)["requests"])


@contextmanager
def model_server(*options: str, completion_tokens: int = COMPLETION_TOKENS) -> Iterator[Server]:
    """The model server in a process of its own, so that its work is nobody's overhead."""
    command = [sys.executable, "-m", "tokenguard.testing.model_server", "--port", "0"]
    command += ["--completion-tokens", str(completion_tokens), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Server(process.stdout.readline().strip())
        finally:
            process.terminate()


def question(text: str) -> list[dict[str, str]]:
    """A short conversation; the loop rules look at it, so texts differ."""
    return [{"role": "system", "content": "You are brief."}, {"role": "user", "content": text}]


class Reply:
    """The least that a reply is: it says what was used, and can carry a receipt."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._hidden_params: dict[str, Any] = {}


class NoModel:
    """A backend that answers at once, so that only the guard is measured. Answers differ, so that no loop is found."""

    name = "none"

    def warm(self) -> None:
        """Nothing is to be loaded."""

    def send(self, request: Request) -> Reply:
        return Reply(f"answer to {request.arguments['messages'][-1]['content'][:40]}")

    async def asend(self, request: Request) -> Reply:
        return self.send(request)

    def read(self, operation: str, reply: Reply) -> Part:
        del operation
        usage = {"prompt_tokens": 20, "completion_tokens": COMPLETION_TOKENS, "total_tokens": 20 + COMPLETION_TOKENS}
        return Part(
            usage=usage,
            text=reply.text,
            model="bench",
            response_id="1",
            finish_reason="stop",
            reply={"role": "assistant", "content": reply.text},
        )

    def identity(self, model: str, arguments: Mapping[str, Any]) -> tuple[str, str | None]:
        del model, arguments
        return "openai", None

    def failure(self, error: BaseException, *, handling: BaseException | None = None) -> Failure:
        del handling
        return Failure(billed=True, retryable=False, error_class=type(error).__name__)

    def close_stream(self, stream: Any) -> None:
        del stream

    async def aclose_stream(self, stream: Any) -> None:
        del stream
