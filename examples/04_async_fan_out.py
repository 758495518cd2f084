"""Fifty calls at once under a cap of ten: what fits is sent, the rest is not, in any interleaving."""

import asyncio

import tokenguard as tg
from tokenguard.testing.model_server import ModelServer, Reply

# 100 output tokens of gpt-4o are $0.001; the prompt's share is small.
ANSWER = Reply(text="ok", completion_tokens=100, prompt_tokens=10, latency_s=0.02)


async def main(server: ModelServer, guard: tg.Guard) -> None:
    async def ask(number: int) -> str:
        reply = await guard.acompletion(
            "openai/gpt-4o",
            [{"role": "user", "content": f"Question {number}?"}],
            max_tokens=100,
            api_base=server.url,
            api_key="none",
        )
        return str(reply.choices[0].message.content)

    async with guard.run("fan-out", budget=tg.Budget(calls=10, usd="1.00")) as run:
        answers = await asyncio.gather(*(ask(number) for number in range(50)), return_exceptions=True)

    stops = [answer for answer in answers if isinstance(answer, tg.BudgetExceeded)]
    print("asked:", len(answers), "answered:", len(answers) - len(stops), "stopped:", len(stops))
    print("requests that reached the model:", server.count)
    print("calls in the books:", run.receipt().calls, "for", f"${run.receipt().cost.json()}")


with ModelServer(ANSWER) as server, tg.Guard(database="memory") as guard:
    asyncio.run(main(server, guard))
