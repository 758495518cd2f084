"""One decision: a call's need and a snapshot in, endpoints in order out. Pure, and the same for the same arguments.

Filters first, each with its reason: privacy, what the call uses, tier (`fleet`), then breaker, room for our calls,
context, schedule, deadline and spill budget. Then the order. Written for its time: one pass over the endpoints, tuples
instead of objects, and sentences only when somebody reads them.
"""

from __future__ import annotations

from math import inf
from typing import Final, NamedTuple, TypeAlias

from tokenguard.routing.endpoints import Need
from tokenguard.routing.fleet import Able
from tokenguard.routing.hashing import MASK, digest64, distance, drawn
from tokenguard.routing.policies import Choice, Drop, Plan, Policy, Reason, Why
from tokenguard.routing.spill import cut_after, room_pico, share_permille
from tokenguard.routing.standing import Snapshot, Standing

__all__ = ["decide"]

_ALIKE: Final = 1.1
"""Predictions within so many times the best are alike: then the weights draw, or every process would ask the same."""
_US: Final = 1_000_000

_Own: TypeAlias = tuple[float, int, float, float, bool, int]
"""An own endpoint that may answer: rank (predicted TTFT, or how far the call's prefix is), place, predicted TTFT and
finish, whether it holds its target, and the tokens it has to read."""
_Cloud: TypeAlias = tuple[int, float, int, float, int]
"""A cloud endpoint that may answer: expected cost, predicted TTFT, place, finish, and what is held for it."""


class _Case(NamedTuple):
    """What one decision is about."""

    need: Need
    able: Able
    snapshot: Snapshot
    policy: Policy
    at_s: float
    minute: int


def decide(need: Need, snapshot: Snapshot, policy: Policy, *, at_s: float, minute: int = 0) -> Plan:
    """Whom to ask, in order.

    Args:
        need: The call.
        snapshot: What is known.
        policy: What decides.
        at_s: Now, on the monotonic clock.
        minute: Now, in minutes of the week (`minute_of_week`), for schedules.

    Returns:
        A plan; without choices, where none may answer.
    """
    case = _Case(need, snapshot.fleet.able(need), snapshot, policy, at_s, minute)
    dropped = list(case.able.dropped)
    own = _own(case, dropped)
    clouds = _clouds(case, dropped)
    if need.is_thrifty or policy.order != "own_first":
        choices, cut = _in_one_line(case, own, clouds), snapshot.cut
    else:
        choices, cut = _own_first(case, own, clouds)
    return Plan(need, tuple(choices), tuple(dropped), cut)


def _own(case: _Case, dropped: list[Drop]) -> list[_Own]:
    """Own endpoints that may answer now; the nearest to the call's prefix, if it has one, reads only what is new."""
    need, able, snapshot, policy, at_s, minute = case
    standings, seeds, is_even = snapshot.standings, snapshot.fleet.seeds, snapshot.fleet.is_even
    prompt, output, target_s = need.prompt_tokens, need.output_tokens, policy.ttft_s
    tokens = prompt + output
    deadline_s = inf if need.deadline_s is None else need.deadline_s
    key = None if need.prefix_key is None else digest64(need.prefix_key)
    found: list[_Own] = []
    for place in able.own:
        one = standings[place]
        schedule = one.endpoint.schedule
        if (
            at_s < one.shut_until_s
            or tokens > one.context_tokens
            or (schedule is not None and not schedule.holds(minute))
        ):
            dropped.append(_why_not(one, at_s, tokens))
            continue
        wait_s, prompt_token_s, output_token_s, room, _, _, is_known = (
            one.fresh if at_s <= one.fresh_until_s else one.stale
        )
        ttft_s = rank = wait_s + prompt * prompt_token_s
        finish_s = ttft_s + output * output_token_s
        if finish_s > deadline_s and is_known:
            dropped.append(Drop(one.endpoint.name, Reason.DEADLINE, finish_s, deadline_s))
            continue
        if key is not None:
            rank = (key * seeds[place]) & MASK if is_even else distance(key, seeds[place], one.endpoint.weight)
        holds = not one.pressed and ttft_s <= target_s and tokens <= room
        found.append((rank, place, ttft_s, finish_s, holds, prompt))
    if need.warm_tokens and found and key is not None:
        home = found.index(min(found))
        found[home] = _warmed(case, found[home])
    return found


