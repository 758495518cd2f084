"""One guarded call: `litellm.completion` becomes `guard.completion`, and the reply knows what it cost."""

import tokenguard as tg
from tokenguard.testing.model_server import ModelServer

# A model server on this machine stands in for the provider; with a real key, leave `api_base` and `api_key` out.
with (
    ModelServer("A budget is a promise that somebody keeps.") as server,
    tg.Guard(database="memory") as guard,
):
    with guard.run("hello", budget=tg.Budget(usd="0.10")) as run:
        reply = guard.completion(
            "openai/gpt-4o-mini",
            [{"role": "user", "content": "What is a budget?"}],
            api_base=server.url,
            api_key="none",
        )
        print("answer: ", reply.choices[0].message.content)

        receipt = tg.receipt_of(reply)
        assert receipt is not None
        assert receipt.usage is not None
        print("used:   ", receipt.usage.input_tokens, "input and", receipt.usage.output_tokens, "output tokens")
        print("cost:   ", f"${receipt.cost.json()}", f"({receipt.quality} by the provider)")
        print("covered:", receipt.ceiling >= receipt.cost, "- its worst case was reserved before it was sent")

    print()
    print(run.receipt())
