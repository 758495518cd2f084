"""Joins a run and streams from a model until it is stopped: `streamer.py DATABASE TOKEN URL sync|async`.

Prints `streaming` once three streams have given a chunk each, `stopped CODES` when all have ended, `refused CODE` for
the call it tries then, and after a line on its standard input `again ok` or the code of what stood against one more.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

import tokenguard as tg

PENNY = "openai/penny"
PRICE = {"input": "0", "output": "25", "output_tokens_max": 16_384, "context_tokens": 1_000_000}
STREAMS = 3


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Streamer:
    def __init__(self, database: str, token: str, url: str) -> None:
        self.guard = tg.Guard(database=database, prices={"prices": {PENNY: PRICE}})
        self.token, self.options = token, {"api_base": url, "api_key": "none", "max_tokens": 4_000}
        self.started = threading.Semaphore(0)

    def ask(self, number: int) -> list[dict[str, str]]:
        return [{"role": "user", "content": f"question {number}"}]

    def read(self, number: int) -> str:
        try:
            for place, _ in enumerate(self.guard.completion(PENNY, self.ask(number), stream=True, **self.options)):
                if place == 0:
                    self.started.release()
        except tg.SpendStopped as stop:
            return stop.code
        return "read to its end"

    async def aread(self, number: int) -> str:
        place = 0
        try:
            stream: Any = await self.guard.acompletion(PENNY, self.ask(number), stream=True, **self.options)
            async for _ in stream:
                if place == 0:
                    self.started.release()
                place += 1
        except tg.SpendStopped as stop:
            return stop.code
        return "read to its end"

    def call(self, number: int) -> str:
        try:
            self.guard.completion(PENNY, self.ask(number), **{**self.options, "max_tokens": 10})
        except tg.SpendStopped as stop:
            return stop.code
        return "ok"

    def threads(self) -> list[str]:
        codes: list[str] = []
        readers = [
            threading.Thread(target=self.guard.bind(lambda number: codes.append(self.read(number))), args=(number,))
            for number in range(STREAMS)
        ]
        for reader in readers:
            reader.start()
        self.announce()
        for reader in readers:
            reader.join()
        return codes

    async def tasks(self) -> list[str]:
        async with self.guard.join(self.token):
            readers = [asyncio.create_task(self.aread(number)) for number in range(STREAMS)]
            await asyncio.to_thread(self.announce)
            return list(await asyncio.gather(*readers))

    def announce(self) -> None:
        for _ in range(STREAMS):
            self.started.acquire()
        say("streaming")

    def run(self, kind: str) -> None:
        if kind == "async":
            codes = asyncio.run(self.tasks())
        else:
            with self.guard.join(self.token):
                codes = self.threads()
        say(f"stopped {' '.join(codes)}")
        with self.guard.join(self.token):
            say(f"refused {self.call(10)}")
            sys.stdin.readline()
            say(f"again {self.call(11)}")


if __name__ == "__main__":
    streamer = Streamer(*sys.argv[1:4])
    with streamer.guard:
        streamer.run(sys.argv[4])
