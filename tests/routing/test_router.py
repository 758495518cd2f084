"""The router that calls drive: counts in, counts out, breakers, busy endpoints, fleets that change, threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from routing.fleets import call, calm, cloud, gpu, names, router

from tokenguard.core.ports import Failure
from tokenguard.errors import NoEndpoint, SettingsError
from tokenguard.routing import Choice, How, Outcome, Prior, Router, Ticket, how_of


def begun(found: Router, at_s: float = 0.0, **more: object) -> Ticket:
    plan = found.route(call(**more), at_s=at_s)
    ticket = found.begin(plan, plan.choices[0], at_s=at_s)
    assert ticket is not None
    return ticket


def ended(found: Router, how: How, at_s: float = 0.0, **more: object) -> None:
    found.end(begun(found, at_s), Outcome(how, **more), at_s=at_s)  # type: ignore[arg-type]  # a test's shorthand


def test_three_faults_open_the_breaker_and_a_probe_closes_it() -> None:
    fleet = router(gpu(), cloud())
    for _ in range(3):
        ended(fleet, "fault")
    assert names(fleet.route(call(), at_s=0.5)) == ["cloud"]

    probe = begun(fleet, at_s=1.0)
    assert probe.name == "gpu-a"
    assert names(fleet.route(call(), at_s=1.1)) == ["cloud"], "one probe at a time"
    fleet.end(probe, Outcome("ok", 0.1, 0.1, 2), at_s=1.2)

    assert names(fleet.route(call(), at_s=1.2))[0] == "gpu-a"


@pytest.mark.parametrize(
    ("status", "retryable", "retry_after_s", "how"),
    [
        (429, True, None, "busy"),
        (429, False, None, "fault"),  # A quota that is spent.
        (529, True, None, "busy"),
        (503, True, 2.0, "busy"),
        (503, True, None, "fault"),
        (500, True, None, "fault"),
        (400, False, None, "caller"),
        (401, False, None, "fault"),
        (None, True, None, "fault"),  # No connection.
    ],
)
def test_an_error_is_the_endpoints_the_callers_or_a_sign_of_load(
    *, status: int | None, retryable: bool, retry_after_s: float | None, how: How
) -> None:
    failure = Failure(billed=False, retryable=retryable, error_class="E", status=status, retry_after_s=retry_after_s)

    assert how_of(failure) == how


@pytest.mark.parametrize("how", ["caller", "cancelled"])
def test_what_callers_do_says_nothing_about_an_endpoint(how: How) -> None:
    fleet = router(gpu())
    for _ in range(9):
        ended(fleet, how)

    assert names(fleet.route(call(), at_s=0.0)) == ["gpu-a"]
    assert fleet.slo("gpu-a", at_s=0.0).calls == 0


def test_a_busy_endpoint_is_left_alone_for_as_long_as_it_says() -> None:
    fleet = router(gpu())
    ended(fleet, "busy", retry_after_s=3.0)
    with pytest.raises(NoEndpoint) as no:
        fleet.route(call(), at_s=1.0)
    assert no.value.retry_in_s == 2.0

    ended(fleet, "busy", at_s=3.0)

    with pytest.raises(NoEndpoint):
        fleet.route(call(), at_s=3.9)
    ended(fleet, "busy", at_s=4.0, retry_after_s=9_999.0)
    assert names(fleet.route(call(), at_s=64.0)) == ["gpu-a"]


def test_calls_in_flight_are_counted_and_queue_behind_the_reading() -> None:
    fleet = router(gpu(), gpu("gpu-b"))
    fleet.hear("gpu-a", calm())
    fleet.hear("gpu-b", calm())
    tickets = [begun(fleet, call_id=f"call-{one}") for one in range(8)]

    flying = [one.in_flight for one in fleet.snapshot.standings]

    assert sum(flying) == 8
    assert max(flying) - min(flying) <= 1, "what is begun counts at once, before the engines say so"
    for one in tickets:
        fleet.end(one, Outcome("ok", 1.0, 0.3, 20), at_s=1.0)
    assert [one.in_flight for one in fleet.snapshot.standings] == [0, 0]


def test_a_snapshot_does_not_change_any_more() -> None:
    fleet = router(gpu())
    before = fleet.snapshot

    begun(fleet)

    assert before.standings[0].in_flight == 0
    assert fleet.snapshot.standings[0].in_flight == 1


def test_no_private_call_begins_at_an_endpoint_that_is_not_local_whatever_the_plan() -> None:
    fleet = router(gpu(), cloud())
    public, private = fleet.route(call(), at_s=0.0), fleet.route(call(private=True), at_s=0.0)

    with pytest.raises(NoEndpoint, match="cloud: it is not local"):
        fleet.begin(private, public.choices[-1], at_s=0.0)


def test_an_endpoint_that_left_or_changed_is_not_begun_with() -> None:
    fleet = router(gpu(), cloud())
    plan = fleet.route(call(), at_s=0.0)

    fleet.refit([gpu(local=False)], at_s=0.0)

    assert [fleet.begin(plan, one, at_s=0.0) for one in plan.choices] == [None, None]


def test_a_fleet_that_changes_keeps_what_is_known_of_those_who_stay() -> None:
    fleet = router(gpu(), cloud())
    for _ in range(3):
        ended(fleet, "fault")
    stays = begun(fleet)
    assert stays.name == "cloud"

    fleet.refit([gpu("gpu-b"), gpu()], at_s=0.5)
    fleet.end(stays, Outcome("ok", 1.0), at_s=0.6)
    fleet.hear("cloud", calm())

    assert names(fleet.route(call(), at_s=0.6)) == ["gpu-b"], "the other one's breaker is still open"
    assert fleet.slo("gpu-a", at_s=0.6).success_share == 0.0
    with pytest.raises(SettingsError, match="no endpoint 'cloud'; there are gpu-b, gpu-a"):
        fleet.slo("cloud", at_s=0.6)


def test_an_endpoint_that_came_back_does_not_count_below_zero() -> None:
    fleet = router(gpu(), gpu("gpu-b"))
    ticket = begun(fleet)
    other = "gpu-b" if ticket.name == "gpu-a" else "gpu-a"

    fleet.refit([gpu(other)], at_s=0.0)
    fleet.refit([gpu(), gpu("gpu-b")], at_s=0.0)
    fleet.end(ticket, Outcome("ok", 1.0), at_s=1.0)

    assert [one.in_flight for one in fleet.snapshot.standings] == [0, 0]


def test_targets_see_time_to_first_token_and_speed() -> None:
    fleet = router(gpu())
    ended(fleet, "ok", total_s=2.5, ttft_s=0.5, output_tokens=101)
    ended(fleet, "ok", total_s=2.0)
    ended(fleet, "fault")

    reading = fleet.slo("gpu-a", at_s=0.0)

    assert reading.calls == 3
    assert reading.ttft_s_p50 == pytest.approx(0.5, rel=0.05)
    assert reading.output_tps == pytest.approx(50, rel=0.05)
    assert reading.success_share == pytest.approx(2 / 3)


def test_many_threads_leave_nothing_counted() -> None:
    fleet = router(gpu(max_concurrent=4), gpu("gpu-b", max_concurrent=4), cloud())
    most = 0

    def work(number: int) -> None:
        nonlocal most
        for turn in range(60):
            plan = fleet.route(call(f"{number}-{turn}", prefix_key=f"{turn % 7}"), at_s=0.0)
            for choice in plan.choices:
                ticket = fleet.begin(plan, choice, at_s=0.0)
                if ticket is not None:
                    most = max(most, *(one.in_flight for one in fleet.snapshot.standings[:2]))
                    fleet.end(ticket, Outcome("ok", 1.0, 0.2, 9), at_s=0.0)
                    break

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(12)))

    assert most <= 4
    assert [one.in_flight for one in fleet.snapshot.standings] == [0, 0, 0]
    assert isinstance(fleet.route(call(), at_s=0.0).choices[0], Choice)


def test_own_prompts_are_a_line_that_is_read_at_the_learned_speed() -> None:
    speed = Prior(ttft_s=0.1, prefill_tps=5_000.0, output_tps=50.0)
    fleet = router(gpu(prior=speed))

    def queued() -> float:
        return round(fleet.snapshot.standings[0].fresh.queued_tokens)

    fleet.hear("gpu-a", calm(0.0))
    tickets = [begun(fleet, call_id=f"call-{one}", prompt=10_000) for one in range(2)]
    both = queued()
    fleet.hear("gpu-a", calm(1.0, waiting=1))
    a_second_later = queued()
    fleet.hear("gpu-a", calm(1.5))
    nobody_waits = queued()
    for ticket in tickets:
        fleet.end(ticket, Outcome("ok", 5.0, 2.0, 20), at_s=5.0)

    assert (both, a_second_later, nobody_waits) == (20_000, 15_000, 10_000)
    assert fleet.snapshot.standings[0].reads == ()
