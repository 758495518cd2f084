"""Starts an agent that crashes, again and again: `supervisor.py DATABASE SENT STARTS CAP_CENTS`.

Each start is a process, forked from this one, which has loaded everything and opened nothing. Every request that
reaches the model appends a byte to the file SENT, and costs a cent. Prints how many starts ended in each way, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from typing import Any

import tokenguard as tg
from tokenguard.backends.scripted import ScriptedBackend, ScriptedReply

PENNY = "openai/penny"
PRICES = {"prices": {PENNY: {"input": "0", "output": "25", "output_tokens_max": 400, "context_tokens": 1_000_000}}}
USAGE = {"prompt_tokens": 0, "completion_tokens": 400, "total_tokens": 400}
CRASHED_MIDWAY, CRASHED_AFTER, FAILED, STOPPED = 3, 4, 5, 6


def agent(database: str, sent: str, cap_cents: str, number: int) -> int:
    """One life of the agent: it asks twice and dies in one of three ways."""

    def answer(request: Any) -> ScriptedReply:
        with open(sent, "ab", buffering=0) as file:  # noqa: PTH123  # one write, which several processes may make
            file.write(b".")
        if number % 3 == 0:
            os._exit(CRASHED_MIDWAY)
        return ScriptedReply("an answer", usage=USAGE)

    budget = tg.Budget(usd=f"{int(cap_cents) / 100:.2f}", per="day")
    guard = tg.Guard(
        database=database, scope="acme", budget=budget, prices=PRICES, busy="raise", backend=ScriptedBackend(answer)
    )
    try:
        with guard.run("nightly"):
            for question in range(2):
                guard.completion(
                    PENNY, [{"role": "user", "content": f"question {question} of {number}"}], max_tokens=400
                )
                if number % 3 == 1:
                    os._exit(CRASHED_AFTER)
            raise ZeroDivisionError  # noqa: TRY301  # the agent fails inside its run
    except ZeroDivisionError:
        return FAILED
    except (tg.SpendStopped, tg.SpendRefused):
        return STOPPED


def main(database: str, sent: str, starts: str, cap_cents: str) -> None:
    with (
        tg.Guard(database=f"{database}.warm", prices=PRICES, backend=ScriptedBackend(["warm"])) as guard,
        guard.run("warm"),
    ):
        guard.completion(PENNY, [{"role": "user", "content": "warm"}], max_tokens=400)
    endings: Counter[int] = Counter()
    for number in range(int(starts)):
        child = os.fork()
        if child == 0:
            try:
                code = agent(database, sent, cap_cents, number)
            except BaseException as error:  # said, and counted as what nobody expected
                sys.stderr.write(f"{error!r}\n")
                code = 1
            os._exit(code)
        endings[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])] += 1
    print(json.dumps(endings))  # noqa: T201  # what the test reads


main(*sys.argv[1:])
