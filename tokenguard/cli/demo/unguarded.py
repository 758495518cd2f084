"""The first half: the agent as it is, over LiteLLM and HTTP, for a few seconds. The bill is computed, not paid."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from tokenguard.cli.demo.agent import QUESTION, Researcher
from tokenguard.cli.demo.burn import Burn
from tokenguard.cli.demo.model import READER, THINKER, answer
from tokenguard.core.money import Money
from tokenguard.core.ports import Request
from tokenguard.pricing.shapes import split_usage
from tokenguard.testing.model_server import ModelServer

if TYPE_CHECKING:
    from tokenguard.cli.demo.screen import Screen
    from tokenguard.core.clock import Clock
    from tokenguard.core.ports import Backend, PriceBook

__all__ = ["run_unguarded"]

_CONNECTIONS: Final = 32
"""As many as an HTTP client keeps open; more would only queue inside this one process."""
_LOOK_EVERY_S: Final = 0.1


async def run_unguarded(seconds: float, backend: Backend, prices: PriceBook, clock: Clock, screen: Screen) -> Burn:
    """Let the agent run free for so many seconds; what it would have cost by the usage that the server reported."""
    with ModelServer(answer) as server:
        meter = _Meter(server, backend, prices, clock)
        with screen.progress("The agent runs unguarded …"):
            await _for_a_while(meter, seconds, screen)
        return meter.burn()


async def _for_a_while(meter: _Meter, seconds: float, screen: Screen) -> None:
    task = asyncio.create_task(meter.agent.research(QUESTION, "", 1))
    ends_s = meter.began_s + seconds
    while not task.done() and meter.clock.monotonic() < ends_s:
        await asyncio.wait({task}, timeout=min(_LOOK_EVERY_S, max(0.0, ends_s - meter.clock.monotonic())))
        screen.update(_line(meter.burn()))
    meter.unplug()
    with suppress(_UnpluggedError):
        await task  # Requests under way are answered within half a second; nothing more is sent.


def _line(burn: Burn) -> str:
    return (
        f"unguarded  {burn.elapsed_us / 1_000_000:4.1f} s  {burn.spent}  {burn.per_second}/s  "
        f"{burn.answers:,} answers  {burn.depth} levels deep"
    )


class _UnpluggedError(Exception):
    """The demo pulled the plug: the only end that this agent has."""


class _Meter:
    """The agent without a guard, and what its answers would be billed."""

    def __init__(self, server: ModelServer, backend: Backend, prices: PriceBook, clock: Clock) -> None:
        self.clock = clock
        self.agent = Researcher(self._ask, (READER, THINKER))
        self._cards = {model: prices.card(model) for model in (READER, THINKER)}
        self.began, self.began_s = clock.now(), clock.monotonic()
        self._ended_s: float | None = None
        self._server, self._backend = server, backend
        self._pico = self._answers = 0
        self._slots = asyncio.Semaphore(_CONNECTIONS)

    def unplug(self) -> None:
        """Stop the clock, and whatever was not sent yet."""
        self._ended_s = self.clock.monotonic()

    def burn(self) -> Burn:
        """Up to now."""
        ended_s = self.clock.monotonic() if self._ended_s is None else self._ended_s
        elapsed_us = max(1, round((ended_s - self.began_s) * 1_000_000))
        spent = Money.from_pico(self._pico)
        return Burn(self.began, elapsed_us, spent, self._answers, self._server.count, self.agent.depth)

    async def _ask(self, model: str, messages: list[dict[str, str]]) -> str:
        options: dict[str, Any] = {"messages": messages, "api_base": self._server.url, "api_key": "none"}
        async with self._slots:
            if self._ended_s is not None:
                raise _UnpluggedError
            reply = await self._backend.asend(Request("chat", model, options))
        part = self._backend.read("chat", reply)
        if part.usage is not None and self._ended_s is None:
            self._pico += self._cards[model].cost(split_usage(part.usage, provider="openai"))
            self._answers += 1
        return part.text
