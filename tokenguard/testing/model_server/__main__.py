"""Run the model server on its own: `python -m tokenguard.testing.model_server --port 8000`.

Its first line of output is the `api_base` to use; `GET /stats` beside it tells the counters.
"""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import suppress
from typing import NoReturn

from tokenguard.testing.model_server.script import Reply
from tokenguard.testing.model_server.server import ModelServer


def _leave(number: int, frame: object) -> NoReturn:
    del number, frame
    sys.exit(0)


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tokenguard.testing.model_server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000, help="0 picks a free one")
    parser.add_argument("--text", default="", help="what every answer says; default: filler")
    parser.add_argument("--completion-tokens", type=int, help="tokens of every answer, within the request's maximum")
    parser.add_argument("--share-of-max", type=float, help="instead: this part of the request's maximum, 0..1")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="wait before the first byte")
    parser.add_argument("--pace-ms", type=float, default=0.0, help="wait before each chunk of a stream")
    parser.add_argument("--status", type=int, default=200, help="HTTP status of every answer")
    chosen = parser.parse_args(arguments)
    reply = Reply(
        text=chosen.text,
        completion_tokens=chosen.completion_tokens,
        share_of_max=chosen.share_of_max,
        latency_s=chosen.latency_ms / 1000,
        pace_s=chosen.pace_ms / 1000,
        status=chosen.status,
    )
    with suppress(KeyboardInterrupt), ModelServer(reply, host=chosen.host, port=chosen.port) as server:
        # A polite kill is the usual end of a server that a script started.
        signal.signal(signal.SIGTERM, _leave)
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        server.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
