"""Old tool results give way to stubs, where the gate says that it pays: the one stage that changes sent bytes.

Reversible: the caller keeps the originals and hands in the marker that names each. One decision changes everything
from the first retired result on, in one break of the cache; until the next decision every byte stays. What was decided
is in the state, which is plain JSON, so that another process goes on with the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from tokenguard.core.untrusted import mapping_of
from tokenguard.prompt.economy.gate import Candidate, Cut, Outlook, best_cut
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
        state: The same as JSON; hand it in with the next request of this conversation.
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
        before: Tokens of the prompt before the first block, such as tool definitions.
    """
    memory = _Memory.of(state)
    old = _retirable(blocks, sent, max(keep, KEEP_RESULTS), memory.stubs)
    if not old or not prices.known:
        return memory.retired(None)
    starts = list(accumulate((memory.size(block) for block in blocks), initial=before))
    waited = memory.wait(_key_of(blocks[place]) for place in old)

    def decide(losses: Sequence[tuple[int, int]]) -> Cut | None:
        """The best cut where each old block loses so many tokens, and so much of what it says."""
        return best_cut(
            prices,
            [
                Candidate(starts[place], *loss, waited[_key_of(blocks[place])])
                for place, loss in zip(old, losses, strict=True)
            ],
            total=starts[-1],
            cached=starts[sent],
            outlook=outlook,
        )

    # Most requests end here: not even stubs of no size, which lose nothing, would pay.
    if decide([(blocks[place].tokens, 0) for place in old]) is None:
        return memory.retired(None)
    made = _made(blocks, old, memory.stubs, count, marker)
    old = [place for place in old if made[place].tokens < blocks[place].tokens]
    cut = decide([made[place].loss(blocks[place]) for place in old])
    for place in old[cut.first :] if cut else ():
        memory.put(_key_of(blocks[place]), made[place])
    return memory.retired(cut)


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


@dataclass(slots=True)
class _Memory:
    """What was decided so far, by key."""

    stubs: dict[str, str]
    tokens: dict[str, int]
    waited: dict[str, int]
    """Requests that carried a result though it could have gone."""

    @classmethod
    def of(cls, state: Mapping[str, Any] | None) -> _Memory:
        """From JSON that may have been written by another version: what has another shape is left out."""
        texts = mapping_of(mapping_of(state).get("stubs"))
        tokens, waited = (_counts(mapping_of(state).get(name)) for name in ("tokens", "waited"))
        stubs = {key: text for key, text in texts.items() if isinstance(text, str) and key in tokens}
        return cls(stubs, {key: tokens[key] for key in stubs}, waited)

    def size(self, block: Block) -> int:
        """Tokens that are sent for a block."""
        return block.tokens if block.key is None else self.tokens.get(block.key, block.tokens)

    def wait(self, keys: Iterable[str]) -> dict[str, int]:
        """How long results that may go have waited; this request is counted, results that are gone forgotten."""
        before = {key: self.waited.get(key, 0) for key in keys}
        self.waited = {key: count + 1 for key, count in before.items()}
        return before

    def put(self, key: str, made: _Stub) -> None:
        """Retire a result for good."""
        self.stubs[key], self.tokens[key] = made.text, made.tokens
        del self.waited[key]

    def retired(self, cut: Cut | None) -> Retired:
        """The same as an answer."""
        state = {"stubs": dict(self.stubs), "tokens": dict(self.tokens), "waited": dict(self.waited)}
        return Retired(self.stubs, state, cut)


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


def _counts(value: object) -> dict[str, int]:
    return {key: count for key, count in mapping_of(value).items() if type(count) is int and count >= 0}
