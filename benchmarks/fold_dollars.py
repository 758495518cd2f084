"""What folding is worth in net dollars on recorded runs, and what of an agent's next action stays visible.

Every recorded run is replayed request by request through an exact prefix cache, for seven sets of cache prices and
ten policies: our levels, the gate with the truth, and what peers do. Input side only, and the run is held as it was:
behaviour does not change here, so figures of policies that hide something are upper bounds.

Bars: no level of ours costs more than sending everything with the cache on; `lossless` saves at least 4 % on families
whose tools answer in JSON; the gate saves at least 95 % of what it would save if it knew how many requests will come;
no sent byte changes unless a cut is declared. Run: `.venv/bin/python -W ignore benchmarks/fold_dollars.py`.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from fold_replay import Policy, compact, gated, lossless, mask, recompress
from fold_runs import folder

from tokenguard.prompt.economy import CachePrices

INPUT = 3_000_000
"""Three dollars a million tokens, in pico-USD per token."""
OUTPUT = 15_000_000
STEP_AT = 8_000
"""Providers have their price steps at 200,000 or 272,000 tokens; the recorded runs are shorter, so here it is lower."""


def prices(write_percent: int, read_percent: int, *, steps: bool = False) -> CachePrices:
    base = CachePrices(
        input=INPUT,
        write=INPUT * write_percent // 100,
        write_1h=None,
        read=INPUT * read_percent // 100,
        output=OUTPUT,
        minimum=1_024,
        life_s=None,
        marked="none" if read_percent == 100 else "automatic",
        known=True,
    )
    if not steps:
        return base
    above = replace(base, input=2 * base.input, write=2 * base.write, read=2 * base.read)
    return replace(base, steps=((0, base), (STEP_AT, above)))


PRICES = {
    "1.25/0.1": prices(125, 10),
    "1/0.1": prices(100, 10),
    "1/0.25": prices(100, 25),
    "1/0.5": prices(100, 50),
    "no cache": prices(100, 100),
    "2.0/0.1 (1 h)": prices(200, 10),
    "1.25/0.1, ×2 above 8k": prices(125, 10, steps=True),
}
OURS: dict[str, Policy] = {"compact": compact, "lossless": lossless, "gated": gated()}
TRUTH = "gated, knowing R"
OTHERS: dict[str, Policy] = {
    TRUTH: gated(truth=True),
    "gated, behaviour priced": gated(paying=True),
    "mask all but 5, every turn": mask(5, 1),
    "mask all but 5, every 10 turns": mask(5, 10),
    "recompress older results": recompress,
}


def main() -> int:
    at = folder(Path(__file__))
    if not at.is_dir():
        print("The recorded runs are not here (shared/data/trajectories beside the checkout): nothing to measure.")
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
