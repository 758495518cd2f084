"""One life of an agent that repeats itself in a run of another process: `repeater.py DATABASE TOKEN URL KIND TIMES`.

KIND is `prompt` (the same request TIMES times) or `tool` (a guarded tool that gives the same TIMES times). Prints what
happened each time, as JSON, and dies without a word, as after `kill -9`.
"""

from __future__ import annotations

import json
import os
import sys

import tokenguard as tg

PENNY = "openai/penny"
PRICES = {"prices": {PENNY: {"input": "0", "output": "25", "output_tokens_max": 400, "context_tokens": 1_000_000}}}


def main(database: str, token: str, url: str, kind: str, times: str) -> None:
    guard = tg.Guard(database=database, prices=PRICES)
    happened: list[str] = []

    @guard.tool("read")
    def read() -> str:
        return "the same"

    def once() -> str:
        if kind == "tool":
            return "blocked" if read().startswith("[tokenguard]") else "ran"
        messages = [{"role": "user", "content": "is it done?"}]
        guard.completion(PENNY, messages, max_tokens=400, api_base=url, api_key="none")
        return "answered"

    with guard.join(token):
        for _ in range(int(times)):
            try:
                happened.append(once())
            except tg.TokenguardError as error:
                happened.append(error.code)
        print(json.dumps(happened), flush=True)  # noqa: T201  # what the test reads
        os._exit(9)


main(*sys.argv[1:])
