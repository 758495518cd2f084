"""Goes on with a conversation of another process's run: `reader.py DATABASE TOKEN URL WHICH FIRST LAST HOW`.

WHICH conversation: `long` or `again` of `folding_talk`; its requests have FIRST to LAST results. HOW it ends: `done`,
`killed` after its last answer, or `stored`: killed between keeping an original and sending the prompt.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from folding_talk import AGAIN, FLAT, ORDERS, send, used

import tokenguard as tg


class Server:
    """Where a model server listens."""

    def __init__(self, url: str) -> None:
        self.url = url


def main() -> None:
    database, token, url, which, first, last, how = sys.argv[1:]
    level: Any = ("gated", ["refer"], ORDERS) if which == "long" else ("lossless", [], AGAIN)
    name, off, results = level
    folding = tg.Folding(name, recovery="shell", trim_above=1_000, off=off)
    guard = tg.Guard(database=database, prices=FLAT, loops=False, prompt=folding)
    server: Any = Server(url)
    with guard.join(token):
        if how == "stored":
            _die_when_kept(guard)
        for count in range(int(first), int(last) + 1):
            send(guard, server, used(*results[:count]))
        if how != "done":
            os.kill(os.getpid(), signal.SIGKILL)
    guard.close()


def _die_when_kept(guard: tg.Guard) -> None:
    ledger: Any = guard.late.get().ledger
    store = ledger.store_texts

    def kept(texts: Any) -> None:
        store(texts)
        os.kill(os.getpid(), signal.SIGKILL)

    ledger.store_texts = kept


if __name__ == "__main__":
    main()
