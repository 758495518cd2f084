"""What deciding where a call goes costs, with 32 endpoints: 24 of our own with live signals, 8 in the cloud.

    python benchmarks/routing.py [--write]

Exits 1 where a decision takes more than 30 µs (p50). Beside it, in the same run: a decision over one endpoint, so that
the cost of each further one is seen, and LiteLLM's router choosing among the same 32 by its default strategy.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

from figures import Figures, quantile

from tokenguard.routing import Endpoint, Need, Outcome, Policy, Rates, Router, Signals, SpillRule, decide

BAR_US = 30.0
OWN, CLOUDS = 24, 8
ROUNDS = 20_000
LARGE_PROMPT = 4_000


def endpoints(own: int, clouds: int) -> list[Endpoint]:
    return [
        Endpoint(f"gpu-{number}", "hosted_vllm/llama", own=True, local=True, context_tokens=32_768, kv_tokens=400_000)
        for number in range(own)
    ] + [
        Endpoint(f"cloud-{number}", "openai/gpt-5-mini", marginal=Rates(250_000 + number, 2_000_000))
        for number in range(clouds)
    ]


def router(own: int, clouds: int, waiting: int) -> Router:
    policy = Policy(spill=SpillRule(cap_pico=10**13))
    made = Router(endpoints(own, clouds), policy, at_s=0.0)
    for number in range(own):
        made.hear(f"gpu-{number}", Signals(at_s=0.0, running=20 + number, waiting=waiting, kv_usage=0.4, ttft_s=0.4))
    return made


def needs(*, keyed: bool) -> list[Need]:
    return [
        Need(
            f"call-{number}",
            LARGE_PROMPT,
            300,
            1_000,
            prefix_key=f"session-{number % 97}" if keyed else None,
            warm_tokens=number % 3 * 1_000 if keyed else 0,
        )
        for number in range(256)
    ]


def spent_us(work: Callable[[Need], object], calls: list[Need], rounds: int = ROUNDS) -> list[float]:
    """Time of each call, in microseconds: shape (rounds,)."""
    spent: list[float] = []
    for number in range(rounds):
        need = calls[number % len(calls)]
        began = time.perf_counter_ns()
        work(need)
        spent.append((time.perf_counter_ns() - began) / 1_000)
    return spent


def whole_us(made: Router, calls: list[Need]) -> list[float]:
    """A plan, a call that begins and its end, in microseconds."""

    def work(need: Need) -> None:
        plan = made.route(need, at_s=1.0)
        ticket = made.begin(plan, plan.choices[0], at_s=1.0)
        assert ticket is not None
        made.end(ticket, Outcome("ok", 1.0, 0.4, 200, cost_pico=0), at_s=2.0)

    return spent_us(work, calls, ROUNDS // 4)


def litellm_us() -> list[float]:
    """LiteLLM's router, its default strategy over as many deployments."""
    from litellm.router import Router as Theirs  # noqa: PLC0415  # after our own figures, which must not profit from it

    theirs = Theirs(
        model_list=[
            {"model_name": "m", "litellm_params": {"model": "openai/gpt-5-mini", "api_key": f"k{number}"}}
            for number in range(OWN + CLOUDS)
        ]
    )
    messages = [{"role": "user", "content": "hello"}]
    return spent_us(lambda _: theirs.get_available_deployment(model="m", messages=messages), needs(keyed=False), 1_000)


def main() -> int:
    figures = Figures("routing", __doc__.partition("\n")[0])
    medians: list[float] = []
    for what, waiting, keyed in (
        ("idle, no session", 0, False),
        ("idle, sessions", 0, True),
        ("pressed, no session", 40, False),
        ("pressed, sessions", 40, True),
    ):
        made, calls = router(OWN, CLOUDS, waiting), needs(keyed=keyed)
        snapshot, policy = made.snapshot, made.policy

        def one(need: Need) -> object:
            return decide(need, snapshot, policy, at_s=1.0)  # noqa: B023  # called before the loop goes on

        spent_us(one, calls, 1_000)
        spent = spent_us(one, calls)
        medians.append(statistics.median(spent))
        figures.add(f"decision over 32, {what}, p50", medians[-1], "µs", at_most=BAR_US)
        figures.add(f"decision over 32, {what}, p99", quantile(spent, 0.99), "µs")
    small = router(1, 0, 0)
    alone = statistics.median(
        spent_us(lambda need: decide(need, small.snapshot, small.policy, at_s=1.0), needs(keyed=False))
    )
    figures.add("decision over 1, p50", alone, "µs")
    figures.add("each further endpoint, idle, p50", (medians[0] - alone) / (OWN + CLOUDS - 1), "µs")
    whole = whole_us(router(OWN, CLOUDS, 0), needs(keyed=False))
    figures.add("plan, begin and end, p50", statistics.median(whole), "µs")
    theirs = statistics.median(litellm_us())
    figures.add("LiteLLM's router over 32, simple shuffle, p50", theirs, "µs")
    figures.add("a decision beside it", theirs / max(medians), "times")
    return figures.finish()


if __name__ == "__main__":
    sys.exit(main())
