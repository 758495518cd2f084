"""May a call be sent? Examples first, then what holds for every ask and every balance."""

from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tokenguard.core.account import Account, Amounts
from tokenguard.core.budget import Unit
from tokenguard.core.verdict import AccountState, Ask, Grant, Reason, Short, judge


def state(
    cap: int,
    settled: int = 0,
    held: int = 0,
    *,
    live: int = 0,
    unit: Unit = Unit.USD,
    scope: str = "run",
    kept: int = 0,
) -> AccountState:
    account = Account(
        id=f"{scope}-{unit}",
        scope_key=scope,
        scope_label=scope,
        unit=unit,
        per="run",
        bucket="",
        cap=cap,
        reserve_final_pico=kept,
    )
    return AccountState(account, cap, settled, held, live)


def test_a_call_that_fits_is_granted_with_what_it_asked_for() -> None:
    ask = Ask(fixed_pico=10, output_rate_pico=2, output_min=5, output_max=20)

    verdict = judge(ask, [state(100)])

    assert verdict == Grant(Amounts(usd_pico=50, tokens=20, calls=1), 20, (state(100),))


def test_a_call_without_accounts_is_granted() -> None:
    verdict = judge(Ask(output_min=1, output_max=7), [])

    assert verdict == Grant(Amounts(tokens=7, calls=1), 7, ())


def test_a_call_above_a_whole_cap_is_too_large() -> None:
    verdict = judge(Ask(fixed_pico=101), [state(100, settled=60)])

    assert verdict == Short(Reason.TOO_LARGE, state(100, settled=60), 101)


def test_a_call_above_what_is_free_is_spent() -> None:
    verdict = judge(Ask(fixed_pico=50), [state(100, settled=60)])

    assert verdict == Short(Reason.SPENT, state(100, settled=60), 50)


def test_a_call_that_other_calls_hold_the_room_for_is_busy() -> None:
    verdict = judge(Ask(fixed_pico=50), [state(100, held=60)])

    assert verdict == Short(Reason.BUSY, state(100, held=60), 50)


def test_the_last_pico_may_be_spent() -> None:
    verdict = judge(Ask(fixed_pico=40), [state(100, settled=30, held=30)])

    assert isinstance(verdict, Grant)


def test_a_cap_of_zero_refuses_whatever_costs_anything() -> None:
    assert judge(Ask(fixed_pico=1), [state(0)]) == Short(Reason.TOO_LARGE, state(0), 1)
    assert isinstance(judge(Ask(fixed_pico=0), [state(0)]), Grant)


def test_a_free_call_passes_a_usd_account_that_is_overrun() -> None:
    verdict = judge(Ask(), [state(100, settled=150)])

    assert isinstance(verdict, Grant)


def test_a_given_max_tokens_is_clamped_when_free_itself_is_short() -> None:
    ask = Ask(output_rate_pico=1, output_min=10, output_max=100, output_given=True)

    verdict = judge(ask, [state(100, settled=40)])

    assert isinstance(verdict, Grant)
    assert verdict.output_tokens == 60


def test_a_given_max_tokens_waits_for_room_instead_of_being_clamped() -> None:
    ask = Ask(output_rate_pico=1, output_min=10, output_max=100, output_given=True)

    verdict = judge(ask, [state(100, held=40, live=1)])

    assert verdict == Short(Reason.BUSY, state(100, held=40, live=1), 100)


def test_a_max_tokens_of_our_own_takes_its_share_of_what_is_free() -> None:
    ask = Ask(output_rate_pico=1, output_min=10, output_max=1_000, output_given=False)

    verdict = judge(ask, [state(100, held=30, live=3)])

    assert isinstance(verdict, Grant)
    assert verdict.output_tokens == 25


def test_our_share_is_never_more_than_the_room() -> None:
    ask = Ask(output_rate_pico=1, output_min=10, output_max=1_000, output_given=False)

    verdict = judge(ask, [state(100, held=80, live=1)])

    assert isinstance(verdict, Grant)
    assert verdict.output_tokens == 20


