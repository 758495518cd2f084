"""One decision at a time: who is left out and why, and who comes first."""

from __future__ import annotations

from dataclasses import replace

import pytest
from routing.fleets import CHEAP, DEAR, call, calm, cloud, gpu, names, pressed, router

from tokenguard.core.ladder import Rung
from tokenguard.errors import NoEndpoint
from tokenguard.routing import Endpoint, Outcome, Prior, Reason, Router, SpillRule, Why, decide, read_schedule, refusal

FAST_CLOUD = cloud(prior=Prior(ttft_s=0.2, prefill_tps=50_000.0))


def whys(found: Router, **more: object) -> list[tuple[str, Why]]:
    plan = found.route(call(**more), at_s=1.0)
    return [(one.endpoint.name, one.why) for one in plan.choices]


def dropped(found: Router, at_s: float = 1.0, minute: int = 0, **more: object) -> dict[str, Reason]:
    plan = decide(call(**more), found.snapshot, found.policy, at_s=at_s, minute=minute)
    return {one.name: one.reason for one in plan.dropped}


def taught(found: Router, endpoint: str, ttft_s: float, times: int = 5) -> Router:
    """An endpoint that was seen to answer so fast."""
    for number in range(times):
        plan = found.route(call(f"teach-{number}"), at_s=0.5)
        choice = next(one for one in plan.choices if one.endpoint.name == endpoint)
        ticket = found.begin(plan, choice, at_s=0.5)
        assert ticket is not None
        found.end(ticket, Outcome("ok", ttft_s + 4.0, ttft_s, 200), at_s=0.5)
    return found


# ---- filters ---------------------------------------------------------------------------------------------------------


def test_a_private_call_goes_to_local_endpoints_only_and_is_refused_without_one() -> None:
    both = router(gpu(), cloud())
    assert whys(both, private=True) == [("gpu-a", Why.OWN)]
    assert dropped(both, private=True) == {"cloud": Reason.PRIVATE}

    with pytest.raises(
        NoEndpoint, match=r"None of 1 endpoints may answer this private call \(cloud: it is not local\)"
    ) as no:
        router(cloud()).route(call(private=True), at_s=0.0)

    assert (no.value.private, no.value.retry_in_s, no.value.dropped) == (True, None, ("cloud: it is not local",))
    assert no.value.sentence.endswith("Declare an endpoint with local=True, or call without the privacy tag.")


def test_what_an_endpoint_cannot_do_is_not_asked_of_it() -> None:
    fleet = router(
        gpu(can=frozenset({"json"})),
        cloud("small", tier="small"),
        cloud("short", context_tokens=1_000),
        cloud("fits", context_tokens=1_200),
    )

    assert dropped(fleet, uses=frozenset({"tools"}), tier="large") == {
        "gpu-a": Reason.CANNOT,
        "small": Reason.TIER,
        "short": Reason.CONTEXT,
    }
    assert names(fleet.route(call(uses=frozenset({"tools"}), tier="large"), at_s=1.0)) == ["fits"]


def test_outside_its_schedule_an_endpoint_is_left_alone() -> None:
    night = read_schedule("22:00-06:00")
    fleet = router(gpu(schedule=night), cloud(schedule=night), cloud("always"))

    assert dropped(fleet, minute=12 * 60) == {"gpu-a": Reason.SCHEDULE, "cloud": Reason.SCHEDULE}
    assert dropped(fleet, minute=23 * 60) == {}


def test_a_full_endpoint_is_left_out_until_a_call_ends() -> None:
    fleet = router(gpu(max_concurrent=1), cloud())
    plan = fleet.route(call(), at_s=0.0)
    ticket = fleet.begin(plan, plan.choices[0], at_s=0.0)
    assert ticket is not None

    assert dropped(fleet) == {"gpu-a": Reason.FULL}
    assert fleet.begin(plan, plan.choices[0], at_s=0.0) is None
    fleet.end(ticket, Outcome("ok", 1.0), at_s=1.0)

    assert dropped(fleet) == {}


def test_a_deadline_leaves_out_who_is_known_to_be_late_and_nobody_else() -> None:
    fleet = router(gpu(), FAST_CLOUD, ttft_s=10.0)
    assert dropped(fleet, deadline_s=0.1) == {}, "a prior refuses nobody"
    taught(fleet, "gpu-a", ttft_s=3.0)

    assert dropped(fleet, deadline_s=2.0) == {"gpu-a": Reason.DEADLINE}
    assert dropped(taught(router(FAST_CLOUD), "cloud", ttft_s=3.0), deadline_s=2.0) == {"cloud": Reason.DEADLINE}


