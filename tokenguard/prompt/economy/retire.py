"""Old tool results give way to stubs, where the gate says that it pays: the one stage that changes sent bytes.

Reversible: the caller keeps the originals and hands in the marker that names each. One decision changes everything
from the first retired result on, in one break of the cache; until the next decision every byte stays. What was decided
is in the state, which is plain JSON, so that another process goes on with the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from tokenguard.core.untrusted import mapping_of
from tokenguard.prompt.economy.gate import EXTRA_STEPS_PERMILLE, Candidate, Cut, Outlook, best_cut
from tokenguard.prompt.economy.stubs import identifiers, stub

if TYPE_CHECKING:
    from tokenguard.prompt.economy.prices import CachePrices

__all__ = ["KEEP_RESULTS", "Block", "Retired", "retire"]

KEEP_RESULTS: Final = 5
"""Newest results that are never retired, at least."""

_SMALLEST: Final = 100
"""Tokens below which a result is not worth a stub."""


@dataclass(frozen=True, slots=True)
class Block:
    """One message of a prompt as this stage sees it.

    Attributes:
        tokens: Of it, as it would be sent without retiring, >= 0.
        key: Names a tool result for good and no other one of the conversation, such as the id of its call; None: the
            block may not be retired.
        text: What it says, as it would be sent; of blocks without a key only for the names that they show.
    """

    tokens: int
    key: str | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Retired:
    """Which results give way, by which stubs.

    Attributes:
        stubs: Every stub in force by key, earlier decisions included.
        state: The same and what it cost, as JSON; hand it in with the next request of the run.
        cut: The break that this request makes; None: it changes no sent byte.
    """

    stubs: Mapping[str, str]
    state: dict[str, Any]
    cut: Cut | None = None


def retire(
    blocks: Sequence[Block],
    *,
    sent: int,
    prices: CachePrices,
    outlook: Outlook,
    count: Callable[[str], int],
    marker: Callable[[str], str],
    state: Mapping[str, Any] | None = None,
    keep: int = KEEP_RESULTS,
    step_pico: int = 0,
    extra_steps_permille: int = EXTRA_STEPS_PERMILLE,
    before: int = 0,
) -> Retired:
    """Decide once per request which old results give way.

    Args:
        blocks: All messages in order, each as it would be sent without this stage.
        sent: How many of them the last request of this run had, 0..len(blocks); only those are in the cache.
        prices: Of the card in force; nothing new is decided where they are not known.
        outlook: The forecast.
        count: Tokens of a text.
        marker: The text that names a result's original in the store, by its key.
        state: As the last decision of this run left it; None at first. One of another shape counts as none.
        keep: Newest results that stay; below 5 is 5.
        step_pico: Mean cost of a step, in pico-USD: with it, lost information costs extra steps (formula 6). 0: none.
        extra_steps_permille: See `gate.behaviour_pico`.
        before: Tokens of the prompt before the first block, such as tool definitions.
    """
    stubs, sizes = _decided(state)
    kept = Retired(stubs, _state(stubs, sizes))
    old = _retirable(blocks, sent, max(keep, KEEP_RESULTS), stubs)
    if not old or not prices.known:
        return kept
    now = [_size(block, sizes) for block in blocks]
    starts = list(accumulate(now, initial=before))

    def decide(losses: Sequence[tuple[int, int]]) -> Cut | None:
        """The best cut where each old block loses so many tokens, and so much of what it says."""
        return best_cut(
            prices,
            [Candidate(starts[place], *loss) for place, loss in zip(old, losses, strict=True)],
            total=starts[-1],
            cached=starts[sent],
            outlook=outlook,
            step_pico=step_pico,
            extra_steps_permille=extra_steps_permille,
        )

    # Most requests end here: not even stubs of no size, which lose nothing, would pay.
    if decide([(blocks[place].tokens, 0) for place in old]) is None:
        return kept
    made = _made(blocks, old, stubs, count, marker)
    old = [place for place in old if made[place].tokens < blocks[place].tokens]
    cut = decide([made[place].loss(blocks[place]) for place in old])
    if cut is None:
        return kept
    for place in old[cut.first :]:
        key = _key_of(blocks[place])
        stubs[key], sizes[key] = made[place].text, made[place].tokens
    return Retired(stubs, _state(stubs, sizes), cut)


@dataclass(frozen=True, slots=True)
class _Stub:
    text: str
    tokens: int
    left_out_permille: int
    """Of the block's names, those that had no room."""

    def loss(self, block: Block) -> tuple[int, int]:
        """Net tokens that go, and those of them that the stub does not make up for."""
        removed = block.tokens - self.tokens
        return removed, removed * self.left_out_permille // 1_000


def _retirable(blocks: Sequence[Block], sent: int, keep: int, stubs: Mapping[str, str]) -> list[int]:
    """Places of sent results that may give way: not the newest, not small, not gone already."""
    results = [place for place, block in enumerate(blocks) if block.key is not None]
    return [
        place
        for place in results[: max(0, len(results) - keep)]
        if place < sent and blocks[place].tokens >= _SMALLEST and blocks[place].key not in stubs
    ]


def _made(
    blocks: Sequence[Block],
    old: Sequence[int],
    stubs: Mapping[str, str],
    count: Callable[[str], int],
    marker: Callable[[str], str],
) -> dict[int, _Stub]:
    """A stub for each old result. Names that a message shows which stays need no room in it."""
    shown_by = [identifiers(stubs.get(block.key or "", block.text)) for block in blocks]
    spread = Counter(name for names in shown_by for name in names)
    going = set(old)
    staying = {name for place, names in enumerate(shown_by) if place not in going for name in names}
    made: dict[int, _Stub] = {}
    for place in old:
        block, names = blocks[place], shown_by[place]
        text, left_out = stub(
            block.text,
            head=marker(_key_of(block)),
            count=count,
            tokens=block.tokens,
            elsewhere=spread,
            visible=staying & names.keys(),
        )
        made[place] = _Stub(text, count(text), 1_000 * left_out // max(1, len(names)))
    return made


def _key_of(block: Block) -> str:
    assert block.key is not None, "only results are retired"
    return block.key


def _size(block: Block, sizes: Mapping[str, int]) -> int:
    return block.tokens if block.key is None else sizes.get(block.key, block.tokens)


def _decided(state: Mapping[str, Any] | None) -> tuple[dict[str, str], dict[str, int]]:
    """Stubs and their tokens by key, as far as a state from outside has the right shape."""
    texts, tokens = (mapping_of(mapping_of(state).get(name)) for name in ("stubs", "tokens"))
    stubs = {
        key: text
        for key, text in texts.items()
        if isinstance(text, str) and type(tokens.get(key)) is int and tokens[key] >= 0
    }
    return stubs, {key: tokens[key] for key in stubs}


def _state(stubs: Mapping[str, str], sizes: Mapping[str, int]) -> dict[str, Any]:
    return {"stubs": dict(stubs), "tokens": dict(sizes)}
