"""LiteLLM BudgetManager, as docs.litellm.ai/docs/budget_manager shows it: ask, call, update; from fifty threads."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

from litellm import BudgetManager, completion
from said import CALLS, CAP_USD, MODEL, OUTPUT_TOKENS, prompt, say

USER = "racer"


def main(url: str) -> None:
    budgets = BudgetManager(project_name="race")
    budgets.create_budget(total_budget=float(CAP_USD), user=USER)

    def one(number: int) -> str:
        if budgets.get_current_cost(user=USER) > budgets.get_total_budget(USER):
            return "over budget"
        reply = completion(
            f"openai/{MODEL}",
            [{"role": "user", "content": prompt(number)}],
            api_base=url,
            api_key="none",
            max_tokens=OUTPUT_TOKENS,
            num_retries=0,
        )
        budgets.update_cost(completion_obj=reply, user=USER)
        return "ok"

    began_s = perf_counter()
    with ThreadPoolExecutor(CALLS) as threads:
        outcomes = list(threads.map(one, range(CALLS)))
    say(outcomes, began_s)


if __name__ == "__main__":
    main(sys.argv[1])
