"""Other projects' rules, written from their description: from which step on each of them would have acted.

Each takes the steps of a run so far and says whether its rule holds at the last one. Thresholds are the projects' own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

from loops_runs import Step

Rule = Callable[[Sequence[Step]], bool]

_INTEGER = re.compile(r"\b\d+\b")
_PAGING = re.compile(r"\|\s*(?:head|tail)\b[^|]*|\b(?:LIMIT|OFFSET)\s+\d+", re.IGNORECASE)
_ERROR = re.compile(r"\s*(?:error|traceback|exception|bash:)", re.IGNORECASE)


def in_a_row(times: int) -> Rule:
    """The same action, so many times in a row."""
    return lambda steps: len(steps) >= times and len({one.action for one in steps[-times:]}) == 1


def result_in_a_row(times: int) -> Rule:
    """OpenHands' first rule: the same action, thought and observation in a row."""
    return lambda steps: len(steps) >= times and len(set(steps[-times:])) == 1


def error_in_a_row(times: int) -> Rule:
    """OpenHands' second rule: the same action followed by an error each time."""
    same = in_a_row(times)
    return lambda steps: same(steps) and all(_ERROR.match(one.result) for one in steps[-times:])


def alternating(steps: Sequence[Step]) -> bool:
    """OpenHands' fourth rule: six steps, each like the one before the last."""
    last = steps[-6:]
    return len(last) == 6 and all(last[at] == last[at + 2] for at in range(4))


def cycles(longest: int, times: int) -> Rule:
    """gemini-cli: a cycle of up to so many actions, so many times."""

    def rule(steps: Sequence[Step]) -> bool:
        actions = [one.action for one in steps]
        return any(
            len(actions) >= period * times and actions[-period * times :] == actions[-period:] * times
            for period in range(1, longest + 1)
        )

    return rule


def streak(times: int) -> Rule:
    """OpenRouter: so many equal calls of a tool with no other call of that tool between; other tools do not reset."""

    def rule(steps: Sequence[Step]) -> bool:
        own = [one for one in steps if one.tool == steps[-1].tool]
        return len(own) >= times and len({_sorted(one.arguments) for one in own[-times:]}) == 1

    return rule


def among(times: int, window: int) -> Rule:
    """agentguard47: the same action so often among the last ones."""
    return lambda steps: sum(one.action == steps[-1].action for one in steps[-window:]) >= times


def by_name(steps: Sequence[Step]) -> bool:
    """agentguard47, fuzzy: the same tool five times in ten, or two in turns."""
    names = [one.tool for one in steps]
    turns = len(names) >= 4 and names[-4:-2] == names[-2:] and names[-1] != names[-2]
    return names[-10:].count(names[-1]) >= 5 or turns


def similar(steps: Sequence[Step]) -> bool:
    """breakerbox: three of the last twelve actions have at least 0.9 of their shingles in common."""
    latest = _shingles(steps[-1])
    alike = sum(len(latest & one) >= 0.9 * len(latest | one) for one in map(_shingles, steps[-12:]))
    return alike >= 3


def signature(steps: Sequence[Step]) -> bool:
    """headroom: the same action three times, without its paging and whole numbers; meant for looking back only."""
    marks = [(one.tool, _INTEGER.sub("#", _PAGING.sub("", one.arguments))) for one in steps]
    return marks.count(marks[-1]) >= 3


EXACT: dict[str, Rule] = {
    "opencode: action ×3 in a row": in_a_row(3),
    "Roo: action ×4 in a row": in_a_row(4),
    "gemini-cli: cycle ≤5 ×5": cycles(5, 5),
    "OpenHands 1: action+result ×4 in a row": result_in_a_row(4),
    "OpenHands 2: action+error ×4 in a row": error_in_a_row(4),
    "OpenHands 4: alternating ×6": alternating,
    "OpenHands, all": lambda steps: result_in_a_row(4)(steps) or error_in_a_row(4)(steps) or alternating(steps),
    "OpenRouter: block at streak 3": streak(3),
    "OpenRouter: stop at streak 6": streak(6),
    "agentguard47: action ×3 in 6": among(3, 6),
}
"""Rules that act while the run goes on, on what is exactly equal."""

LOOSE: dict[str, Rule] = {
    "agentguard47, fuzzy: name ×5 in 10 or in turns": by_name,
    "breakerbox: similar ×3 in 12": similar,
    "headroom (offline): signature ×3": signature,
}


def _sorted(arguments: str) -> str:
    try:
        return json.dumps(json.loads(arguments), sort_keys=True)
    except ValueError:
        return arguments


def _shingles(step: Step) -> set[str]:
    text = f"{step.tool} {step.arguments}"
    return {text[at : at + 4] for at in range(max(1, len(text) - 3))}