def _warmed(case: _Case, home: _Own) -> _Own:
    """The replica that keeps the prefix: less to read, and a warm call stays though it is pressed."""
    need, standing = case.need, case.snapshot.standings[home[1]]
    rank, place, ttft_s, finish_s, _, prompt = home
    forecast, uncached = standing.forecast(case.at_s), prompt - need.warm_tokens
    saved_s = need.warm_tokens * forecast.prompt_token_s
    fits = ttft_s - saved_s <= case.policy.ttft_s and uncached + need.output_tokens <= forecast.room_tokens
    holds = fits and (need.is_warm or not standing.pressed)
    return rank, place, ttft_s - saved_s, finish_s - saved_s, holds, uncached


def _clouds(case: _Case, dropped: list[Drop]) -> list[_Cloud]:
    """Clouds that may answer now, the cheapest first.

    What an own endpoint could serve, if it had the room, counts against the spill budget.
    """
    need, able, snapshot, policy, at_s, minute = case
    prompt, output, bound, standings = need.prompt_tokens, need.output_tokens, need.output_bound, snapshot.standings
    tokens = prompt + output
    deadline_s = inf if need.deadline_s is None else need.deadline_s
    limited = policy.spill.cap_pico is not None and any(tokens <= standings[one].context_tokens for one in able.own)
    room = room_pico(snapshot.bucket, policy.spill, at_s) if limited else 0
    found: list[_Cloud] = []
    for place in able.clouds:
        one = standings[place]
        endpoint, forecast = one.endpoint, one.forecast(at_s)
        if (
            at_s < one.shut_until_s
            or tokens > one.context_tokens
            or (endpoint.schedule is not None and not endpoint.schedule.holds(minute))
        ):
            dropped.append(_why_not(one, at_s, tokens))
            continue
        ttft_s = forecast.wait_s + prompt * forecast.prompt_token_s
        finish_s = ttft_s + output * forecast.output_token_s
        rates = endpoint.billed
        paid_pico, each_pico = prompt * rates.input_pico, rates.output_pico
        hold_pico = paid_pico + bound * each_pico if limited else 0
        if finish_s > deadline_s and forecast.is_known:
            dropped.append(Drop(endpoint.name, Reason.DEADLINE, finish_s, deadline_s))
        elif hold_pico > room:
            dropped.append(Drop(endpoint.name, Reason.BUDGET, hold_pico, room))
        else:
            found.append((paid_pico + output * each_pico, ttft_s, place, finish_s, hold_pico))
    found.sort()
    return found


def _why_not(one: Standing, at_s: float, tokens: int) -> Drop:
    """The first filter that leaves an endpoint out."""
    name = one.endpoint.name
    if one.is_full:
        return Drop(name, Reason.FULL, one.in_flight, one.in_flight)
    if at_s < one.shut_until_s:
        return Drop(name, Reason.SHUT, one.shut_until_s - at_s)
    if tokens > one.context_tokens:
        return Drop(name, Reason.CONTEXT, tokens, one.context_tokens)
    return Drop(name, Reason.SCHEDULE)


def _own_first(case: _Case, own: list[_Own], clouds: list[_Cloud]) -> tuple[list[Choice], int]:
    """Own while it holds; the cheapest calls to the cloud while it is pressed; each the other's fallback."""
    cut, most = case.snapshot.cut, case.policy.choices_max
    holding = [one for one in own if one[4]]
    if holding:
        first = _first_own(case, holding)
        holding.remove(first)
        rest = (
            sorted(holding) if len(holding) >= most - 1 else sorted(holding) + sorted(one for one in own if not one[4])
        )
        is_home = case.need.prefix_key is not None and first == min(own)
        chosen = [_own_choice(case, first, Why.HOME if is_home else Why.OWN)]
        chosen += [_own_choice(case, one, Why.FALLBACK) for one in rest[: most - 1]]
        return _with_clouds(case, chosen, clouds, Why.FALLBACK), cut
    if not own:
        return _with_clouds(case, [], clouds, Why.FALLBACK if case.able.own else Why.ONLY), cut
    own.sort(key=_by_ttft)
    spills, cut = _spills(case, own[0], clouds)
    if spills:
        faster = [one for one in clouds if one[1] < own[0][2]]
        chosen = [_cloud_choice(case, one, Why.SPILL) for one in faster[: max(1, most - 1)]]
        return chosen + [_own_choice(case, one, Why.FALLBACK) for one in own[: most - len(chosen)]], cut
    chosen = [_own_choice(case, one, Why.FALLBACK) for one in own[:most]]
    chosen[0] = chosen[0]._replace(why=Why.STAYS)
    return _with_clouds(case, chosen, clouds, Why.FALLBACK), cut


