"""Three own replicas and a cloud under a recorded burst, over real HTTP: who waits how long, and what the cloud costs.

Arrivals and lengths are Mooncake's conversation trace (FAST '25), faster by `FASTER` with the hardware faster alike, so
that waiting times below are a quarter of those they stand for. A replica reads prompts one after another and writes
for `SLOTS` at a time; it tells its load as vLLM does. The same servers then serve LiteLLM's Router. Run: `make
bench-burst`.

Bars: with spilling the p95 time to first token is within the target, without it above; LiteLLM's Router pays more
dollars to the cloud or is later; while a replica is away no request is lost, the p95 stays within 1.1 times that of the
undisturbed run, and at most a tenth of the calls leaves.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from figures import Figures, quantile

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import tokenguard as tg  # LiteLLM reads the environment when it is imported
from tokenguard.routing import Policy, Prior
from tokenguard.testing.model_server import ModelServer, RecordedRequest, Reply

ASKED, OWN = "openai/gpt-4o-mini", "hosted_vllm/llama"
FASTER = 4
SECONDS = 30.0
WORDS_PER_TOKEN = 1 / 64
"""Prompts are sent short and read slowly: what counts is how long reading takes."""
PREFILL_TPS, TOKEN_S, SLOTS = 16_000.0 * FASTER, 0.02 / FASTER, 16
CLOUD_TTFT_S, CLOUD_TOKEN_S = 0.6 / FASTER, 0.012 / FASTER
TARGET_S = 5.0 / FASTER
INPUT_PICO, OUTPUT_PICO = 150_000, 600_000
CHUNKS = 16
STEP_S = 3.0
SPEED = Prior(0.05, PREFILL_TPS * WORDS_PER_TOKEN, 1 / TOKEN_S)
"""What measuring a replica once would have told."""
TRACE = Path(__file__).resolve().parents[2] / "shared" / "data" / "traces" / "mooncake_fast25_conversation.jsonl.gz"


@dataclass(frozen=True)
class Arrival:
    """One request of the trace."""

    at_s: float
    prompt_tokens: int
    output_tokens: int

    @property
    def prompt(self) -> str:
        return "word " * max(1, round(self.prompt_tokens * WORDS_PER_TOKEN))


@dataclass
class Gpu:
    """One replica's time: prompts one after another, answers side by side."""

    free_s: list[float] = field(default_factory=lambda: [0.0] * SLOTS)
    read_s: float = 0.0
    seats: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    away: bool = False

    def answer(self, request: RecordedRequest) -> Reply:
        if self.away:
            return Reply(status=500, error="the engine is gone")
        now = time.monotonic()
        prompt, output = len(request.messages[-1]["content"].split()) / WORDS_PER_TOKEN, int(request.json["max_tokens"])
        slot = min(range(SLOTS), key=self.free_s.__getitem__)
        begins = max(now, self.free_s[slot])
        reads = max(begins, self.read_s)
        self.read_s = first = reads + prompt / PREFILL_TPS
        self.free_s[slot] = first + output * TOKEN_S
        self.seats = [one for one in self.seats if one[1] > now]
        self.seats.append((reads, self.free_s[slot]))
        return streamed(output, first - now, TOKEN_S)

    def metrics(self) -> str:
        now = time.monotonic()
        running = sum(begins <= now < ends for begins, ends in self.seats)
        waiting = sum(begins > now for begins, _ in self.seats)
        return (
            f"vllm:num_requests_running {running}\nvllm:num_requests_waiting {waiting}\n"
            f"vllm:kv_cache_usage_perc {running / SLOTS * 0.9:.3f}\n"
        )


def streamed(output: int, ttft_s: float, token_s: float) -> Reply:
    """An answer in so many tokens; the server waits for its pace before the first piece too."""
    pace_s = output * token_s / CHUNKS
    return Reply(completion_tokens=output, latency_s=max(0.0, ttft_s - pace_s), chunks=CHUNKS, pace_s=pace_s)


def cloud_answer(request: RecordedRequest) -> Reply:
    return streamed(int(request.json["max_tokens"]), CLOUD_TTFT_S, CLOUD_TOKEN_S)


