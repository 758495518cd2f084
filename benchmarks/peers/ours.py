"""tokenguard: a run with a budget, called from threads or tasks."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

import litellm  # noqa: F401  # loaded before the race
from said import CALLS, CAP_USD, MODEL, OUTPUT_TOKENS, prompt, say

import tokenguard as tg
from tokenguard.counting import Counter


def main(url: str, way: str, books: str) -> None:
    options: dict[str, Any] = {"api_base": url, "api_key": "none", "max_tokens": OUTPUT_TOKENS}
    prices = tg.Prices()
    # Reading price lists and tokenizers is nobody's race, nor is loading LiteLLM: the others did theirs at import.
    prices.card(f"openai/{MODEL}")
    Counter().warm(MODEL)
    guard = tg.Guard(database="memory" if books == "memory" else "spend.db", prices=prices)

    def one(number: int) -> str:
        try:
            guard.completion(f"openai/{MODEL}", [{"role": "user", "content": prompt(number)}], **options)
        except tg.TokenguardError as refusal:
            return type(refusal).__name__
        return "ok"

    async def aone(number: int) -> str:
        try:
            await guard.acompletion(f"openai/{MODEL}", [{"role": "user", "content": prompt(number)}], **options)
        except tg.TokenguardError as refusal:
            return type(refusal).__name__
        return "ok"

    async def tasks() -> tuple[list[str], float]:
        async with guard.run("race", budget=tg.Budget(usd=CAP_USD)):
            began_s = perf_counter()
            return await asyncio.gather(*map(aone, range(CALLS))), began_s

    if way == "tasks":
        say(*asyncio.run(tasks()))
        return
    with guard.run("race", budget=tg.Budget(usd=CAP_USD)), ThreadPoolExecutor(CALLS) as threads:
        began_s = perf_counter()
        outcomes = list(threads.map(guard.bind(one), range(CALLS)))
    say(outcomes, began_s)


if __name__ == "__main__":
    main(*sys.argv[1:4])
