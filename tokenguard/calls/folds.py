"""The part of a guard that folds prompts by hand and reads back what was left out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tokenguard.calls.cache_advice import cache_advice
from tokenguard.calls.scope import current
from tokenguard.core.folding import Folding, Level, LevelName
from tokenguard.core.untrusted import mapping_of
from tokenguard.counting.words import words_of
from tokenguard.errors import Unpriceable
from tokenguard.prompt.economy import Advice, cache_prices
from tokenguard.prompt.folder import Folded, Folder
from tokenguard.prompt.markers import recovery_tool
from tokenguard.prompt.report import FoldReport, by_stage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from tokenguard.calls.parts import LateParts, Parts
    from tokenguard.core.ports import PriceBook, TokenCounter

__all__ = ["Folds", "fold_report"]

_GONE = (
    "No original is kept under {marker!r}: it was not of this run, or its days are over. It cannot be read again; go "
    "on with what you have."
)


class Folds:
    """The part of a guard that folds prompts."""

    _late: LateParts

    @property
    def recovery_tool(self) -> dict[str, Any]:
        """The tool by which a model reads what was left out, for `tools=` of every call of a run, from the first on.

        Answer its calls with `show`. Only for `Folding(recovery="tool")`: without it in `tools` nothing is left out.
        """
        return recovery_tool()

    def fold(self, messages: Sequence[Any], *, model: str, level: LevelName | Folding | None = None) -> FoldReport:
        """What would be sent for these messages, stage by stage. Nothing is sent, stored or changed in place.

        Args:
            messages: Of a chat, or items of the responses API.
            model: Whose tokens and prices count.
            level: Another level than the guard's.
        """
        parts = self._late.get()
        return fold_report(
            messages,
            model=model,
            folder=_folder(level, parts),
            counter=parts.counter,
            prices=parts.prices,
            at=parts.clock.now(),
        )

    def cache_advice(
        self,
        messages: Sequence[Any],
        *,
        model: str,
        calls: int = 20,
        pause_s: int | None = None,
        switch_to: str | None = None,
        output_tokens: int = 0,
    ) -> tuple[Advice, ...]:
        """What could be done about the provider's cache: fill a prefix up, ping through a pause, go on elsewhere.

        Args:
            messages: Of a chat, or items of the responses API.
            model: Who reads them.
            calls: Calls that are still to come while the cache lives, >= 1.
            pause_s: Seconds until the next call; None: no pause is expected.
            switch_to: Another model to go on with; None: none.
            output_tokens: Of each answer, for the other model's price of them.

        Raises:
            BadAmount: a number that is too small.
            Unpriceable: a model has no price.
        """
        parts = self._late.get()
        return cache_advice(
            messages,
            model=model,
            counter=parts.counter,
            prices=parts.prices,
            at=parts.clock.now(),
            calls=calls,
            pause_s=pause_s,
            switch_to=switch_to,
            output_tokens=output_tokens,
        )

    def unfold(self, marker: str) -> str | None:
        """The exact original behind a marker of the current run; None: there is none, or its days are over.

        Raises:
            LedgerUnavailable: the books cannot answer.
        """
        parts = self._late.get()
        frame = current(self)
        node = frame.node if frame else None
        text = parts.ledger.find_text(marker, root_id=node.root_id if node else "")
        state = node.run.folding if node else parts.folding_outside
        if text is not None:
            state.read_back += 1
        return text

    def show(self, arguments: str | Mapping[str, Any]) -> str:
        """Answer a model's call of `recovery_tool`: the original, or a sentence that says it cannot be read again.

        Args:
            arguments: Of the call, as JSON or as a mapping.

        Raises:
            LedgerUnavailable: the books cannot answer.
        """
        try:
            given = json.loads(arguments) if isinstance(arguments, str) else arguments
        except ValueError:
            given = {"marker": arguments}
        marker = mapping_of(given).get("marker")
        text = self.unfold(marker) if isinstance(marker, str) else None
        return _GONE.format(marker=marker) if text is None else text


def _folder(level: LevelName | Folding | None, parts: Parts) -> Folder | None:
    """The guard's own, or one of another level."""
    if level is None:
        return parts.folder
    folding = level if isinstance(level, Folding) else Folding(level)
    return None if folding.level is Level.OFF else Folder(folding, parts.counter.count, parts.clock.monotonic)


def fold_report(
    messages: Sequence[Any],
    *,
    model: str,
    folder: Folder | None,
    counter: TokenCounter,
    prices: PriceBook,
    at: datetime,
) -> FoldReport:
    """A prompt before and after folding.

    Args:
        messages: Of a chat, or items of the responses API.
        model: Whose tokens and prices count.
        folder: Folds it; None: nothing does.
        counter: Counts tokens.
        prices: Says what they cost.
        at: When they would be sent.
    """
    done = Folded(list(messages)) if folder is None else folder.fold(model, messages)
    before = sum(counter.count(model, words_of(one, place)[0]) for place, one in enumerate(messages))
    # Of what was not changed the tokens are the same, so only the difference is counted.
    after = before - done.tokens_saved
    first, again = _rates(model, before, prices, at)
    return FoldReport(
        model=model,
        level="off" if folder is None else folder.folding.level.name.lower(),
        messages=done.messages,
        changes=done.changes,
        stages=by_stage(done.changes),
        tokens_before=before,
        tokens_after=after,
        usd_first_pico=None if first is None else first * (before - after),
        usd_again_pico=None if again is None else again * (before - after),
    )


def _rates(model: str, tokens: int, book: PriceBook, at: datetime) -> tuple[int | None, int | None]:
    """Pico-dollars per token of a prompt that is new to the provider, and of one that its cache holds."""
    try:
        card = book.card(model, at=at)
    except Unpriceable:
        return None, None
    prices = cache_prices(card, input_tokens=tokens)
    return prices.write, prices.read
