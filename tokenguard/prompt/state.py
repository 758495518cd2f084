"""What folding did in one run, up to now."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["FoldState"]


@dataclass(slots=True)
class FoldState:
    """Of a run, or of all calls outside any."""

    whole_from: int | None = None
    """Results in messages from here on are said in full; None: none are."""
    stored: set[str] = field(default_factory=set[str])
    """Markers whose originals are in the recovery store."""
    read_back: int = 0
    """How often an original was asked for."""
    told: set[str] = field(default_factory=set[str])
    """Reasons to say results in full that were told to the sinks."""
