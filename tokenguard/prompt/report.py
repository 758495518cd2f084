"""What folding did to a prompt, for people: by stage and by result, in tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokenguard.core.folding import STAGES

if TYPE_CHECKING:
    from tokenguard.prompt.folder import Change

__all__ = ["FoldReport", "StageTotal", "by_stage"]


@dataclass(frozen=True, slots=True)
class StageTotal:
    """What one stage did to a prompt."""

    stage: str
    results: int
    """How many tool results it changed."""
    tokens_before: int
    """Of those results, as the stage got them."""
    tokens_after: int
    chars_before: int
    chars_after: int
    elapsed_us: int
    """When it was done first; a prompt that grows costs only its new results."""
    reversible: bool

    @property
    def tokens_saved(self) -> int:
        """Fewer tokens each time the prompt is sent."""
        return self.tokens_before - self.tokens_after


@dataclass(frozen=True, slots=True)
class FoldReport:
    """A prompt before and after folding. Nothing was sent and nothing is stored."""

    model: str
    level: str
    messages: list[Any]
    """As they would be sent."""
    changes: tuple[Change, ...]
    stages: tuple[StageTotal, ...]
    tokens_before: int
    """Of all text in the messages, by the model's tokenizer or a fair estimate."""
    tokens_after: int
    usd_first_pico: int | None
    """What the tokens that are gone cost where the provider reads them for the first time; None: no price."""
    usd_again_pico: int | None
    """And in each later request, where its cache holds them."""

    @property
    def tokens_saved(self) -> int:
        """Fewer tokens each time the prompt is sent."""
        return self.tokens_before - self.tokens_after


def by_stage(changes: Sequence[Change]) -> tuple[StageTotal, ...]:
    """The changes of a prompt by stage, in the order in which the stages act."""
    totals: list[StageTotal] = []
    for stage in STAGES:
        touched = [change for change in changes if any(step.stage == stage for step in change.steps)]
        steps = [step for change in touched for step in change.steps if step.stage == stage]
        if steps:
            totals.append(
                StageTotal(
                    stage,
                    len(touched),
                    # Two steps of one stage follow each other on one text: only the first one's start counts.
                    sum(step.tokens_before for step in steps) - _between(touched, stage, "tokens_after"),
                    sum(step.tokens_after for step in steps) - _between(touched, stage, "tokens_after"),
                    sum(step.chars_before for step in steps) - _between(touched, stage, "chars_after"),
                    sum(step.chars_after for step in steps) - _between(touched, stage, "chars_after"),
                    sum(step.elapsed_us for step in steps),
                    all(step.reversible for step in steps),
                )
            )
    return tuple(totals)


def _between(changes: Sequence[Change], stage: str, size: str) -> int:
    """Sizes between two steps of one stage on one text, which both of them name."""
    found = 0
    for change in changes:
        steps = [step for step in change.steps if step.stage == stage]
        found += sum(getattr(step, size) for step in steps[:-1])
    return found
