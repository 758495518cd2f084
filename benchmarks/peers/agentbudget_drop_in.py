"""agentbudget: `init()` patches the OpenAI client; fifty tasks share the session."""

from __future__ import annotations

import asyncio
import sys
from time import perf_counter

import agentbudget
from openai import AsyncOpenAI
from said import CALLS, CAP_USD, MODEL, OUTPUT_TOKENS, prompt, say


async def race(url: str) -> None:
    # Its loop rule counts calls per model name; fifty different questions are no loop, so it is given room.
    agentbudget.init(f"${CAP_USD}", max_repeated_calls=10 * CALLS)
    client = AsyncOpenAI(base_url=url, api_key="none", max_retries=0)

    async def one(number: int) -> str:
        try:
            await client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": prompt(number)}], max_tokens=OUTPUT_TOKENS
            )
        except Exception as refusal:
            return type(refusal).__name__
        return "ok"

    began_s = perf_counter()
    say(await asyncio.gather(*map(one, range(CALLS))), began_s)


if __name__ == "__main__":
    asyncio.run(race(sys.argv[1]))
