"""Agents call agents: a child has its own cap, the parent's binds them all, and a child's stop spares its parent."""

import tokenguard as tg
from tokenguard.testing.model_server import ModelServer, Reply

ANSWER = Reply(text="Found something, and it raises a question.", completion_tokens=100)

with ModelServer(ANSWER) as server, tg.Guard(database="memory") as guard:

    def ask(question: str) -> str:
        reply = guard.completion(
            "openai/gpt-4o",
            [{"role": "user", "content": question}],
            max_tokens=300,
            api_base=server.url,
            api_key="none",
        )
        return str(reply.choices[0].message.content)

    @guard.agent("searcher", budget=tg.Budget(calls=2))
    def search(topic: str) -> str:
        for page in range(1, 10):  # It would read nine pages; its cap is two calls.
            ask(f"{topic}, page {page}?")
        return topic

    @guard.step("summarize")
    def summarize(topics: list[str]) -> str:
        return ask(f"Summarize {', '.join(topics)}.")

    @guard.agent("editor", budget=tg.Budget(usd="0.05"))
    def edit(topics: list[str]) -> str:
        for topic in topics:
            try:
                search(topic)
            except tg.BudgetExceeded as stop:
                print(f"{stop.scope} stopped at {stop.settled} of {stop.cap} {stop.unit}; the editor goes on")
        return summarize(topics)

    with guard.run("newsletter", labels={"team": "content"}) as run:
        edit(["prices", "caches"])

    print()
    print(run.receipt())
