"""Cache breakpoints on what is sent, for providers that need them, where the conversation will come back.

Marks are set per attempt, because a fallback may be a provider that refuses them, and on the messages that are sent
only: the counter reads them without, so that a mark which moves on to the newest message changes no conversation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from tokenguard.core import events
from tokenguard.core.folding import Level
from tokenguard.core.marks import dearest_life
from tokenguard.core.untrusted import field_of
from tokenguard.prompt.economy import cache_prices, mark

if TYPE_CHECKING:
    from tokenguard.calls.call import Call, Target
    from tokenguard.calls.parts import Parts
    from tokenguard.core.counter import Prompt
    from tokenguard.core.price import PriceCard

__all__ = ["marked"]

_OWN_MARKS: Final = ("cache_control_injection_points", "cache_control")
"""Options by which a caller marks by themselves."""
_READS_PERMILLE: Final = 1_000
"""A conversation that goes on is read at least once more."""


def marked(call: Call, target: Target, card: PriceCard | None, prompt: Prompt, parts: Parts) -> tuple[Any, Prompt]:
    """The content with cache marks, and what the counter says of it with their price.

    Args:
        call: Whose content it is.
        target: Who is asked.
        card: Its price; None: unknown, and nothing is marked.
        prompt: As the counter read the content.
        parts: The guard's.
    """
    folder = parts.folder
    if (
        folder is None
        or card is None
        or not parts.enforce
        or call.operation != "chat"
        or not folder.folding.does("mark", Level.COMPACT)
        or prompt.cache_life is not None
        or any(name in target.options for name in _OWN_MARKS)
    ):
        return call.content, prompt
    prices = cache_prices(card)
    if prices.dialect is None or not _comes_back(call, target):
        return call.content, prompt
    try:
        sizes = parts.sizes.of(target.model, call.messages)
        done = mark(call.messages, sizes, prices.at(sum(sizes)), reuses_permille=_READS_PERMILLE)
    except Exception as fault:  # noqa: BLE001  # the prompt goes without marks
        run_id = call.node.run.id if call.node else None
        parts.emit(events.Fault(at=parts.clock.now(), run_id=run_id, where="prompt.mark", error=fault))
        return call.content, prompt
    if not done.places:
        return call.content, prompt
    return done.messages, replace(prompt, cache_life=dearest_life((prompt.cache_life, "5m")))


def _comes_back(call: Call, target: Target) -> bool:
    """Whether this prompt will be sent again with more behind it: somebody has answered, or tools are on."""
    if call.node is None:
        return False
    if target.options.get("tools"):
        return True
    return any(field_of(one, "role") == "assistant" for one in call.messages)
