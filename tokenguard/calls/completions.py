"""The part of a guard that calls models: LiteLLM's functions by their own names, with its arguments and its replies."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tokenguard.calls.call import targets_of
from tokenguard.calls.callers import call_in
from tokenguard.calls.drive import adrive, drive
from tokenguard.calls.flow import Opened, guarded
from tokenguard.calls.iterate import AsyncStream, Stream
from tokenguard.errors import SetupError
from tokenguard.routing.route import Routing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokenguard.calls.call import Call
    from tokenguard.calls.home import Home
    from tokenguard.calls.parts import LateParts, Parts

__all__ = ["Calls"]


class Calls:
    """The part of a guard that calls models."""

    _late: LateParts
    _home: Home
    _closed: bool

    def completion(self, model: str, messages: Sequence[Any], **options: Any) -> Any:
        """`litellm.completion`, guarded: the same arguments, the same reply or stream, with its receipt.

        Raises:
            SpendStopped: the scope is closed; nothing was sent.
            SpendRefused: this call was not sent; the run lives.
            LedgerUnavailable: the books cannot answer; nothing was sent.
            Exception: whatever the provider raised, untouched, with a note about the money.
        """
        return self._call("chat", model, messages, options)

    async def acompletion(self, model: str, messages: Sequence[Any], **options: Any) -> Any:
        """`litellm.acompletion`, guarded; see `completion`."""
        return await self._acall("chat", model, messages, options)

    def responses(self, model: str, input: Any, **options: Any) -> Any:  # noqa: A002  # LiteLLM's own name
        """`litellm.responses`, guarded; see `completion`."""
        return self._call("responses", model, input, options)

    async def aresponses(self, model: str, input: Any, **options: Any) -> Any:  # noqa: A002  # LiteLLM's own name
        """`litellm.aresponses`, guarded; see `completion`."""
        return await self._acall("responses", model, input, options)

    def embedding(self, model: str, input: Any, **options: Any) -> Any:  # noqa: A002  # LiteLLM's own name
        """`litellm.embedding`, guarded; see `completion`."""
        return self._call("embeddings", model, input, options)

    async def aembedding(self, model: str, input: Any, **options: Any) -> Any:  # noqa: A002  # LiteLLM's own name
        """`litellm.aembedding`, guarded; see `completion`."""
        return await self._acall("embeddings", model, input, options)

    def _call(
        self, operation: str, model: str, content: Any, options: Mapping[str, Any], *, prompt_id: str | None = None
    ) -> Any:
        parts = self._late.get()
        here = threading.get_ident()
        call = self._parse(operation, model, content, options, parts=parts, opened_by=here, prompt_id=prompt_id)
        reply = drive(guarded(call, parts), parts)
        return Stream(reply, parts) if isinstance(reply, Opened) else reply

    async def _acall(
        self, operation: str, model: str, content: Any, options: Mapping[str, Any], *, prompt_id: str | None = None
    ) -> Any:
        parts = await self._late.aget()
        here = asyncio.current_task()
        call = self._parse(operation, model, content, options, parts=parts, opened_by=here, prompt_id=prompt_id)
        reply = await adrive(guarded(call, parts), parts, heavy=parts.counter.is_heavy(call.content))
        return AsyncStream(reply, parts) if isinstance(reply, Opened) else reply

    def _parse(
        self,
        operation: str,
        model: str,
        content: Any,
        options: Mapping[str, Any],
        *,
        parts: Parts,
        opened_by: object,
        prompt_id: str | None = None,
    ) -> Call:
        if self._closed:
            raise SetupError("this guard was closed; make a new one.")
        routing = options.get("routing")
        if routing is not None:
            options = {name: value for name, value in options.items() if name != "routing"}
            if not isinstance(routing, Routing):
                raise SetupError(f"routing={routing!r}: give Routing(private=..., tier=..., deadline_s=...).")
        targets = targets_of(operation, model, content, options, parts.terms)
        paying = self._home.paying(model)
        call = call_in(paying, operation, content, targets, parts=parts, opened_by=opened_by, prompt_id=prompt_id)
        return call if routing is None else replace(call, routing=routing)