@dataclass
class Site:
    """The servers of one run."""

    gpus: list[Gpu]
    replicas: list[ModelServer]
    cloud: ModelServer

    @property
    def dollars(self) -> float:
        """What the cloud was paid, by the tokens that its requests stand for."""
        pico = 0
        for one in self.cloud.requests:
            words = len(one.messages[-1]["content"].split())
            pico += round(words / WORDS_PER_TOKEN) * INPUT_PICO + int(one.json["max_tokens"]) * OUTPUT_PICO
        return pico / 10**12


@contextmanager
def site() -> Iterator[Site]:
    gpus = [Gpu() for _ in range(3)]
    with ExitStack() as stack:
        replicas = [stack.enter_context(ModelServer(one.answer, metrics=one.metrics)) for one in gpus]
        cloud = stack.enter_context(ModelServer(cloud_answer))
        yield Site(gpus, replicas, cloud)


@dataclass
class Outcome:
    """What became of one run."""

    ttft_s: list[float]
    lost: int
    cloud_share: float
    dollars: float

    @property
    def p95_s(self) -> float:
        return quantile(self.ttft_s, 0.95)


Ask = Callable[[Arrival], Awaitable[Any]]


async def replay(arrivals: list[Arrival], ask: Ask, at: Site, away: tuple[float, float] | None = None) -> Outcome:
    """Send each request at its time; measure to the first text."""
    ttft_s: list[float] = []
    lost, began = 0, 0.0

    async def one(arrival: Arrival) -> None:
        nonlocal lost
        await asyncio.sleep(max(0.0, began + arrival.at_s - time.monotonic()))
        sent = time.monotonic()
        try:
            first = None
            async for chunk in await ask(arrival):
                if first is None and chunk.choices and chunk.choices[0].delta.content:
                    first = time.monotonic() - sent
            assert first is not None, "an answer without text"
            ttft_s.append(first)
        except Exception as error:  # a request that was lost is a figure
            print("lost:", type(error).__name__, str(error)[:160])
            lost += 1

    async def outage() -> None:
        if away is not None:
            await asyncio.sleep(away[0])
            at.gpus[0].away = True
            await asyncio.sleep(away[1] - away[0])
            at.gpus[0].away = False

    # What a first call loads is no waiting time of a replica.
    await asyncio.gather(*(drain(ask) for _ in range(4)))
    for server in (*at.replicas, at.cloud):
        server.reset()
    began = time.monotonic()
    await asyncio.gather(outage(), *(one(arrival) for arrival in arrivals))
    return Outcome(ttft_s, lost, at.cloud.count / len(arrivals), at.dollars)


async def drain(ask: Ask) -> None:
    async for _ in await ask(Arrival(0.0, 100, 8)):
        pass


def ours(at: Site, *, spills: bool = True, own: bool = True) -> tuple[tg.Guard, Ask]:
    endpoints: list[Any] = [
        tg.Endpoint(f"gpu-{number}", OWN, one.url, own=True, local=True, prior=SPEED)
        for number, one in enumerate(at.replicas)
    ] * own
    options: dict[str, dict[str, Any]] = {one.name: {"api_key": "k"} for one in endpoints}
    if spills:
        rates = tg.Rates(round(INPUT_PICO / WORDS_PER_TOKEN), OUTPUT_PICO)
        endpoints.append(tg.Endpoint("cloud", ASKED, at.cloud.url, marginal=rates))
        options["cloud"] = {"api_key": "k"}
    route = tg.Route(endpoints, Policy(ttft_s=TARGET_S), options, poll_s=1.0 / FASTER)
    guard = tg.Guard(database="memory", routes={ASKED: route}, prompt="off", loops=False)

    async def ask(arrival: Arrival) -> Any:
        messages = [{"role": "user", "content": arrival.prompt}]
        return await guard.acompletion(ASKED, messages, max_tokens=arrival.output_tokens, stream=True, num_retries=1)

    return guard, ask


