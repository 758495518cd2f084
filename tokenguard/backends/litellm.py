"""The door to LiteLLM, the only module that imports it.

LiteLLM is loaded at the first call (it takes seconds), with its price map read from the installed package, because by
default it fetches prices from the network at import. Whatever it would send on its own account is switched off
underneath: one `send` is one request on the wire, so that every request was reserved before it left.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from tokenguard.backends import failures, replies
from tokenguard.backends.bounds import check_bound
from tokenguard.backends.once import forbid_resending, once
from tokenguard.backends.options import OWNED, PROVIDER_HINTS
from tokenguard.backends.streams import AsyncLiteLLMStream, LiteLLMStream
from tokenguard.core.clock import SystemClock
from tokenguard.errors import BackendError, UnsupportedOption

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from tokenguard.core.clock import Clock
    from tokenguard.core.ports import Failure, Part, Request

__all__ = ["LiteLLMBackend"]

_LOCAL_PRICES: Final = "LITELLM_LOCAL_MODEL_COST_MAP"
_FUNCTIONS: Final = {
    "chat": ("completion", "acompletion"),
    "responses": ("responses", "aresponses"),
    "embeddings": ("embedding", "aembedding"),
}


class _Never(int):
    """Zero that counts as given: LiteLLM's embeddings say `max_retries or 2`."""

    def __bool__(self) -> bool:
        return True


# `num_retries=0` alone lets the blocking functions fall back to the global `litellm.num_retries`; a policy does not.
_NO_RETRIES: Final[dict[str, Any]] = {"num_retries": 0, "max_retries": _Never(0), "retry_policy": {"DefaultRetries": 0}}
# The MCP gateway runs tools and asks the model again by itself, and 1.106 imports a package for it that a plain install
# does not have.
_NO_GATEWAY: Final[dict[str, Any]] = {"_skip_mcp_handler": True}


class LiteLLMBackend:
    """Sends through LiteLLM, one request per call; provider exceptions come out as LiteLLM raised them."""

    name = "litellm"

    def __init__(self, *, clock: Clock | None = None, enforce: bool = True) -> None:
        """Reach providers through LiteLLM.

        Args:
            clock: For `Retry-After` headers that name a date; the system's unless given.
            enforce: False for a guard that observes: a bound of the answer that LiteLLM drops is then no reason to
                refuse.
        """
        self._clock = clock or SystemClock()
        self._enforce = enforce

    def send(self, request: Request) -> Any:
        """Send, blocking.

        Returns:
            LiteLLM's reply object, or a `LiteLLMStream` of its chunks where `request.stream`.

        Raises:
            UnsupportedOption: `litellm.model_fallbacks` is set, which would send behind the guard's back; or
                `drop_params` would drop the bound of the answer.
            BackendError: an operation that this backend does not know.
            Exception: whatever LiteLLM raises, untouched.
        """
        function = self._function(request, blocking=True)
        with once():
            reply = function(model=request.model, **_arguments(request))
        return LiteLLMStream(reply) if request.stream and request.operation != "embeddings" else reply

    async def asend(self, request: Request) -> Any:
        """Send without blocking the loop; like `send`, with an `AsyncLiteLLMStream`."""
        function = self._function(request, blocking=False)
        with once():
            reply = await function(model=request.model, **_arguments(request))
        return AsyncLiteLLMStream(reply) if request.stream and request.operation != "embeddings" else reply

    def read(self, operation: str, reply: Any) -> Part:
        """What a reply or chunk says; usage that LiteLLM counted and costs that it computed are not reports."""
        return replies.read(operation, reply)

    def failure(self, error: BaseException, *, handling: BaseException | None = None) -> Failure:
        """Whether an error may have been billed and may be tried again."""
        return failures.failure(error, self._clock, handling)

    def close_stream(self, stream: Any) -> None:
        """Close the connection under a blocking stream; idempotent."""
        stream.close()

    async def aclose_stream(self, stream: Any) -> None:
        """Close the connection under an async stream; idempotent."""
        await stream.aclose()

    def identity(self, model: str, arguments: Mapping[str, Any]) -> tuple[str, str | None]:
        """The provider that LiteLLM will send to, such as `openai`, and the endpoint where the caller chose one.

        The provider is `unknown` where LiteLLM cannot say; such a call fails when it is sent, in LiteLLM's own words.
        """
        hints = tuple(arguments.get(name) for name in PROVIDER_HINTS)
        custom, api_base, base_url = (hint if isinstance(hint, str) else None for hint in hints)
        return _provider(model, custom, api_base, base_url), api_base or base_url

    def warm(self) -> None:
        """Import LiteLLM now rather than at the first call; takes seconds."""
        _litellm()

    def _function(self, request: Request, *, blocking: bool) -> Any:
        """What to call, once nothing stands against it."""
        function = _function(request.operation, blocking=blocking)
        if self._enforce:
            check_bound(request, _litellm())
        return function


@lru_cache(maxsize=1)
def _litellm() -> ModuleType:
    """Import LiteLLM once, offline, and shut the doors through which it sends twice."""
    os.environ.setdefault(_LOCAL_PRICES, "True")
    module = importlib.import_module("litellm")
    forbid_resending(importlib.import_module("litellm.llms.custom_httpx.http_handler").AsyncHTTPHandler)
    if importlib.util.find_spec("mcp") is None:
        _do_without_mcp()
    return module


def _do_without_mcp() -> None:
    """Let the responses API work in a plain install: 1.106 imports `mcp` to find that no tool needs its gateway."""
    main = importlib.import_module("litellm.responses.main")

    def no_gateway(**_: Any) -> None:
        return None

    main.__dict__["_responses_try_dispatch_mcp_gateway"] = no_gateway


def _function(operation: str, *, blocking: bool) -> Any:
    names = _FUNCTIONS.get(operation)
    if names is None:
        raise BackendError(
            f"LiteLLM has no operation {operation!r} that tokenguard can price. Known: {', '.join(_FUNCTIONS)}.",
            operation=operation,
        )
    module = _litellm()
    if module.model_fallbacks is not None:
        raise UnsupportedOption(
            "litellm.model_fallbacks is set: LiteLLM would send to other models without asking the guard. "
            "Set it to None and pass fallbacks=[...] to the guarded call instead.",
            option="model_fallbacks",
        )
    return getattr(module, names[0 if blocking else 1])


def _arguments(request: Request) -> dict[str, Any]:
    """The caller's arguments, with everything that repeats a request taken out or set to none."""
    arguments = {name: value for name, value in request.arguments.items() if name not in OWNED}
    arguments |= _NO_RETRIES
    arguments |= _NO_GATEWAY
    client: Any = arguments.get("client")
    if getattr(client, "max_retries", 0):
        # A caller's own OpenAI client retries by itself, whatever LiteLLM is told; its connections are shared, not
        # copied.
        arguments["client"] = client.with_options(max_retries=0)
    return arguments


@lru_cache(maxsize=1024)
def _provider(model: str, custom: str | None, api_base: str | None, base_url: str | None) -> str:
    if custom:
        return custom
    try:
        found = _litellm().get_llm_provider(model=model, api_base=api_base or base_url)
    except Exception:  # noqa: BLE001  # the send itself will say it better; a name is all that is lost
        return "unknown"
    return str(found[1])
