"""Counting step 200 of a conversation, side by side with `litellm.token_counter` on the whole list, in one run.

Bar: bounding it costs its new messages only, at least 50 times less. Run: `.venv/bin/python benchmarks/counting.py`.
"""

import json
import os
import random
import statistics
import sys
import time
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import litellm
from figures import Figures

from tokenguard.counting import Counter

STEPS = 200
BAR = 50
MODEL = "gpt-5-mini"
SENTENCE = "the agent reads a file then calls search with path src/app.py and 42 results, error: none; return it"
WORDS = SENTENCE.split()


def text(words: int, seed: random.Random) -> str:
    return " ".join(seed.choices(WORDS, k=words))


def step(at: int, seed: random.Random, *, tools: bool) -> list[dict[str, Any]]:
    """What one step appends: the model's reply, and what it is told next."""
    if not tools:
        return [
            {"role": "assistant", "content": text(100, seed)},
            {"role": "user", "content": text(200, seed)},
        ]
    arguments = json.dumps({"path": f"src/{at}.py", "query": text(10, seed)})
    call = {"id": f"call_{at}", "type": "function", "function": {"name": "search", "arguments": arguments}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": f"call_{at}", "content": text(300, seed)},
    ]


def measure(*, tools: bool) -> dict[str, Any]:
    seed = random.Random(7)
    counter = Counter()
    counter.warm(MODEL)
    messages: list[dict[str, Any]] = [{"role": "system", "content": text(400, seed)}]
    ours: list[float] = []
    for at in range(1, STEPS + 1):
        messages += step(at, seed, tools=tools)
        begin = time.perf_counter()
        prompt = counter.read(MODEL, messages)
        ours.append(time.perf_counter() - begin)
        assert prompt.bound is not None
        counter.learn(prompt, None, tokens=prompt.bound.tokens)
    theirs: list[float] = []
    for _ in range(9):
        begin = time.perf_counter()
        litellm.token_counter(model=MODEL, messages=messages)
        theirs.append(time.perf_counter() - begin)
    last = statistics.median(ours[-20:])
    whole = statistics.median(theirs)
    return {
        "conversation": "tool calls" if tools else "chat",
        "messages": len(messages),
        "ours_us": round(last * 1e6),
        "litellm_us": round(whole * 1e6),
        "ratio": round(whole / last, 1),
        "bar": BAR,
    }


def main() -> int:
    results = [measure(tools=False), measure(tools=True)]
    if "--json" in sys.argv:
        print(json.dumps({"counting": results}))
        return 0 if all(row["ratio"] >= BAR for row in results) else 1
    figures = Figures("counting", __doc__.partition("\n")[0])
    for row in results:
        name = f"step {STEPS} ({row['conversation']}, {row['messages']} messages)"
        figures.add(f"{name}: ours", row["ours_us"], "µs")
        figures.add(f"{name}: litellm.token_counter", row["litellm_us"], "µs")
        figures.add(f"{name}: how many times less", row["ratio"], "times", at_least=BAR)
    return figures.finish()


if __name__ == "__main__":
    sys.exit(main())
