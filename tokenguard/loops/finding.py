"""What a repetition rule found: digests, counts and sizes, never text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Finding"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A repetition, however short; the thresholds of `core.ladder.Loops` say what follows from it."""

    rule: str
    """One of `core.ladder.RULES`."""
    repeats: int
    """Equal rounds, the first one included, and calls of it that were refused since."""
    window: int
    """Among how many rounds they were counted."""
    subject: str
    """The tool's name, several joined by ` → ` for a cycle, or the model's."""
    fingerprint: str
    """The same for further repetitions of the same thing, in every process of this ledger."""
    keys: tuple[str, ...] = ()
    """Names of the arguments."""
    argument_bytes: int = 0
    result_bytes: int = 0
    wasted_pico: int = 0
    """What the equal rounds after the first one cost, as far as this process knows."""
    mean_pico: int = 0
    """What one of them cost on average: what one more would have."""
    source: str = "messages"
    """Where it was seen: in the `messages`, in `speech` without tools, in the `tools` we ran, or in the `answers`."""
    members: tuple[int, ...] = ()
    """The equal rounds after the first one (of a cycle: after the first time round), each by the answer that paid."""
    chain: int = 0
    """Of which conversation or caller: refusals there are no other's. 0: of any."""
    blocked: bool = False
    """The latest of them is a tool that was not run: the model has yet to read why."""

    def evidence(self) -> dict[str, Any]:
        """What goes into events and errors beside rule and repeats."""
        return {
            "subject": self.subject,
            "fingerprint": self.fingerprint,
            "window": self.window,
            "keys": list(self.keys),
            "argument_bytes": self.argument_bytes,
            "result_bytes": self.result_bytes,
        }
