"""A guard for tests: a script instead of providers, books in memory, a clock that stands still, ids that count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tokenguard.backends.scripted import Scripted, ScriptedBackend
from tokenguard.core.ports import Request
from tokenguard.guard import Guard
from tokenguard.testing.clock import FakeClock
from tokenguard.testing.ids import CountingIds

__all__ = ["scripted_guard"]


def scripted_guard(replies: Sequence[Scripted] | Callable[[Request], Any], **arguments: Any) -> Guard:
    """A guard whose calls are answered from a list, without network, files or waiting.

    Args:
        replies: Texts or `ScriptedReply` in order, or a function of the request.
        arguments: Any of `Guard`'s; `database` is `"memory"`, `clock` a `FakeClock` and `ids` are `CountingIds` unless
            given.

    Raises:
        BackendError: at a call for which the script has no reply left.
    """
    arguments.setdefault("database", "memory")
    arguments.setdefault("clock", FakeClock())
    alone = arguments["database"] == "memory" and arguments.get("ledger") is None
    arguments.setdefault("ids", CountingIds(shared=not alone))
    return Guard(backend=ScriptedBackend(replies), **arguments)