def test_a_chosen_max_tokens_that_finds_no_room_waits_for_it() -> None:
    ask = Ask(output_rate_pico=1, output_min=10, output_max=1_000, output_given=False)

    verdict = judge(ask, [state(100, held=95, live=1)])

    assert verdict == Short(Reason.BUSY, state(100, held=95, live=1), 10)


def test_tokens_are_clamped_for_each_answer() -> None:
    ask = Ask(input_tokens=100, output_min=10, output_max=500, answers=4)

    verdict = judge(ask, [state(1_000, unit=Unit.TOKENS)])

    assert isinstance(verdict, Grant)
    assert verdict.output_tokens == 225
    assert verdict.amounts.tokens == 1_000


def test_calls_and_steps_are_counted_in_their_own_accounts() -> None:
    calls, steps = state(3, settled=3, unit=Unit.CALLS), state(3, settled=3, unit=Unit.STEPS)

    assert judge(Ask(), [calls]) == Short(Reason.SPENT, calls, 1)
    assert isinstance(judge(Ask(calls=0), [calls]), Grant)
    assert isinstance(judge(Ask(), [steps]), Grant)
    assert judge(Ask(steps=1), [steps]) == Short(Reason.SPENT, steps, 1)


def test_the_outermost_spent_scope_is_named() -> None:
    outer, inner = state(10, settled=10, scope="acme"), state(10, settled=10, scope="run")

    verdict = judge(Ask(fixed_pico=5), [outer, inner])

    assert verdict == Short(Reason.SPENT, outer, 5)


def test_a_stop_inside_comes_before_a_refusal_outside() -> None:
    outer, inner = state(4, scope="acme"), state(10, settled=10, scope="run")

    verdict = judge(Ask(fixed_pico=5), [outer, inner])

    assert verdict == Short(Reason.SPENT, inner, 5)


def test_the_reserve_for_the_final_answer_is_only_spent_by_it() -> None:
    balance = state(100, settled=75, kept=20)

    assert judge(Ask(fixed_pico=10), [balance]) == Short(Reason.SPENT, balance, 10)
    assert isinstance(judge(Ask(fixed_pico=10, final_scope=balance.account.scope_key), [balance]), Grant)


def test_a_call_above_the_cap_without_its_reserve_is_too_large_and_stops_nothing() -> None:
    verdict = judge(Ask(fixed_pico=90), [state(100, kept=20)])

    assert verdict == Short(Reason.TOO_LARGE, state(100, kept=20), 90)


def test_an_unpriced_call_fits_no_usd_account_but_every_other() -> None:
    assert judge(Ask(priced=False), [state(100)]) == Short(Reason.UNPRICED, state(100), 0)
    assert isinstance(judge(Ask(priced=False), [state(100, unit=Unit.TOKENS)]), Grant)


counts = st.integers(0, 500)


@st.composite
def states(draw: st.DrawFn) -> AccountState:
    unit = draw(st.sampled_from(Unit))
    return state(
        draw(st.integers(0, 1_000)),
        draw(counts),
        draw(counts),
        live=draw(st.integers(0, 5)),
        unit=unit,
        kept=draw(st.integers(0, 50)) if unit is Unit.USD else 0,
    )


@st.composite
def asks(draw: st.DrawFn) -> Ask:
    least = draw(st.integers(0, 50))
    return Ask(
        fixed_pico=draw(counts),
        output_rate_pico=draw(st.integers(0, 10)),
        input_tokens=draw(counts),
        output_min=least,
        output_max=least + draw(counts),
        output_given=draw(st.booleans()),
        answers=draw(st.integers(1, 4)),
        calls=draw(st.integers(0, 1)),
        steps=draw(st.integers(0, 1)),
        final_scope=draw(st.sampled_from([None, "scope:0", "scope:1"])),
    )


paths = st.lists(states(), max_size=4)


