"""Streams: read to the end they book what was reported; left early they book what was delivered, never nothing."""

from typing import Any

import tokenguard as tg
from tokenguard.testing.model_server import ModelServer, Reply

POEM = " ".join(f"word{number}" for number in range(500))

with (
    ModelServer(Reply(text=POEM, pace_s=0.002)) as server,
    tg.Guard(database="memory") as guard,
):

    def poem() -> Any:
        return guard.completion(
            "openai/gpt-4o",
            [{"role": "user", "content": "A long poem, please."}],
            stream=True,
            max_tokens=600,
            api_base=server.url,
            api_key="none",
        )

    with guard.run("whole poem", budget=tg.Budget(usd="0.10")) as whole:
        words = sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in poem())
    receipt = whole.receipt()
    print("read to the end:", words, "words,", f"${receipt.cost.json()}, estimated: {bool(receipt.estimated)}")

    with guard.run("impatient reader", budget=tg.Budget(usd="0.10")) as early:
        stream = poem()
        for number, _ in enumerate(stream):
            if number == 50:
                break
        stream.close()
    receipt = early.receipt()
    server.wait_idle()
    print("left at word 50: cost is above zero:", receipt.usd > 0, "- estimated:", bool(receipt.estimated))
    print("and the server stopped writing:", server.sent_chunks[-1] < 100)
