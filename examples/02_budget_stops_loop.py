"""A loop that would never end meets a cap, and swallowing the exception does not help it."""

from contextlib import suppress

import tokenguard as tg
from tokenguard.testing.model_server import ModelServer, RecordedRequest, Reply


def model(request: RecordedRequest) -> Reply:
    """Every answer is another 100 tokens: $0.001 at gpt-4o's price, plus the prompt."""
    return Reply(text=f"Still not done, attempt {request.index + 1}.", completion_tokens=100)


with ModelServer(model) as server, tg.Guard(database="memory") as guard:

    @guard.agent("worker", budget=tg.Budget(usd="0.02"))
    def work_until_done(task: str) -> None:
        attempt = 0
        while True:  # The bug: nothing ever says that it is done.
            attempt += 1
            prompt = f"{task} Attempt {attempt}."
            guard.completion(
                "openai/gpt-4o",
                [{"role": "user", "content": prompt}],
                max_tokens=300,
                api_base=server.url,
                api_key="none",
            )

    @guard.agent("stubborn", budget=tg.Budget(calls=3))
    def swallow_everything() -> None:
        for attempt in range(1_000):
            with suppress(Exception):  # What many agents do, and why a stop is kept outside of them.
                guard.completion(
                    "openai/gpt-4o",
                    [{"role": "user", "content": f"Try {attempt}."}],
                    max_tokens=300,
                    api_base=server.url,
                    api_key="none",
                )

    try:
        work_until_done("Reconcile the invoices.")
    except tg.BudgetExceeded as stop:
        print(f"stopped: {stop.settled} of {stop.cap} used, the next call could cost {stop.asked}")
        print("over the cap:", stop.settled > stop.cap)
        print("calls that reached the model:", server.count, "- calls in the books:", stop.receipt.calls)

    server.reset()
    swallow_everything()
    print("1,000 stubborn tries, calls that reached the model:", server.count)
