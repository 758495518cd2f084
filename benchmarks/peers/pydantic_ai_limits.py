"""pydantic-ai: `UsageLimits(cost_limit=)` with one `RunUsage` shared by all runs, as its multi-agent page shows."""

from __future__ import annotations

import asyncio
import sys
from decimal import Decimal
from time import perf_counter

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RunUsage, UsageLimits
from said import CALLS, CAP_USD, MODEL, OUTPUT_TOKENS, prompt, say


async def race(url: str) -> None:
    model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=url, api_key="none"))
    agent = Agent(model, model_settings=ModelSettings(max_tokens=OUTPUT_TOKENS))
    usage, limits = RunUsage(), UsageLimits(cost_limit=Decimal(CAP_USD), request_limit=None)

    async def one(number: int) -> str:
        try:
            await agent.run(prompt(number), usage=usage, usage_limits=limits)
        except Exception as refusal:
            return type(refusal).__name__
        return "ok"

    began_s = perf_counter()
    say(await asyncio.gather(*map(one, range(CALLS))), began_s)


if __name__ == "__main__":
    asyncio.run(race(sys.argv[1]))
