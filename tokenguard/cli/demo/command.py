"""`tokenguard demo`: puts the two halves together and says what they show."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import ExitStack, nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from tokenguard.cli.demo.ending import heading_of, last_words, next_commands
from tokenguard.cli.demo.screen import Screen
from tokenguard.cli.options import FINDING, Json
from tokenguard.cli.terminal import document
from tokenguard.core.clock import SystemClock
from tokenguard.core.money import Money
from tokenguard.errors import BackendError, BadAmount, SettingsError, TokenguardError

if TYPE_CHECKING:
    from tokenguard.cli.demo.burn import Burn
    from tokenguard.cli.demo.guarded import Outcome
    from tokenguard.core.ports import Backend

__all__ = ["demo"]

_KEYS: Final = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "mistral": "MISTRAL_API_KEY",
    "groq": "GROQ_API_KEY",
    "xai": "XAI_API_KEY",
    "deepseek": "DEEPSEEK_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
}
"""Where LiteLLM looks for the keys of common providers; others fail with LiteLLM's own words."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What was asked for, checked."""

    cap: Money
    seconds: float
    database: str
    model: str | None
    screen: Screen


def demo(
    *,
    model: Annotated[
        str | None,
        typer.Option(help="A real model, such as gpt-5-mini, instead of the local one; needs your provider's key."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.5, max=60, help="How long the unguarded agent runs.")] = 5.0,
    budget: Annotated[str, typer.Option(help="The guarded agent's cap, in dollars.")] = "0.05",
    as_json: Json = False,
    database: Annotated[
        str | None, typer.Option("--database", help="Where to keep the books. Default: a new file.")
    ] = None,
) -> None:
    """Watch a runaway agent spend, then watch it stop at its cap. Offline, about 20 seconds.

    With --model only the guarded half runs, on the real provider, under the same cap.
    """
    cap = Money(budget)
    if cap.pico <= 0:
        raise BadAmount(f"--budget {budget}: give the agent a cap above zero.", amount=cap)
    screen = Screen(SystemClock(), quiet=as_json)
    # One loop for all of it, because LiteLLM keeps things that belong to the loop of its first call.
    # What libraries print on the way must not end up inside the document.
    aside = redirect_stdout(sys.stderr) if as_json else nullcontext()
    with aside, asyncio.Runner() as runner:
        backend = runner.run(_loaded(model, screen))
        plan = _Plan(cap, seconds, database or _new_file(), model, screen)
        burn = runner.run(_burn(plan, backend)) if model is None else None
        outcome = runner.run(_guard(plan, backend))
    _conclude(plan, burn, outcome, as_json=as_json)


async def _loaded(model: str | None, screen: Screen) -> Backend:
    """LiteLLM, with something to look at while it loads."""
    with screen.progress("Loading LiteLLM, about 10 seconds …"):
        from tokenguard.backends.litellm import LiteLLMBackend  # noqa: PLC0415  # --help must not wait for it

        backend = LiteLLMBackend()
        backend.warm()
        if model is None:
            await _first_call(backend)
        else:
            _check_key(backend, model)
    return backend


async def _first_call(backend: Backend) -> None:
    """One call to a server of its own: LiteLLM loads half of itself at the first, and that is not the agent's time."""
    from tokenguard.cli.demo.model import READER  # noqa: PLC0415
    from tokenguard.core.ports import Request  # noqa: PLC0415
    from tokenguard.testing.model_server import ModelServer  # noqa: PLC0415

    with ModelServer("ready") as server:
        hello = [{"role": "user", "content": "hello"}]
        await backend.asend(Request("chat", READER, {"messages": hello, "api_base": server.url, "api_key": "none"}))


async def _burn(plan: _Plan, backend: Backend) -> Burn:
    from tokenguard.cli.demo.unguarded import run_unguarded  # noqa: PLC0415
    from tokenguard.pricing.policy import Prices  # noqa: PLC0415

    plan.screen.heading("1. A recursive research agent, without a guard")
    plan.screen.tell(
        "Every answer raises questions, and every question gets an agent. LiteLLM and HTTP are real, the model is a "
        "server on this machine. The bill is simulated: the usage that the server reports, times the public prices of "
        "gpt-4o and gpt-4o-mini."
    )
    burn = await run_unguarded(plan.seconds, backend, Prices(), SystemClock(), plan.screen)
    plan.screen.tell("", *burn.sentences(), f"Requests that reached the model server: {burn.requests:,}.")
    return burn


async def _guard(plan: _Plan, backend: Backend) -> Outcome:
    from tokenguard.cli.demo.guarded import run_guarded  # noqa: PLC0415
    from tokenguard.cli.demo.model import READER, THINKER, answer  # noqa: PLC0415
    from tokenguard.testing.model_server import ModelServer  # noqa: PLC0415

    heading_of(plan.screen, plan.cap, plan.model)
    models = (READER, THINKER) if plan.model is None else (plan.model, plan.model)
    with ExitStack() as stack:
        server = stack.enter_context(ModelServer(answer)) if plan.model is None else None
        try:
            return await run_guarded(plan.cap, plan.database, backend, models=models, server=server, screen=plan.screen)
        except Exception as error:
            if server is not None or isinstance(error, TokenguardError):
                raise
            # Class and status only: a provider's message may quote the prompt, or the key that it refuses.
            failure = backend.failure(error)
            status = "" if failure.status is None else f", status {failure.status}"
            raise BackendError(
                f"{plan.model}: the provider answered {failure.error_class}{status}. Ask LiteLLM alone to see its "
                f"words. What was sent is in the ledger ({plan.database}).",
            ) from error


def _check_key(backend: Backend, model: str) -> None:
    import os  # noqa: PLC0415

    provider, _ = backend.identity(model, {})
    key = _KEYS.get(provider)
    if key is not None and not os.environ.get(key):
        raise SettingsError(
            f"--model {model} is sent to {provider}, which needs {key} in the environment. Without --model the demo "
            "runs offline and needs no key."
        )


def _new_file() -> str:
    """A ledger of its own, so that the demo's spend is nobody's."""
    return str(Path(tempfile.mkdtemp(prefix="tokenguard-demo-")) / "spend.db")


def _conclude(plan: _Plan, burn: Burn | None, outcome: Outcome, *, as_json: bool) -> NoReturn:
    if as_json:
        document(_json(plan, burn, outcome))
    else:
        last_words(burn, outcome, plan.database)
    raise typer.Exit(0 if outcome.ok else FINDING)


def _json(plan: _Plan, burn: Burn | None, outcome: Outcome) -> dict[str, Any]:
    return {
        "ok": outcome.ok,
        "unguarded": burn.json() if burn else None,
        "guarded": outcome.json(),
        "ledger": outcome.receipt.ledger,
        "next": next_commands(outcome, plan.database),
    }
