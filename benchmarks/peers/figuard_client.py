"""figuard, embedded: authorize what the call will cost, call, confirm; from fifty threads with one client."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

from figuard import FiGuardClient
from openai import OpenAI
from said import CALLS, CAP_USD, MODEL, OUTPUT_TOKENS, prompt, say

CENT = 0.01


def main(url: str) -> None:
    client = OpenAI(base_url=url, api_key="none", max_retries=0)
    guard = FiGuardClient()
    budget = guard.create_budget(user_id="racer", total_limit=float(CAP_USD), currency="USD")

    def one(number: int) -> str:
        try:
            permit = guard.authorize(budget=budget, amount=CENT).raise_if_denied()
        except Exception as refusal:
            return type(refusal).__name__
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": prompt(number)}], max_tokens=OUTPUT_TOKENS
        )
        guard.confirm(permit, CENT)
        return "ok"

    began_s = perf_counter()
    with ThreadPoolExecutor(CALLS) as threads:
        outcomes = list(threads.map(one, range(CALLS)))
    say(outcomes, began_s)


if __name__ == "__main__":
    main(sys.argv[1])
