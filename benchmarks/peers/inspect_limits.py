"""inspect_ai: `with cost_limit(...)` around `model.generate`, with gpt-4o's price given to it."""

from __future__ import annotations

import asyncio
import sys
from time import perf_counter

from inspect_ai.model import GenerateConfig, ModelCost, get_model, set_model_cost
from inspect_ai.util import cost_limit
from said import CALLS, CAP_USD, MODEL, OUTPUT_TOKENS, prompt, say


async def race(url: str) -> None:
    set_model_cost(f"openai/{MODEL}", ModelCost(input=2.5, output=10, input_cache_write=0, input_cache_read=1.25))
    model = get_model(
        f"openai/{MODEL}",
        base_url=url,
        api_key="none",
        responses_api=False,
        config=GenerateConfig(max_tokens=OUTPUT_TOKENS, max_retries=0, max_connections=CALLS),
    )

    async def one(number: int) -> str:
        try:
            await model.generate(prompt(number))
        except Exception as refusal:
            return type(refusal).__name__
        return "ok"

    began_s = perf_counter()
    with cost_limit(float(CAP_USD)):
        outcomes = await asyncio.gather(*map(one, range(CALLS)))
    say(outcomes, began_s)


if __name__ == "__main__":
    asyncio.run(race(sys.argv[1]))
