"""Joins a run and calls a model of which each answer costs a cent: `payer.py DATABASE TOKEN URL`.

For each line on its standard input, a number, it makes so many calls or fewer, and prints `made N CODE`: how many were
answered, and `ok` or the code of what stood against the next.
"""

from __future__ import annotations

import sys

import tokenguard as tg

PENNY = "openai/penny"
PRICE = {"input": "0", "output": "25", "output_tokens_max": 16_384, "context_tokens": 1_000_000}


def pay(guard: tg.Guard, url: str, calls: int, begin: int) -> tuple[int, str]:
    for number in range(calls):
        try:
            question = [{"role": "user", "content": f"question {begin + number}"}]
            guard.completion(PENNY, question, api_base=url, api_key="none", max_tokens=400)
        except tg.SpendStopped as stop:
            return number, stop.code
    return calls, "ok"


def main(database: str, token: str, url: str) -> None:
    made = 0
    with tg.Guard(database=database, prices={"prices": {PENNY: PRICE}}) as guard, guard.join(token):
        for line in sys.stdin:
            calls, code = pay(guard, url, int(line), made)
            made += calls
            sys.stdout.write(f"made {calls} {code}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:4])
