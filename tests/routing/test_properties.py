"""What holds in every state: private calls stay, decisions repeat, stale snapshots decide, sessions stay at home."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from routing.fleets import call, calm, cloud, gpu, names, router

from tokenguard.core.ladder import Rung
from tokenguard.errors import NoEndpoint
from tokenguard.routing import (
    Endpoint,
    Need,
    Outcome,
    Policy,
    Rates,
    Router,
    Signals,
    SpillRule,
    decide,
    read_schedule,
    refusal,
)
from tokenguard.routing.hashing import digest64, nearness, seed_of

ORDERS = ("own_first", "least_loaded", "cheapest", "weighted")
HOW = ("ok", "fault", "busy", "caller", "cancelled")


def endpoints(draws: Random) -> list[Endpoint]:
    return [
        Endpoint(
            f"e{number}",
            "m",
            own=draws.random() < 0.5,
            local=draws.random() < 0.4,
            marginal=Rates(draws.randrange(10**6), draws.randrange(10**7)),
            context_tokens=draws.choice([None, 1_000, 100_000]),
            can=frozenset(draws.sample(["tools", "json", "vision"], draws.randrange(4))),  # type: ignore[arg-type]  # names of capabilities
            tier=draws.choice(["small", "large"]),
            weight=draws.choice([1, 1, 1, 4]),
            max_concurrent=draws.choice([None, 1, 3]),
            schedule=draws.choice([None, None, read_schedule("08:00-20:00")]),
            kv_tokens=draws.choice([None, 50_000]),
        )
        for number in range(draws.randrange(1, 8))
    ]


def need(draws: Random, number: int) -> Need:
    prompt = draws.choice([0, 10, 1_000, 50_000])
    return Need(
        f"call-{number}",
        prompt,
        draws.choice([0, 100, 4_000]),
        draws.choice([None, 8_000]),
        uses=frozenset(draws.sample(["tools", "json", "vision"], draws.choice([0, 0, 1]))),  # type: ignore[arg-type]  # as above
        private=draws.random() < 0.5,
        tier=draws.choice([None, "small", "large"]),
        deadline_s=draws.choice([None, None, 1.0, 30.0]),
        prefix_key=draws.choice([None, "a", "b"]),
        warm_tokens=draws.randrange(prompt + 1),
        rung=draws.choice([None, None, Rung.STEER, Rung.REROUTE, Rung.FINAL]),
    )


def signals(draws: Random, at_s: float) -> Signals:
    return Signals(
        at_s=at_s,
        running=draws.randrange(300),
        waiting=draws.choice([0, 0, 1, 30, 5_000]),
        kv_usage=draws.choice([None, 0.0, 0.5, 1.0]),
        kv_tokens=draws.choice([None, 1_000, 400_000]),
        ttft_s=draws.choice([None, 0.1, 20.0]),
        queue_s=draws.choice([None, 0.0, 9.0]),
        token_s=draws.choice([None, 0.02]),
        hit_share=draws.choice([None, 0.0, 1.0]),
        asleep=draws.random() < 0.1,
    )


def lived(draws: Random, steps: int) -> tuple[Router, float, list[tuple[Need, str]]]:
    """A router after a random life, and every (call, endpoint) that was planned or begun in it."""
    policy = Policy(
        order=draws.choice(ORDERS),  # type: ignore[arg-type]  # names of orders
        ttft_s=draws.choice([0.5, 2.0]),
        spill=SpillRule(cap_pico=draws.choice([None, 10**9, 10**13]), window_s=60),
        choices_max=draws.choice([1, 2, 4]),
    )
    fleet, at_s = Router(endpoints(draws), policy, at_s=0.0), 0.0
    tickets: list[Any] = []
    asked: list[tuple[Need, str]] = []
    for number in range(steps):
        at_s += draws.choice([0.0, 0.1, 2.0, 20.0])
        what = draws.random()
        if what < 0.25:
            fleet.hear(f"e{draws.randrange(8)}", signals(draws, at_s))
        elif what < 0.45 and tickets:
            outcome = Outcome(draws.choice(HOW), draws.random() * 5, draws.choice([None, 0.3]), draws.randrange(300))  # type: ignore[arg-type]  # names of ends
            fleet.end(tickets.pop(draws.randrange(len(tickets))), outcome, at_s=at_s)
        elif what < 0.5:
            fleet.refit(endpoints(draws), at_s=at_s)
        else:
            one = need(draws, number)
            minute = draws.randrange(10_080)
            plan = decide(one, fleet.snapshot, policy, at_s=at_s, minute=minute)
            assert plan.choices or refusal(plan).private is one.private
            plan = fleet.route(one, at_s=at_s, minute=minute) if plan.choices else plan
            for choice in plan.choices:
                asked.append((one, "local" if choice.endpoint.local else "away"))
                ticket = fleet.begin(plan, choice, at_s=at_s)
                if ticket is not None:
                    tickets.append(ticket)
                    break
    return fleet, at_s, asked


@pytest.mark.parametrize("block", range(6))
def test_private_calls_never_leave_in_twelve_hundred_random_lives(block: int) -> None:
    planned = 0
    for seed in range(block * 200, block * 200 + 200):
        _, _, asked = lived(Random(seed), steps=25)
        private = [where for one, where in asked if one.private]
        planned += len(private)

        assert set(private) <= {"local"}

    assert planned > 200, "there was something to get wrong"


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=150)
def test_a_decision_is_the_same_whenever_it_is_asked_again(seed: int) -> None:
    draws = Random(seed)
    fleet, at_s, _ = lived(draws, steps=20)
    one, minute = need(draws, 0), draws.randrange(10_080)

    plans = [decide(one, fleet.snapshot, fleet.policy, at_s=at_s, minute=minute) for _ in range(3)]

    assert plans[0] == plans[1] == plans[2]
    names_ = [choice.endpoint.name for choice in plans[0].choices]
    assert len(names_) == len(set(names_)) <= fleet.policy.choices_max
    assert not set(names_) & {drop.name for drop in plans[0].dropped}
    assert all(drop.sentence for drop in plans[0].dropped)


@given(seed=st.integers(0, 1 << 32), later_s=st.floats(-1e6, 1e9))
@settings(max_examples=150)
def test_a_stale_snapshot_never_raises(seed: int, later_s: float) -> None:
    draws = Random(seed)
    fleet, at_s, _ = lived(draws, steps=20)

    plan = decide(need(draws, 0), fleet.snapshot, fleet.policy, at_s=at_s + later_s)

    assert all(one.ttft_s >= 0 and one.finish_s >= one.ttft_s for one in plan.choices)


@given(levels=st.lists(st.integers(0, 40), min_size=1, max_size=40))
def test_no_endpoint_flaps_while_its_pressure_stays_between_the_thresholds(levels: list[int]) -> None:
    fleet, changes = router(gpu()), 0
    was = fleet.snapshot.standings[0].pressed
    for number, waiting in enumerate(levels):
        fleet.hear("gpu-a", calm(float(number), waiting=waiting))
        now = fleet.snapshot.standings[0]

        assert now.pressed is was or not 0.5 <= now.pressure <= 0.8
        changes += now.pressed is not was
        was = now.pressed

    assert changes <= 1 + sum((a > 4) != (b > 4) for a, b in pairwise(levels)) * 2


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=60)
def test_the_spill_budget_is_never_exceeded_by_whatever_the_router_lets_begin(seed: int) -> None:
    cap_pico, draws = 40_000_000_000, Random(seed)
    fleet = router(gpu(max_concurrent=2), cloud(), spill=SpillRule(cap_pico=cap_pico, window_s=100))
    at_s, spent, flying = 0.0, list[tuple[float, int]](), list[Any]()
    for number in range(150):
        at_s += draws.choice([0.0, 0.5, 5.0])
        plan = None
        with suppress(NoEndpoint):
            plan = fleet.route(call(f"{number}", prompt=draws.randrange(1, 4_000), output_tokens_max=1_000), at_s=at_s)
        for choice in plan.choices if plan else ():
            ticket = fleet.begin(plan, choice, at_s=at_s)  # type: ignore[arg-type]  # there are choices, so there is a plan
            if ticket is not None:
                cost = draws.randrange(ticket.hold_pico + 1)
                flying.append((ticket, cost))
                spent.append((at_s, cost))
                break
        while flying and draws.random() < 0.5:
            ticket, cost = flying.pop(0)
            fleet.end(ticket, Outcome("ok", 1.0, 0.2, 9, cost_pico=cost), at_s=at_s)

    assert all(sum(cost for at, cost in spent if start <= at <= start + 100) <= cap_pico for start, _ in spent)


KEYS = [digest64(f"session-{number}") for number in range(6_000)]


def owners(places: list[str]) -> list[str]:
    seeds = {one: seed_of(one) for one in places}
    return [min(places, key=lambda one: nearness(key, seeds[one])) for key in KEYS]


@pytest.mark.parametrize("count", [2, 5, 16, 31])
def test_a_replica_that_joins_takes_its_share_and_moves_nothing_else(count: int) -> None:
    before = owners([f"gpu-{one}" for one in range(count)])
    after = owners([f"gpu-{one}" for one in range(count + 1)])

    moved = [new for old, new in zip(before, after, strict=True) if old != new]

    assert set(moved) == {f"gpu-{count}"}
    assert len(moved) / len(KEYS) == pytest.approx(1 / (count + 1), rel=0.25)


@pytest.mark.parametrize("count", [3, 8, 32])
def test_replicas_have_about_equal_shares(count: int) -> None:
    held = owners([f"gpu-{one}" for one in range(count)])

    shares = [held.count(f"gpu-{one}") * count / len(KEYS) for one in range(count)]

    assert min(shares) > 0.7
    assert max(shares) < 1.3


def test_a_replica_that_leaves_moves_only_its_own_sessions_through_the_router() -> None:
    replicas = [gpu(f"gpu-{one}") for one in range(6)]
    fleet, sessions = router(*replicas), [f"s{one}" for one in range(300)]

    def places() -> dict[str, str]:
        return {key: names(fleet.route(call(prefix_key=key), at_s=1.0))[0] for key in sessions}

    before = places()
    fleet.refit(replicas[:-1], at_s=0.0)
    after = places()

    assert {before[key] for key in sessions if before[key] != after[key]} == {"gpu-5"}
    assert "gpu-5" not in after.values()
