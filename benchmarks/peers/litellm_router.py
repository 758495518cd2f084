"""LiteLLM Router with a provider budget, as docs.litellm.ai/docs/proxy/provider_budget_routing shows it for the SDK."""

from __future__ import annotations

import asyncio
import sys
from time import perf_counter

from litellm import Router
from said import CALLS, CAP_USD, MODEL, OUTPUT_TOKENS, prompt, say


async def race(url: str) -> None:
    router = Router(
        model_list=[
            {
                "model_name": MODEL,
                "litellm_params": {"model": f"openai/{MODEL}", "api_base": url, "api_key": "none"},
            }
        ],
        provider_budget_config={"openai": {"budget_limit": float(CAP_USD), "time_period": "1d"}},
        num_retries=0,
    )

    async def one(number: int) -> str:
        try:
            await router.acompletion(MODEL, [{"role": "user", "content": prompt(number)}], max_tokens=OUTPUT_TOKENS)
        except Exception as refusal:
            return type(refusal).__name__
        return "ok"

    began_s = perf_counter()
    say(await asyncio.gather(*map(one, range(CALLS))), began_s)


if __name__ == "__main__":
    asyncio.run(race(sys.argv[1]))
