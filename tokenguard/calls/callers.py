"""From what a caller wrote to a `Call`, where the caller stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokenguard.calls.call import Call, Target
from tokenguard.core.untrusted import list_of

if TYPE_CHECKING:
    from tokenguard.calls.parts import Parts
    from tokenguard.calls.scope import Frame

__all__ = ["call_in"]


def call_in(
    frame: Frame,
    operation: str,
    content: Any,
    targets: tuple[Target, ...],
    *,
    parts: Parts,
    opened_by: object,
    prompt_id: str | None = None,
) -> Call:
    """A call made in a frame, by a task or thread; a prompt with an id of its own is structured, and answered whole."""
    return Call(
        id=parts.ids.new(),
        operation=operation,
        # A snapshot: the caller may append to the list while the call is under way.
        content=list(list_of(content)) or content,
        targets=targets,
        node=frame.node,
        scope=frame.scope,
        path=frame.path,
        began_s=parts.clock.monotonic(),
        opened_by=opened_by,
        ladder=frame.ladder,
        prompt_id=prompt_id,
        whole=prompt_id is not None,
    )
