"""What of an agent's next action stays visible: names that it could only have had from its tools' results.

The agent itself is the annotator. For every recorded action, each name in it (with a digit or one of `/_.#@-`) that an
earlier result had and no other message is looked for in the prompt that a policy would have sent. A path counts as
visible too where one message shows all of its parts, because a folded tree names each folder once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fold_replay import Policy
from fold_runs import Talk

from tokenguard.prompt.economy import CachePrices

_NAME = re.compile(r"[\w/.#@-]{4,}")
_TELLING = re.compile(r"[\d/_.#@-]")


@dataclass
class Retention:
    """Names and actions over many runs."""

    names: int = 0
    visible: int = 0
    actions: int = 0
    poorer: int = 0
    """Actions that lost at least one name."""

    @property
    def percent(self) -> float:
        return 100 * self.visible / self.names if self.names else 100.0

    @property
    def poorer_percent(self) -> float:
        return 100 * self.poorer / max(1, self.actions)

    def watch(self, talk: Talk, prices: CachePrices, policy: Policy) -> None:
        """Add one run."""
        for end, texts in zip(talk.requests, policy(talk, prices), strict=True):
            wanted = _wanted(talk, end)
            lost = sum(not _shown(name, texts) for name in wanted)
            self.names += len(wanted)
            self.visible += len(wanted) - lost
            self.actions += 1
            self.poorer += lost > 0


def _wanted(talk: Talk, end: int) -> list[str]:
    """Names in the action that only results had."""
    before = talk.said[:end]
    results = [one.text for one in before if one.who == "result"]
    others = [talk.tools, *(one.text for one in before if one.who != "result")]
    return [name for name in _names(talk.said[end].action) if _in(name, results) and not _in(name, others)]


def _names(action: str) -> list[str]:
    words = (word.strip("./-#@") for word in _NAME.findall(action))
    return list(dict.fromkeys(word for word in words if len(word) > 3 and _TELLING.search(word)))


def _in(name: str, texts: Iterable[str]) -> bool:
    return any(name in text for text in texts)


def _shown(name: str, texts: Sequence[str]) -> bool:
    if _in(name, texts):
        return True
    parts = [part for part in name.split("/") if part]
    return len(parts) > 1 and any(all(part in text for part in parts) for text in texts)
