"""Forks while a thread holds a lock, and uses in the child what the lock guards: `forker.py hub|parts|counter|…`.

Exits with 0 where the child got through. The alarm ends a child that waits for a lock which nobody there will release.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

import tokenguard as tg
from tokenguard.counting import encodings

GIVE_UP_S = 5


def main(name: str) -> int:
    guard = tg.Guard(database="memory")
    counter: Any = tg.Guard(database="memory").late.get().counter
    parts: Any = tg.Guard(database="memory").late.get()
    block: Any = tg.Guard(database="memory").scope("team")
    block.__enter__()
    lock, use = {
        "hub": (guard._hub._lock, lambda: guard.on(tg.events.Event, print)),
        "parts": (guard.late._lock, guard.late.get),
        "counter": (counter._known._lock, lambda: counter.bound("no/model", [{"role": "user", "content": "Why?"}])),
        "streams": (parts.streams._lock, parts.streams.snapshot),
        "prices": (parts.prices.book._reading, lambda: parts.prices.card("openai/gpt-5-mini")),
        "vocabulary": (encodings._LOADING.lock, lambda: counter.count("openai/gpt-4o", "Why?")),
        "scope": (block._lock, lambda: block.__exit__(None, None, None)),
    }[name]
    held, forked = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            forked.wait()

    threading.Thread(target=hold).start()
    held.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(GIVE_UP_S)
        use()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    forked.set()
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