def _spills(case: _Case, best: _Own, clouds: list[_Cloud]) -> tuple[bool, int]:
    """Whether this call goes to the cloud, and the cut after it."""
    cut = case.snapshot.cut
    _, place, ttft_s, _, _, uncached = best
    cost_pico = next((one[0] for one in clouds if one[1] < ttft_s), None)
    if cost_pico is None:
        return False, cut
    standing = case.snapshot.standings[place]
    forecast = standing.forecast(case.at_s)
    busy_s = forecast.busy_s(uncached, case.need.output_tokens)
    score = cost_pico * _US // max(1, round(busy_s * _US))
    fits = uncached + case.need.output_tokens <= forecast.room_tokens
    late = ttft_s > case.policy.ttft_s or not fits
    share = share_permille(1.0 if late else standing.pressure, case.policy.spill)
    cut = cut_after(cut, score, share)
    return late or score <= cut, cut


def _first_own(case: _Case, holding: list[_Own]) -> _Own:
    """The nearest to the prefix; without one the least loaded, drawn by weight among those alike."""
    standings = case.snapshot.standings
    if case.need.tier == "small":  # A larger model than was asked for only where no small one holds.
        holding = [one for one in holding if standings[one[1]].endpoint.tier == "small"] or holding
    best = min(holding)
    if case.need.prefix_key is not None or len(holding) == 1:
        return best
    limit = best[0] * _ALIKE
    alike = [one for one in holding if one[0] <= limit]
    return alike[drawn(digest64(case.need.call_id), [standings[one[1]].endpoint.weight for one in alike])]


def _in_one_line(case: _Case, own: list[_Own], clouds: list[_Cloud]) -> list[Choice]:
    """Own and cloud together: the cheapest first, the least loaded first, or drawn."""
    need, most = case.need, case.policy.choices_max
    why = Why.THRIFT if need.is_thrifty else Why.ORDER
    line = [(0, one[2], _own_choice(case, one, why)) for one in own]
    line += [(one[0], one[1], _cloud_choice(case, one, why)) for one in clouds]
    if need.is_thrifty or case.policy.order == "cheapest":
        line.sort(key=lambda one: one[:2])
    elif case.policy.order == "least_loaded":
        line.sort(key=lambda one: one[1])
    else:
        return _drawn([one[2] for one in line], need.call_id, most)
    return [one[2] for one in line[:most]]


def _drawn(left: list[Choice], call_id: str, most: int) -> list[Choice]:
    """So many choices, drawn by weight one after the other."""
    line: list[Choice] = []
    while left and len(line) < most:
        key = digest64(f"{call_id} {len(line)}")
        line.append(left.pop(drawn(key, [one.endpoint.weight for one in left])))
    return line


def _by_ttft(one: _Own) -> tuple[float, int]:
    return one[2], one[1]


def _with_clouds(case: _Case, chosen: list[Choice], clouds: list[_Cloud], why: Why) -> list[Choice]:
    """A plan that goes on in the cloud; the cheapest one keeps its last seat, unless that is the only seat."""
    most = case.policy.choices_max
    if clouds and most > 1:
        chosen = chosen[: most - 1]
    return chosen + [_cloud_choice(case, one, why) for one in clouds[: most - len(chosen)]]


def _own_choice(case: _Case, one: _Own, why: Why) -> Choice:
    _, place, ttft_s, finish_s, _, uncached = one
    return Choice(case.snapshot.standings[place].endpoint, why, ttft_s, finish_s, uncached, 0)


def _cloud_choice(case: _Case, one: _Cloud, why: Why) -> Choice:
    _, ttft_s, place, finish_s, hold_pico = one
    return Choice(case.snapshot.standings[place].endpoint, why, ttft_s, finish_s, case.need.prompt_tokens, hold_pico)
