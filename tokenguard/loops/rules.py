"""The rules over rounds of tool calls: what the latest round repeats, of those before it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Final

from tokenguard.core.ladder import RULES, Loops
from tokenguard.loops.finding import Finding
from tokenguard.loops.rounds import Asked, Digester, Round, Seen

__all__ = ["about_to_repeat", "found", "history_of", "strongest"]

_IS_FOLDED: Final = attrgetter("folded")
PERIODS: Final = range(2, 6)
"""So many rounds a cycle may have."""
_HISTORY_MAX: Final = 200


def history_of(loops: Loops) -> int:
    """So many of a chain's latest rounds can matter to the rules."""
    rungs = [one for one in (loops.steer_at, loops.block_at, loops.stop_at) if one is not None]
    return min(_HISTORY_MAX, max(loops.window, max(rungs, default=0) * PERIODS[-1]))


def found(rounds: Sequence[Round], loops: Loops, digester: Digester, only: Seen | None = None) -> list[Finding]:
    """What the last of the rounds takes part in, from two repetitions on.

    Args:
        rounds: Oldest first, not empty.
        loops: Its window and the rules that are off.
        digester: Makes the fingerprint of a cycle.
        only: Of the last round's calls look at this one; None: at all.
    """
    findings: list[Finding] = []
    first = rounds[-1].first
    for seen in rounds[-1].seen if only is None else (only,):
        if not seen.transient:
            if not first:
                findings += _same_call(rounds[-loops.window :], seen, loops.window)
            if seen.error:
                findings += _same_error(rounds, seen, loops.window)
    if not first:
        findings += _cycle(rounds, digester)
    return [one for one in findings if one.rule not in loops.off] if loops.off else findings


def about_to_repeat(rounds: Sequence[Round], call: Asked, loops: Loops, digester: Digester) -> list[Finding]:
    """What one more call of a tool would repeat, this one counted.

    Results that changed the last time were progress: then it repeats nothing.
    """
    findings: list[Finding] = []
    earlier = [
        (one, seen)
        for one in rounds[-(loops.window - 1) :]
        for seen in one.seen
        if seen.key in call.either and not seen.transient
    ]
    if earlier:
        latest = earlier[-1][1]
        streak = next(
            (count for count, (_, seen) in enumerate(reversed(earlier)) if seen.result != latest.result), len(earlier)
        )
        if streak > 1 or streak == len(earlier):
            rule = "refetch" if any(seen.folded for _, seen in earlier) else "same_call_same_result"
            members = [one for one, _ in earlier[-streak:]]
            findings.append(_finding(rule, latest, members, loops.window, more=1))
        findings += [one for one in _cycle(rounds, digester) if _goes_on(rounds, one, call)]
    return [one for one in findings if one.rule not in loops.off]


def strongest(findings: Iterable[Finding]) -> Finding | None:
    """The one of the most repetitions; of several the first in the order of `RULES`."""
    return max(findings, key=lambda one: (one.repeats, -RULES.index(one.rule)), default=None)


def _same_call(latest: Sequence[Round], seen: Seen, window: int) -> list[Finding]:
    """The same call with the same result, among the latest rounds, in a row or not."""
    pair = seen.key + seen.result
    members = [one for one in latest if pair in one.pairs]
    if True in map(_IS_FOLDED, latest):
        folded = [one for one in latest[:-1] for old in one.seen if old.folded and old.key == seen.key]
        if folded:
            again = [one for one in latest if any(old.key == seen.key for old in one.seen)]
            return [_finding("refetch", seen, again, window)]
    return [_finding("same_call_same_result", seen, members, window)] if len(members) > 1 else []


def _same_error(rounds: Sequence[Round], seen: Seen, window: int) -> list[Finding]:
    """The same class of error of the same tool, with nothing between that succeeded."""
    members: list[Round] = []
    for one in reversed(rounds[-window:]):
        if not one.pairs:
            continue  # Waiting may heal it: neither a success nor another failure.
        if not any(old.error == seen.error for old in one.seen) or not all(old.error for old in one.seen):
            break
        members.append(one)
    calls = {old.key for one in members for old in one.seen if old.error == seen.error}
    # Another call is another try, and the first of them is no repetition yet: counting it steered 3.8 % of the good
    # runs of benchmarks/loops.py, leaving it out 0.9 %.
    tries = len(members) > 1 and len(calls) >= len(members)
    if len(members) - tries < 2:  # noqa: PLR2004 - once is no repetition
        return []
    return [_finding("same_call_same_error", seen, members[::-1], window, more=-tries, fingerprint=seen.error)]


def _cycle(rounds: Sequence[Round], digester: Digester) -> list[Finding]:
    """The same two to five rounds over and over, each with the result it had before."""
    last = rounds[-1].signature if rounds else ""
    if not last:
        return []
    best: tuple[int, int] = (1, 0)
    for period in PERIODS:
        if len(rounds) >= 2 * period and rounds[-1 - period].signature == last:
            repeats = _full_cycles(rounds, period)
            if repeats > best[0] and any(one.signature != last for one in rounds[-period:]):
                best = repeats, period
    repeats, period = best
    if repeats < 2:  # noqa: PLR2004 - once is no cycle
        return []
    members = rounds[-repeats * period :]
    keys = ["".join(sorted({seen.key for seen in one.seen})) for one in members[:period]]
    turned = min(tuple(keys[start:] + keys[:start]) for start in range(period))
    seen = members[-1].seen[0]
    cost_pico = sum(one.cost_pico for one in members)
    return [
        Finding(
            rule="cycle",
            repeats=repeats,
            window=len(members),
            subject=" → ".join(one.seen[0].tool for one in members[:period]),
            fingerprint=digester.of("cycle\n" + "\n".join(turned)),
            keys=seen.keys,
            argument_bytes=seen.argument_bytes,
            result_bytes=seen.result_bytes,
            wasted_pico=sum(one.cost_pico for one in members[period:]),
            mean_pico=cost_pico // len(members),
            members=tuple([one.paid_by for one in members[period:]]),
            blocked=any(one.blocked for one in rounds[-1].seen),
        )
    ]


def _full_cycles(rounds: Sequence[Round], period: int) -> int:
    """How often the last `period` rounds stand at the end, one after the other."""
    matching = 0
    for place in range(len(rounds) - 1, period - 1, -1):
        signature = rounds[place].signature
        if not signature or signature != rounds[place - period].signature:
            break
        matching += 1
    return (matching + period) // period


def _goes_on(rounds: Sequence[Round], cycle: Finding, call: Asked) -> bool:
    """Whether the call is the next one of a cycle."""
    period = cycle.window // cycle.repeats
    return any(seen.key in call.either for seen in rounds[-period].seen)


def _finding(
    rule: str, seen: Seen, members: Sequence[Round], window: int, *, more: int = 0, fingerprint: str = ""
) -> Finding:
    cost_pico = sum(one.cost_pico for one in members)
    return Finding(
        rule=rule,
        repeats=len(members) + more,
        window=window,
        subject=seen.tool,
        fingerprint=fingerprint or seen.key,
        keys=seen.keys,
        argument_bytes=seen.argument_bytes,
        result_bytes=seen.result_bytes,
        wasted_pico=cost_pico - members[0].cost_pico,
        mean_pico=cost_pico // len(members),
        members=tuple([one.paid_by for one in members[1:]]),
        blocked=seen.blocked,
    )
