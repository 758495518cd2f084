"""Joins a run and begins runs below it until the tree says no: `spawner.py DATABASE TOKEN MOST`.

Prints `granted N` with how many began, keeps them open until its standard input ends, and then ends them.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, suppress
from contextvars import copy_context

import tokenguard as tg
from tokenguard.backends.scripted import ScriptedBackend


def main(database: str, token: str, most: int) -> None:
    guard = tg.Guard(database=database, backend=ScriptedBackend([]))
    granted = 0
    with guard, guard.join(token), ExitStack() as children:
        with suppress(tg.FanOutExceeded, tg.DepthExceeded):
            for number in range(most):
                # In a context of its own, so that the next one is its sibling and not its child.
                child = copy_context().run(guard.run(f"child {number}").__enter__)
                children.push(child.__exit__)
                granted += 1
        sys.stdout.write(f"granted {granted}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