def test_a_sleeping_engine_is_left_alone_while_that_is_believed() -> None:
    fleet = router(gpu(), cloud())
    fleet.hear("gpu-a", calm(asleep=True))

    assert dropped(fleet, at_s=1.0) == {"gpu-a": Reason.SHUT}
    assert dropped(fleet, at_s=5.0) == {}


# ---- own first -------------------------------------------------------------------------------------------------------


def test_own_comes_first_while_it_holds_and_the_cheapest_cloud_is_behind_it() -> None:
    fleet = router(gpu(), gpu("gpu-b"), gpu("gpu-c"), cloud("dear", DEAR), cloud("cheap", CHEAP), choices_max=3)

    found = whys(fleet)

    assert [why for _, why in found] == [Why.OWN, Why.FALLBACK, Why.FALLBACK]
    assert found[-1][0] == "cheap"


def test_among_equals_the_weights_draw_and_the_least_loaded_goes_before_them() -> None:
    fleet = router(gpu("light", weight=1), gpu("heavy", weight=3))
    first = [names(fleet.route(call(f"call-{one}"), at_s=1.0))[0] for one in range(800)]
    assert 520 < first.count("heavy") < 680
    fleet.hear("heavy", calm(waiting=3))
    fleet.hear("light", calm())

    assert {names(fleet.route(call(f"call-{one}"), at_s=1.0))[0] for one in range(50)} == {"light"}


def test_pressed_endpoints_spill_and_stop_below_the_lower_threshold() -> None:
    fleet = router(gpu(), FAST_CLOUD)
    fleet.hear("gpu-a", pressed())
    assert whys(fleet) == [("cloud", Why.SPILL), ("gpu-a", Why.FALLBACK)]
    fleet.hear("gpu-a", pressed(waiting=4))  # 1.3 s of 2 s: between the thresholds.
    assert fleet.snapshot.standings[0].pressed
    fleet.hear("gpu-a", calm())

    assert whys(fleet) == [("gpu-a", Why.OWN), ("cloud", Why.FALLBACK)]


def test_of_the_calls_of_a_pressed_endpoint_the_cheapest_per_saved_second_go() -> None:
    fleet = router(gpu(), FAST_CLOUD)
    fleet.hear("gpu-a", pressed())
    fleet.hear("gpu-a", pressed(waiting=5))  # 1.4 s of 2 s: two calls in five should go.
    for number in range(200):
        fleet.route(call(f"warm-up-{number}", prompt=100 + number % 20 * 100, output=10 + number % 7 * 40), at_s=1.0)

    reads_much = fleet.route(call("reads", prompt=1_400, output=1), at_s=1.0)
    writes_much = fleet.route(call("writes", prompt=10, output=1_000), at_s=1.0)

    # Two streams share a step: 1,000 tokens take 12.5 s of the hardware, the long prompt 0.3 s.
    assert writes_much.choices[0].why is Why.SPILL
    assert reads_much.choices[0].why is Why.STAYS


def test_a_call_that_would_be_late_spills_though_nobody_is_pressed() -> None:
    fleet = router(gpu(), FAST_CLOUD)
    fleet.hear("gpu-a", calm(kv_tokens=1_000_000))

    assert whys(fleet, prompt=20_000)[0] == ("cloud", Why.SPILL)
    assert not fleet.snapshot.standings[0].pressed


def test_without_room_in_the_cache_a_call_spills() -> None:
    fleet = router(gpu(), FAST_CLOUD)
    fleet.hear("gpu-a", calm(kv_usage=0.9, kv_tokens=40_000))

    assert whys(fleet, prompt=3_000)[0] == ("cloud", Why.SPILL)


def test_a_cloud_that_is_no_faster_is_not_worth_its_price() -> None:
    fleet = router(gpu(), cloud(prior=Prior(ttft_s=60.0)))
    fleet.hear("gpu-a", pressed())

    assert whys(fleet) == [("gpu-a", Why.STAYS), ("cloud", Why.FALLBACK)]


def test_without_a_cloud_the_least_late_own_endpoint_answers() -> None:
    fleet = router(gpu(), gpu("gpu-b"))
    fleet.hear("gpu-a", pressed(waiting=50))
    fleet.hear("gpu-b", pressed(waiting=40))

    assert whys(fleet) == [("gpu-b", Why.STAYS), ("gpu-a", Why.FALLBACK)]


