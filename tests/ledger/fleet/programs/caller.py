"""Calls a model over HTTP under a shared cap: `caller.py DATABASE URL POINT CALLS`.

At `POINT` of its first call (`reserved`, `sent`, `answered` or `settled`; `never`) it says so and waits for a line;
`never` prints `done` at its end. A call costs at most a cent, of a budget of a dollar in all.
"""

from __future__ import annotations

import http.client
import json
import sys
from typing import Any
from urllib.parse import urlsplit

import tokenguard as tg
from tokenguard.backends.scripted import ScriptedBackend, ScriptedReply
from tokenguard.core.clock import SystemClock
from tokenguard.core.ids import RandomIds
from tokenguard.core.ports import Request
from tokenguard.ledger.sql import SqlLedger

PENNY = "openai/penny"
PRICE = {"input": "0", "output": "25", "output_tokens_max": 16_384, "context_tokens": 1_000_000}


class Halting(SqlLedger):
    """The books, with a halt between two states of a call."""

    point = "never"

    def halt(self, point: str) -> None:
        if self.point == point:
            type(self).point = "never"
            sys.stdout.write(f"at {point}\n")
            sys.stdout.flush()
            sys.stdin.readline()

    def reserve(self, hold: Any, ask: Any) -> Any:
        verdict = super().reserve(hold, ask)
        self.halt("reserved")
        return verdict

    def settle(self, hold_id: str, booking: Any) -> Any:
        self.halt("answered")
        done = super().settle(hold_id, booking)
        self.halt("settled")
        return done


def post(url: str, request: Request) -> ScriptedReply:
    """Ask the model server, over a connection of its own."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    body = {"model": "penny", "messages": request.arguments["messages"], "max_tokens": request.arguments["max_tokens"]}
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return ScriptedReply(answer["choices"][0]["message"]["content"], usage=answer["usage"])


def main(database: str, url: str, point: str, calls: int) -> None:
    Halting.point = point
    guard = tg.Guard(
        ledger=Halting.open(database, SystemClock(), RandomIds()),
        backend=ScriptedBackend(lambda request: post(url, request)),
        prices={"prices": {PENNY: PRICE}},
        scope="fleet",
        budget=tg.Budget(usd="1", per="total"),
    )
    with guard, guard.run("caller") as run:
        sys.stdout.write(f"run {run.id}\n")
        sys.stdout.flush()
        for number in range(calls):
            guard.completion(PENNY, [{"role": "user", "content": f"question {number}"}], max_tokens=400)
        sys.stdout.write("done\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
