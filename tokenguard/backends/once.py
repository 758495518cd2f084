"""One send is one request: LiteLLM's async HTTP client is kept from sending again when a connection broke.

It repeats a POST after `RemoteProtocolError` or `ConnectError`, though the provider may have billed the first one. Only
calls of our backend are changed; LiteLLM used directly behaves as always.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["forbid_resending", "once"]

_sending: ContextVar[bool] = ContextVar("tokenguard_sending", default=False)


@contextmanager
def once() -> Generator[None]:
    """In this block a broken connection stays broken."""
    token = _sending.set(True)
    try:
        yield
    finally:
        _sending.reset(token)


def forbid_resending(handler: Any) -> None:
    """Change LiteLLM's `AsyncHTTPHandler`: inside `once`, what it does to send again raises what broke instead."""
    again = handler.single_connection_post_request

    async def single_connection_post_request(self: Any, *args: Any, **kwargs: Any) -> Any:
        broken = sys.exc_info()[1]
        if _sending.get() and broken is not None:
            raise broken
        return await again(self, *args, **kwargs)

    handler.single_connection_post_request = single_connection_post_request
