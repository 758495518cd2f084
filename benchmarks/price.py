"""How long one priced usage takes, beside `litellm.cost_per_token` and `genai_prices.calc_price` in the same run.

    python benchmarks/price.py [--json] [--write]

Exits 1 where a target is missed: one cost <= 3 µs, and at least 20 times faster than LiteLLM. The first is judged by
the quietest tenth of the rounds, because a busy machine slows everything alike; the ratio is of medians in one run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

from figures import Figures

TARGET_US = 3.0
TARGET_RATIO = 20.0
ROUNDS = 60


def rounds_us(work: Callable[[], object], calls: int) -> list[float]:
    """Mean time of one call per round, in microseconds: shape (ROUNDS,)."""
    work()
    rounds: list[float] = []
    for _ in range(ROUNDS):
        began = time.perf_counter_ns()
        for _ in range(calls):
            work()
        rounds.append((time.perf_counter_ns() - began) / calls / 1000)
    return rounds


def median_us(work: Callable[[], object], calls: int) -> float:
    return statistics.median(rounds_us(work, calls))


def measure() -> dict[str, float]:
    began = time.perf_counter()
    from tokenguard.pricing.book import Book  # noqa: PLC0415  # its import time is measured
    from tokenguard.pricing.shapes import split_usage  # noqa: PLC0415  # as above

    book = Book()
    imported = time.perf_counter()
    flat = book.card("gpt-5-mini")
    loaded = time.perf_counter()
    tiered = book.card("gemini/gemini-2.5-pro")

    raw = {
        "prompt_tokens": 20_000,
        "completion_tokens": 600,
        "total_tokens": 20_600,
        "prompt_tokens_details": {"cached_tokens": 16_000},
        "completion_tokens_details": {"reasoning_tokens": 200},
    }
    usage = split_usage(raw, provider="openai")

    import genai_prices  # noqa: PLC0415  # after our own figures, which must not profit from it
    import litellm  # noqa: PLC0415  # as above

    theirs = genai_prices.Usage(input_tokens=20_000, cache_read_tokens=16_000, output_tokens=600)
    cost = rounds_us(lambda: flat.cost(usage, "default"), 2000)
    return {
        "import_ms": (imported - began) * 1000,
        "first_card_ms": (loaded - imported) * 1000,
        "cost_us": statistics.median(cost),
        "cost_quiet_us": statistics.quantiles(cost, n=10)[0],
        "cost_tiered_us": median_us(lambda: tiered.cost(usage), 2000),
        "lines_us": median_us(lambda: flat.lines(usage), 500),
        "split_us": median_us(lambda: split_usage(raw, provider="openai"), 500),
        "lookup_us": median_us(lambda: book.card("gpt-5-mini"), 2000),
        "litellm_cost_per_token_us": median_us(
            lambda: litellm.cost_per_token(
                model="gpt-5-mini", prompt_tokens=20_000, completion_tokens=600, cache_read_input_tokens=16_000
            ),
            50,
        ),
        "genai_calc_price_us": median_us(
            lambda: genai_prices.calc_price(theirs, "gpt-5-mini", provider_id="openai"), 50
        ),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--write", action="store_true", help="keep the figures in benchmarks/results")
    arguments = parser.parse_args()
    found = measure()
    found["times_faster_than_litellm"] = found["litellm_cost_per_token_us"] / found["cost_us"]
    if arguments.json:
        print(json.dumps(found, indent=2))
        met = found["cost_quiet_us"] <= TARGET_US and found["times_faster_than_litellm"] >= TARGET_RATIO
        return 0 if met else 1
    figures = Figures("price", __doc__.partition("\n")[0])
    for name, value in found.items():
        what, _, unit = name.rpartition("_")
        if name == "times_faster_than_litellm":
            figures.add("one cost, beside litellm.cost_per_token", value, "times", at_least=TARGET_RATIO)
        else:
            at_most = TARGET_US if name == "cost_quiet_us" else None
            figures.add(what.replace("_", " "), value, unit, at_most=at_most)
    return figures.finish()


if __name__ == "__main__":
    sys.exit(main())
