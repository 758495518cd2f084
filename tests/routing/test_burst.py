"""A burst on one GPU, played through in simulated time: what spilling is for."""

from __future__ import annotations

import heapq
from random import Random
from typing import Any

from routing.fleets import call, cloud, gpu

from tokenguard.routing import Outcome, Policy, Prior, Router, Signals, SpillRule

PREFILL_TPS, STEP_S, SEATS, CLOUD_S = 8_000.0, 0.02, 48, 0.6
"""The GPU reads 8,000 prompt tokens a second one after the other, writes 50 tokens/s a stream, and has 48 seats."""
ANSWER, BURST_S, END_S = 150, (60.0, 120.0), 180.0


class Gpu:
    """One engine: a queue, prompts read one at a time, streams that hold a seat until they end."""

    def __init__(self) -> None:
        self.free_s, self.ends, self.starts = 0.0, list[float](), list[float]()

    def answer(self, at_s: float, prompt: int) -> tuple[float, float]:
        """When the first and the last token come."""
        self.ends = [one for one in self.ends if one > at_s]
        seat_s = heapq.nsmallest(len(self.ends) - SEATS + 1, self.ends)[-1] if len(self.ends) >= SEATS else at_s
        first_s = max(at_s, self.free_s, seat_s) + 0.05 + prompt / PREFILL_TPS
        self.free_s = first_s
        self.starts = [one for one in self.starts if one > at_s] + [first_s]
        self.ends.append(first_s + ANSWER * STEP_S)
        return first_s, first_s + ANSWER * STEP_S

    def signals(self, at_s: float) -> Signals:
        waiting = sum(one > at_s for one in self.starts)
        running = sum(one > at_s for one in self.ends) - waiting
        return Signals(at_s=at_s, running=running, waiting=waiting, kv_usage=running / SEATS * 0.8, token_s=STEP_S)


def played(*, has_cloud: bool, cap_pico: int | None = None) -> tuple[list[float], float, list[tuple[float, bool]]]:
    """Times to first token, the share of calls in the cloud, and (when, in the cloud) of each call."""
    fast = cloud(prior=Prior(ttft_s=CLOUD_S, prefill_tps=1e6))
    policy = Policy(ttft_s=2.0, spill=SpillRule(cap_pico=cap_pico, window_s=60))
    fleet = Router([gpu(), fast] if has_cloud else [gpu()], policy, at_s=0.0)
    draws, engine, at_s, heard_s = Random(11), Gpu(), 0.0, 0.0
    flying: list[tuple[float, int, Any, Outcome]] = []
    times, where = list[float](), list[tuple[float, bool]]()
    while at_s < END_S:
        at_s += draws.expovariate(24.0 if BURST_S[0] <= at_s < BURST_S[1] else 3.0)
        while heard_s + 1.0 <= at_s:
            heard_s += 1.0
            fleet.hear("gpu-a", engine.signals(heard_s))
        while flying and flying[0][0] <= at_s:
            ended_s, _, ticket, outcome = heapq.heappop(flying)
            fleet.end(ticket, outcome, at_s=ended_s)
        prompt = draws.randrange(200, 1_800)
        plan = fleet.route(call(f"{len(times)}", prompt, ANSWER), at_s=at_s)
        ticket = fleet.begin(plan, plan.choices[0], at_s=at_s)
        assert ticket is not None
        own = ticket.name == "gpu-a"
        first_s, last_s = engine.answer(at_s, prompt) if own else (at_s + CLOUD_S, at_s + CLOUD_S + 3.0)
        outcome = Outcome("ok", last_s - at_s, first_s - at_s, ANSWER)
        heapq.heappush(flying, (last_s, len(times), ticket, outcome))
        times.append(first_s - at_s)
        where.append((at_s, not own))
    return times, sum(away for _, away in where) / len(where), where


def p95(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.95)]


def test_a_burst_goes_to_the_cloud_and_the_target_holds() -> None:
    alone, _, _ = played(has_cloud=False)
    times, share, where = played(has_cloud=True)

    calm = [away for at_s, away in where if at_s < BURST_S[0] or at_s > BURST_S[1] + 20]
    assert p95(alone) > 10.0
    assert p95(times) < 2.0
    assert not any(calm), "nothing is paid for while the GPU has room"
    assert 0.1 < share < 0.6


def test_a_spill_budget_bounds_the_burst() -> None:
    _, free_share, _ = played(has_cloud=True)
    _, share, where = played(has_cloud=True, cap_pico=100 * 800_000_000)

    assert 0 < sum(away for _, away in where) < 400
    assert share < free_share