def litellm_router(at: Site, strategy: str, *, cloud_is_one_of_all: bool) -> Ask:
    """LiteLLM's own: the cloud as its fallback, or as one deployment among the others."""
    from litellm.router import Router  # noqa: PLC0415

    own = [
        {"model_name": "m", "litellm_params": {"model": OWN, "api_base": one.url, "api_key": "k"}}
        for one in at.replicas
    ]
    name = "m" if cloud_is_one_of_all else "cloud"
    params = {"model": ASKED, "api_base": at.cloud.url, "api_key": "k"}
    router: Any = Router(
        [*own, {"model_name": name, "litellm_params": params}],
        routing_strategy=strategy,  # type: ignore[arg-type]  # one of its literals
        fallbacks=[] if cloud_is_one_of_all else [{"m": ["cloud"]}],
        num_retries=2,
    )

    async def ask(arrival: Arrival) -> Any:
        messages = [{"role": "user", "content": arrival.prompt}]
        return await router.acompletion("m", messages, max_tokens=arrival.output_tokens, stream=True)

    return ask


def arrivals(share: float, seconds: float = SECONDS) -> list[Arrival]:
    """The trace's first requests, every so many of them, for so long.

    It tells arrivals in steps of three seconds; those of one step are spread evenly over it.
    """
    steps: dict[float, list[Any]] = {}
    taken = 0.0
    with gzip.open(TRACE, "rt") as lines:
        for line in lines:
            row = json.loads(line)
            taken += share
            if taken >= 1:
                taken -= 1
                steps.setdefault(row["timestamp"] / 1_000, []).append(row)
    return [
        Arrival((at_s + STEP_S * number / len(rows)) / FASTER, row["input_length"], min(2_000, row["output_length"]))
        for at_s, rows in steps.items()
        for number, row in enumerate(rows)
        if at_s / FASTER <= seconds
    ]


def run(load: list[Arrival], kind: str, away: tuple[float, float] | None = None) -> Outcome:
    with site() as at:
        if kind.startswith("ours"):
            guard, ask = ours(at, spills=kind != "ours, no cloud", own=kind != "ours, all cloud")
            with guard:
                return asyncio.run(replay(load, ask, at, away))
        _, strategy, place = kind.split(", ")
        return asyncio.run(replay(load, litellm_router(at, strategy, cloud_is_one_of_all=place == "among"), at, away))


def main() -> int:
    figures = Figures("burst", f"Times are a quarter of what they stand for; the target is {TARGET_S:g} s.")
    if not TRACE.exists():
        print("The recorded arrivals are not here (shared/data beside the checkout): nothing is measured.")
        return 0
    burst, calm = arrivals(1.0), arrivals(0.5)
    print(f"{len(burst):,} requests in {SECONDS:g} s; {len(calm):,} in the calm run")
    kinds = (
        "ours",
        "ours, no cloud",
        "ours, all cloud",
        "litellm, simple-shuffle, behind",
        "litellm, least-busy, behind",
        "litellm, simple-shuffle, among",
        "litellm, least-busy, among",
    )
    found = {kind: run(burst, kind) for kind in kinds}
    for kind, one in found.items():
        bars = {"at_most": TARGET_S} if kind == "ours" else {"at_least": TARGET_S} if kind == "ours, no cloud" else {}
        figures.add(f"{kind}: p95 to first token", one.p95_s, "s", **bars)
        figures.add(f"{kind}: to the cloud", one.cloud_share * 100, "% of calls")
        figures.add(f"{kind}: dollars", one.dollars, "USD")
        figures.add(f"{kind}: lost", one.lost, "calls", at_most=0 if kind.startswith("ours") else None)
    for kind in kinds[3:]:
        peer, mine = found[kind], found["ours"]
        better = peer.p95_s > mine.p95_s or peer.dollars > mine.dollars
        figures.add(f"ours is earlier or cheaper than {kind}", float(better), "", at_least=1)
        if peer.p95_s <= mine.p95_s:
            figures.add(f"dollars against {kind}", mine.dollars / max(peer.dollars, 1e-9), "x", at_most=1)
    whole, broken = run(calm, "ours"), run(calm, "ours", (SECONDS * 0.3, SECONDS * 0.5))
    figures.add("a calm run: p95 to first token", whole.p95_s, "s")
    figures.add("a replica is away: p95 over the calm run's", broken.p95_s / whole.p95_s, "x", at_most=1.1)
    figures.add("a replica is away: lost", broken.lost, "calls", at_most=0)
    figures.add("a replica is away: to the cloud", broken.cloud_share * 100, "% of calls", at_most=10)
    return figures.finish()


if __name__ == "__main__":
    sys.exit(main())