def test_a_cloud_says_whether_own_hardware_could_have_answered() -> None:
    fleet = router(gpu(context_tokens=500), cloud())
    assert whys(fleet) == [("cloud", Why.FALLBACK)], "it is able, only too small"

    assert whys(router(gpu(can=frozenset()), cloud()), uses=frozenset({"json"})) == [("cloud", Why.ONLY)]


def test_a_plan_of_one_seat_is_the_best_endpoint_alone() -> None:
    assert whys(router(gpu(), cloud(), choices_max=1)) == [("gpu-a", Why.OWN)]
    assert whys(router(cloud("b"), cloud("a", DEAR), choices_max=1)) == [("b", Why.ONLY)]
    late = router(gpu(), FAST_CLOUD, choices_max=1)
    late.hear("gpu-a", pressed())
    assert whys(late) == [("cloud", Why.SPILL)]


# ---- sessions --------------------------------------------------------------------------------------------------------

REPLICAS = [gpu(f"gpu-{one}") for one in "abcd"]


def home(fleet: Router, key: str) -> str:
    return names(fleet.route(call(prefix_key=key), at_s=1.0))[0]


def test_a_session_goes_to_the_same_replica_whatever_the_call() -> None:
    fleet = router(*REPLICAS)

    places = {names(fleet.route(call(f"call-{one}", prefix_key="s"), at_s=1.0))[0] for one in range(20)}

    assert len(places) == 1
    assert fleet.route(call(prefix_key="s"), at_s=1.0).choices[0].why is Why.HOME


def test_a_pressed_replica_hands_cold_sessions_on_and_keeps_warm_ones() -> None:
    fleet = router(*REPLICAS, ttft_s=1.0)
    place = home(fleet, "s")
    for one in REPLICAS:
        fleet.hear(one.name, pressed(waiting=3) if one.name == place else calm())

    cold = fleet.route(call(prefix_key="s"), at_s=1.0)
    hardly = fleet.route(call(prefix_key="s", warm_tokens=300), at_s=1.0)
    warm = fleet.route(call(prefix_key="s", warm_tokens=900), at_s=1.0)

    assert cold.choices[0].endpoint.name != place
    assert (cold.choices[0].why, warm.choices[0].why) == (Why.OWN, Why.HOME)
    assert hardly.choices[0].endpoint.name != place
    assert (warm.choices[0].endpoint.name, warm.choices[0].uncached_tokens) == (place, 100)


def test_a_warm_call_leaves_where_it_would_be_late() -> None:
    fleet = router(gpu(), FAST_CLOUD, ttft_s=1.0)
    fleet.hear("gpu-a", pressed(waiting=40))

    assert whys(fleet, prefix_key="s", warm_tokens=900)[0] == ("cloud", Why.SPILL)


def test_where_weights_differ_sessions_follow_them() -> None:
    fleet = router(gpu("light"), gpu("heavy", weight=3))

    places = [home(fleet, f"session-{one}") for one in range(800)]

    assert 540 < places.count("heavy") < 660


# ---- tiers, budgets and other orders --------------------------------------------------------------------------------


def test_an_easy_call_goes_to_a_small_model_while_one_holds() -> None:
    fleet = router(gpu("large"), gpu("small", tier="small"))
    assert names(fleet.route(call(tier="small"), at_s=1.0)) == ["small", "large"]
    fleet.hear("small", pressed())

    assert names(fleet.route(call(tier="small"), at_s=1.0)) == ["large", "small"]


@pytest.mark.parametrize("rung", [Rung.REROUTE, Rung.FINAL])
def test_the_reroute_rung_forces_own_hardware_and_then_the_cheapest(rung: Rung) -> None:
    fleet = router(cloud("dear", DEAR), cloud("cheap", CHEAP), gpu())
    fleet.hear("gpu-a", pressed())

    assert whys(fleet, rung=rung) == [("gpu-a", Why.THRIFT), ("cheap", Why.THRIFT), ("dear", Why.THRIFT)]
    assert whys(fleet, rung=Rung.STEER)[0] == ("cheap", Why.SPILL)


