"""The breaker: opens on failures in a row or on their share, doubles its pause, lets one probe through."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tokenguard.routing import BreakerRule
from tokenguard.routing.breaker import CLOSED, Breaker, begin, fail, forget, succeed

RULE = BreakerRule(in_a_row=3, pause_s=1.0, pause_s_max=4.0, probe_s=30.0)


def failed(breaker: Breaker, times: int, at_s: float = 0.0, rule: BreakerRule = RULE) -> Breaker:
    for _ in range(times):
        breaker = fail(breaker, at_s, breaker.trips, rule)
    return breaker


def probed(breaker: Breaker, at_s: float) -> Breaker:
    probing = begin(breaker, at_s, RULE)
    assert probing is not None
    assert probing.is_probing
    return probing


def test_it_opens_on_failures_in_a_row_and_not_before() -> None:
    assert not failed(CLOSED, 2).is_open
    assert failed(CLOSED, 3).is_open
    between = succeed(failed(CLOSED, 2), 0.0, 0, RULE)
    assert not failed(between, 2).is_open


def test_it_opens_on_a_share_of_failures_among_enough_outcomes() -> None:
    rule = BreakerRule(in_a_row=100, share=0.5, among_min=8)
    breaker = CLOSED
    for _ in range(3):
        breaker = fail(succeed(breaker, 0.0, 0, rule), 0.0, 0, rule)
    assert not breaker.is_open, "six outcomes are too few"

    breaker = fail(succeed(breaker, 0.0, 0, rule), 0.0, 0, rule)

    assert breaker.is_open


def test_outcomes_before_a_silence_do_not_count() -> None:
    assert not failed(failed(CLOSED, 2), 1, at_s=100.0).is_open


def test_it_is_shut_for_its_pause_and_then_lets_one_probe_through() -> None:
    opened = failed(CLOSED, 3)

    assert begin(opened, 0.9, RULE) is None
    assert not opened.admits(0.9)
    probing = probed(opened, 1.0)

    assert begin(probing, 1.0, RULE) is None
    assert begin(probing, 30.9, RULE) is None
    assert begin(probing, 31.0, RULE) is not None, "a probe that never reports back is given up"


def test_the_pause_doubles_with_each_failed_probe_up_to_its_cap() -> None:
    breaker, at_s = failed(CLOSED, 3), 0.0
    pauses = [breaker.pause_s]
    for _ in range(4):
        at_s = breaker.shut_until_s
        probing = probed(breaker, at_s)
        breaker = fail(probing, at_s, probing.trips, RULE)
        pauses.append(breaker.pause_s)

    assert pauses == [1.0, 2.0, 4.0, 4.0, 4.0]


def test_a_probe_that_comes_back_well_closes_it() -> None:
    probing = probed(failed(CLOSED, 3), 1.0)

    closed = succeed(probing, 1.5, probing.trips, RULE)

    assert not closed.is_open
    assert closed.admits(1.5)
    assert not failed(closed, 2, 1.5).is_open, "it counts anew"


def test_a_probe_that_says_nothing_lets_the_next_one_try_at_once() -> None:
    probing = probed(failed(CLOSED, 3), 1.0)

    again = forget(probing, 2.0, probing.trips)

    assert again.is_open
    assert begin(again, 2.0, RULE) is not None
    assert forget(CLOSED, 2.0, 0) is CLOSED


def test_outcomes_of_calls_from_before_it_opened_change_nothing() -> None:
    opened = failed(CLOSED, 3)

    assert fail(opened, 0.5, 0, RULE) is opened
    assert succeed(opened, 0.5, 0, RULE) is opened
    assert forget(opened, 0.5, 0) is opened


STEPS = st.lists(
    st.tuples(st.sampled_from(["begin", "ok", "fault", "nothing"]), st.integers(0, 5), st.floats(0, 3)), max_size=80
)


@given(steps=STEPS)
def test_while_it_is_open_at_most_one_call_is_a_probe(steps: list[tuple[str, int, float]]) -> None:
    breaker, at_s, flying, probes = CLOSED, 0.0, list[int](), list[tuple[int, float]]()
    for what, which, later_s in steps:
        at_s += later_s
        if what == "begin":
            begun = begin(breaker, at_s, RULE)
            if begun is not None:
                flying.append(begun.trips)
                if begun.is_probing:
                    probes.append((begun.trips, at_s))
                breaker = begun
        elif flying:
            trips = flying.pop(which % len(flying))
            probes = [one for one in probes if one[0] != trips]
            if what == "nothing":
                breaker = forget(breaker, at_s, trips)
            else:
                breaker = (succeed if what == "ok" else fail)(breaker, at_s, trips, RULE)

        assert sum(at_s - began_s < RULE.probe_s for _, began_s in probes) <= 1
        assert not breaker.is_probing or breaker.is_open
