"""What folding costs a call: new results, short ones, and a long conversation that goes on; and what it remembers.

Bars: at most 8 ms (p50) and 30 ms (p99) per 10,000 tokens of new results, counting before and after included; at most
0.3 ms for messages under 200 characters; a conversation of 200 results that were there before costs at most four walks
over its messages; what is remembered is at most three times the text. Run: `make bench-prompts`.
"""

from __future__ import annotations

import json
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

from figures import Figures, quantile
from fold_json import tokens
from fold_logs import KINDS, log
from fold_runs import talks
from fold_sets import json_sets

from tokenguard.core.folding import Folding
from tokenguard.counting.counter import Counter
from tokenguard.prompt.folder import Folder
from tokenguard.prompt.places import places

MODEL = "openai/gpt-4o"
STEPS = 200
SHORTEST = 200


def folder() -> Folder:
    return Folder(Folding("lossless"), Counter().count, time.perf_counter)


def messages(results: list[str]) -> list[dict[str, Any]]:
    """A conversation in which a tool was called once for each result."""
    found: list[dict[str, Any]] = [{"role": "user", "content": "go on"}]
    for at, text in enumerate(results):
        call = {"id": f"c{at}", "type": "function", "function": {"name": "search", "arguments": "{}"}}
        found.append({"role": "assistant", "content": "", "tool_calls": [call]})
        found.append({"role": "tool", "tool_call_id": f"c{at}", "content": text})
    return found


def new_results(shared: Path, figures: Figures) -> None:
    """Each result alone, as it enters."""
    texts = [json.dumps(one) for name, each in json_sets(shared).items() if name != "of them lists" for one in each]
    texts += [one.text for talk in talks(shared / "trajectories") for one in talk.said if one.who == "result"]
    texts += [log(kind, 200) for kind in KINDS]
    warm = folder()
    warm.fold(MODEL, messages([texts[0]]))
    per_size: list[float] = []
    for text in texts:
        if len(text) < SHORTEST:
            continue
        one, prompt, count = folder(), messages([text]), tokens(text)
        began = time.perf_counter()
        one.fold(MODEL, prompt)
        per_size.append((time.perf_counter() - began) * 1e7 / count)
    figures.add(
        f"{len(per_size):,} new results, per 10,000 tokens, counting included (p50)",
        quantile(per_size, 0.5),
        "ms",
        at_most=8.0,
    )
    figures.add("the same (p99)", quantile(per_size, 0.99), "ms", at_most=30.0)


def short(figures: Figures) -> None:
    """Messages with nothing to fold."""
    one, prompt = folder(), messages(["a short answer of a tool"] * 5)
    taken: list[float] = []
    for _ in range(2_000):
        began = time.perf_counter()
        one.fold(MODEL, prompt)
        taken.append((time.perf_counter() - began) * 1e3)
    figures.add("five short results (p99)", quantile(taken, 0.99), "ms", at_most=0.3)


def long(figures: Figures) -> None:
    """A conversation that goes on: its newest result is new, all others were there before."""
    results = [
        json.dumps([{"id": at * 100 + row, "name": f"name {row}", "open": True} for row in range(20)])
        for at in range(STEPS)
    ]
    one = folder()
    tracemalloc.start()
    for at in range(1, STEPS + 1):
        one.fold(MODEL, messages(results[:at]))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    prompt = messages(results)
    warm: list[float] = []
    walks: list[float] = []
    for _ in range(300):
        began = time.perf_counter()
        one.fold(MODEL, prompt)
        folded_at = time.perf_counter()
        list(places(prompt))
        warm.append((folded_at - began) * 1e3)
        walks.append((time.perf_counter() - folded_at) * 1e3)
    figures.add(f"a conversation of {STEPS} results that were there before (p50)", quantile(warm, 0.5), "ms")
    figures.add("the same over one walk of its messages", quantile(warm, 0.5) / quantile(walks, 0.5), "x", at_most=4.0)
    figures.add("remembered, over the text of its results", size / sum(map(len, results)), "x", at_most=3.0)


def main() -> int:
    figures = Figures("fold_speed", "Wall times of one process; shared machines move them.")
    shared = Path(__file__).resolve().parents[2] / "shared" / "data"
    if shared.is_dir():
        new_results(shared, figures)
    else:
        print("The recorded outputs are not here (shared/data beside the checkout): new results are not measured.")
    short(figures)
    long(figures)
    return figures.finish()


if __name__ == "__main__":
    sys.exit(main())