def test_cheapest_least_loaded_and_weighted_are_orders_over_all_endpoints() -> None:
    endpoints: list[Endpoint] = [cloud("dear", DEAR, weight=9, prior=Prior(ttft_s=0.01)), cloud("cheap"), gpu()]

    cheapest = names(router(*endpoints, order="cheapest").route(call(), at_s=1.0))
    least = names(router(*endpoints, order="least_loaded").route(call(), at_s=1.0))
    drawn = [
        names(router(*endpoints, order="weighted", choices_max=2).route(call(f"call-{one}"), at_s=1.0))
        for one in range(200)
    ]

    assert cheapest == ["gpu-a", "cheap", "dear"]
    assert least[0] == "dear"
    assert all(len(set(one)) == 2 for one in drawn)
    assert 140 < sum(one[0] == "dear" for one in drawn) < 185
    assert len(names(router(*endpoints, order="weighted").route(call(), at_s=1.0))) == 3


# ---- the spill budget -----------------------------------------------------------------------------------------------


def test_what_own_hardware_could_serve_stays_where_the_spill_budget_has_no_room() -> None:
    need = call(output_tokens_max=1_000)  # May cost $0.00225.
    fleet = router(gpu(), FAST_CLOUD, spill=SpillRule(cap_pico=2 * 3_000_000_000))
    fleet.hear("gpu-a", pressed())
    plan = fleet.route(need, at_s=1.0)
    assert (plan.choices[0].why, plan.choices[0].hold_pico) == (Why.SPILL, 2_250_000_000)
    ticket = fleet.begin(plan, plan.choices[0], at_s=1.0)
    assert ticket is not None

    second = fleet.route(need, at_s=1.0)

    assert [(one.endpoint.name, one.why) for one in second.choices] == [("gpu-a", Why.STAYS)]
    assert second.dropped[0].sentence == "cloud: it may cost $0.0022 and the spill budget has $0.000750 now"
    assert fleet.begin(plan, plan.choices[0], at_s=1.0) is None, "an older plan does not get past it"
    fleet.end(ticket, Outcome("ok", 1.0, cost_pico=10_000_000), at_s=1.0)
    assert fleet.route(need, at_s=1.0).choices[0].why is Why.SPILL


def test_what_own_hardware_could_never_serve_is_no_spill() -> None:
    fleet = router(gpu(context_tokens=500), cloud(), spill=SpillRule(cap_pico=2))

    assert fleet.route(call(), at_s=1.0).choices[0].hold_pico == 0


def test_a_refusal_names_the_nearest_way_out_and_when_to_ask_again() -> None:
    def sentence(found: Router, **more: object) -> tuple[str, float | None]:
        with pytest.raises(NoEndpoint) as no:
            found.route(call(**more), at_s=0.0)
        return no.value.sentence, no.value.retry_in_s

    many = router(*(cloud(f"c{one}", context_tokens=10) for one in range(6)))
    full = router(gpu(max_concurrent=1))
    plan = full.route(call(), at_s=0.0)
    assert full.begin(plan, plan.choices[0], at_s=0.0)
    asleep = router(gpu())
    asleep.hear("gpu-a", calm(asleep=True))
    broke = router(gpu(schedule=read_schedule("08:00-09:00")), cloud(), spill=SpillRule(cap_pico=2))

    said, retry_in_s = sentence(many)
    assert "c3: the call may need 1,200 tokens and its window has 10; and 2 more). Shorten the prompt" in said
    assert retry_in_s is None
    assert sentence(full)[0].endswith(
        "(gpu-a: all 1 of its calls are in flight). Ask again in 0.5 s, or raise max_concurrent."
    )
    assert sentence(asleep)[1] == 5.0
    assert sentence(asleep)[0].endswith("is asked again in 5.0 s). Ask again in 5.0 s.")
    assert sentence(broke)[0].endswith("Raise SpillRule(cap_pico=), or wait until it refills.")


def test_a_plan_about_nobody_is_refused_all_the_same() -> None:
    fleet = router(gpu())
    plan = replace(fleet.snapshot, standings=())

    assert plan.standings == ()
    assert "None of 0 endpoints" in refusal(fleet.route(call(), at_s=0.0)._replace(choices=())).sentence


def test_each_choice_says_why() -> None:
    fleet = router(gpu(), cloud())

    first, second = (one.sentence for one in fleet.route(call(), at_s=0.0).choices)

    assert first == "gpu-a: own hardware holds its target; first token predicted in 0.75 s."
    assert second == "cloud: it answers if those before it fail; first token predicted in 0.65 s."