def kept(ask: Ask, one: AccountState) -> int:
    return 0 if ask.final_scope == one.account.scope_key else one.account.reserve_final_pico


@settings(max_examples=400)
@given(asks(), paths)
def test_a_grant_fits_the_room_of_every_account(ask: Ask, path: list[AccountState]) -> None:
    verdict = judge(ask, path)
    assume(isinstance(verdict, Grant))

    assert isinstance(verdict, Grant)
    for one in path:
        asked = verdict.amounts.of(one.account.unit)
        assert asked == 0 or asked + one.settled + one.held <= one.cap - kept(ask, one)


@settings(max_examples=400)
@given(asks(), paths)
def test_a_grant_is_between_the_least_and_the_most(ask: Ask, path: list[AccountState]) -> None:
    verdict = judge(ask, path)
    assume(isinstance(verdict, Grant))

    assert isinstance(verdict, Grant)
    assert ask.output_min <= verdict.output_tokens <= ask.output_max
    assert verdict.amounts == ask.amounts(verdict.output_tokens)


@settings(max_examples=400)
@given(asks(), paths)
def test_stop_comes_before_refuse_and_refuse_before_wait(ask: Ask, path: list[AccountState]) -> None:
    least = ask.amounts(ask.output_min)
    needs = [(one, least.of(one.account.unit)) for one in path]
    over_cap = [one for one, need in needs if need and need > one.cap - kept(ask, one)]
    over_free = [one for one, need in needs if need and one not in over_cap and need > one.free - kept(ask, one)]

    verdict = judge(ask, path)

    if over_free:
        assert isinstance(verdict, Short)
        assert (verdict.reason, verdict.state) == (Reason.SPENT, over_free[0])
    elif over_cap:
        assert isinstance(verdict, Short)
        assert (verdict.reason, verdict.state) == (Reason.TOO_LARGE, over_cap[0])
    else:
        assert isinstance(verdict, Grant) or verdict.reason is Reason.BUSY


@settings(max_examples=400)
@given(asks(), paths)
def test_busy_means_that_it_would_fit_without_the_holds(ask: Ask, path: list[AccountState]) -> None:
    verdict = judge(ask, path)
    alone = judge(ask, [replace(one, held=0, live=0) for one in path])

    busy = isinstance(verdict, Short) and verdict.reason is Reason.BUSY
    assert isinstance(alone, Grant) or not busy


@settings(max_examples=400)
@given(asks(), paths)
def test_a_given_max_tokens_is_only_clamped_when_free_is_short(ask: Ask, path: list[AccountState]) -> None:
    verdict = judge(replace(ask, output_given=True), path)
    assume(isinstance(verdict, Grant))

    assert isinstance(verdict, Grant)
    whole = ask.amounts(ask.output_max)
    short = [one for one in path if whole.of(one.account.unit) > one.free - kept(ask, one)]
    assert verdict.output_tokens == ask.output_max or short


@settings(max_examples=400)
@given(asks(), paths)
def test_a_chosen_max_tokens_leaves_as_much_for_each_live_call(ask: Ask, path: list[AccountState]) -> None:
    verdict = judge(replace(ask, output_given=False), path)
    assume(isinstance(verdict, Grant) and verdict.output_tokens > ask.output_min)

    assert isinstance(verdict, Grant)
    for one in path:
        if one.account.unit in (Unit.USD, Unit.TOKENS):
            asked, fixed = verdict.amounts.of(one.account.unit), ask.amounts(0).of(one.account.unit)
            assert asked == fixed or asked * (one.live + 1) <= one.free - kept(ask, one)


@settings(max_examples=200)
@given(asks(), paths, st.integers(0, 300))
def test_more_room_never_turns_a_grant_into_a_no(ask: Ask, path: list[AccountState], more: int) -> None:
    assume(isinstance(judge(ask, path), Grant))

    richer = judge(ask, [replace(one, cap=one.cap + more) for one in path])

    assert isinstance(richer, Grant) or (ask.output_given and richer.reason is Reason.BUSY)
