"""Cache breakpoints on what is sent, for providers that need them, where the conversation will come back.

Marks are set per attempt, because a fallback may be a provider that refuses them, and on the messages that are sent
only: the counter reads them without, so that a mark which moves on to the newest message changes no conversation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from tokenguard.calls.fold_keeping import state_of
from tokenguard.core import events
from tokenguard.core.folding import Level
from tokenguard.core.marks import dearest_life
from tokenguard.core.untrusted import field_of, list_of
from tokenguard.prompt.economy import cache_prices, forecast, hour_pays, mark, marking_pays

if TYPE_CHECKING:
    from tokenguard.calls.call import Call, Target
    from tokenguard.calls.parts import Parts
    from tokenguard.core.counter import Prompt
    from tokenguard.core.price import PriceCard
    from tokenguard.prompt.economy import CachePrices, Life
    from tokenguard.prompt.state import Conversation

__all__ = ["is_hour_gap", "marked"]

_OWN_MARKS: Final = ("cache_control_injection_points", "cache_control")
"""Options by which a caller marks by themselves."""
_HOUR_S: Final = 3_600
_WHOLE: Final = 1_000


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
        prices, total = prices.at(sum(sizes)), sum(sizes)
        talk = state_of(call, parts).conversation(list_of(call.given))
        talk.life = life = _life(talk, prices, total, parts.clock.monotonic() - talk.sent_s)
        done = mark(call.messages, sizes, prices, reuses_permille=_reads_permille(talk), life=life)
    except Exception as fault:  # noqa: BLE001  # the prompt goes without marks
        run_id = call.node.run.id if call.node else None
        parts.emit(events.Fault(at=parts.clock.now(), run_id=run_id, where="prompt.mark", error=fault))
        return call.content, prompt
    if not done.places:
        return call.content, prompt
    return done.messages, replace(prompt, cache_life=dearest_life((prompt.cache_life, life)))


def _comes_back(call: Call, target: Target) -> bool:
    """Whether this prompt will be sent again with more behind it: somebody has answered, or tools are on."""
    if call.node is None:
        return False
    if target.options.get("tools"):
        return True
    return any(field_of(one, "role") == "assistant" for one in call.messages)


def is_hour_gap(idle_s: float, prices: CachePrices) -> bool:
    """Whether a pause is one that only a life of an hour outlives."""
    return prices.life_s is not None and prices.life_s < idle_s <= _HOUR_S


def _life(talk: Conversation, prices: CachePrices, total: int, idle_s: float) -> Life:
    """An hour for a conversation whose calls keep coming minutes apart, by the pauses that it made (formula 11).

    It changes only behind a pause that the cache did not outlive: what is warm is not written again for another life.
    """
    if not talk.calls or prices.life_s is None or idle_s <= prices.life_s:
        return talk.life
    # One turn more than were seen, so that a single pause does not speak for all.
    gaps_permille = _WHOLE * (talk.hour_gaps + is_hour_gap(idle_s, prices)) // (talk.calls + 1)
    growth = total // (talk.calls + 1)
    pays = hour_pays(prices, hour_gaps_permille=gaps_permille, growth=growth, prefix=total - growth)
    return "1h" if pays and marking_pays(prices.hourly(), _reads_permille(talk)) else "5m"


def _reads_permille(talk: Conversation) -> int:
    """How often what is written now will be read: once at least, because the conversation goes on."""
    return _WHOLE * max(1, forecast(talk.calls + 1) - 1)
