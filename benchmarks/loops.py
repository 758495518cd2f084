"""How many failing runs our repetition rules find, how many good ones they touch, and what watching costs.

Recorded runs (InterCode SQL and bash, tau-bench, SWE-agent, SWE-smith, OpenHands) are turned into conversations and
shown to the real `LoopMemory` step by step, as a guard would; beside them the rules of other projects, written from
their description. A rule counts as fired wherever it fires, the last step included: an upper bound on the harm.

Bars: all our rules together find at least as many failing runs as the best exact rule of the others; of the succeeding
ones at most 1 % are blocked and 0.3 % stopped; no good tau-bench run is touched above steering; watching a step costs
at most 20 µs (p50, step 200). Run: `make bench-loops`.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from figures import Figures, quantile
from loops_peers import EXACT, LOOSE, Rule
from loops_runs import Run, folder, runs

from tokenguard.core.ladder import RULES, Loops
from tokenguard.loops.memory import LoopMemory

LOOPS = Loops()
STEPS = 200
LATE = 20
"""Steps at the end of a conversation that are timed."""
CONVERSATIONS = 50
RUNGS = {"steer": 3, "block": 4, "stop": 6}
OURS = ("same_call_same_result", "cycle", "same_call_same_error", "monologue")
"""The rules that recorded conversations can show; the others need prompts, streams or folding."""


@dataclass(frozen=True)
class Row:
    """One rule on the runs of one source."""

    failed: int
    flagged_failed: int
    succeeded: int
    flagged_succeeded: int
    saved_share: float
    """Of the failing runs' steps, those after the rule fired."""

    def text(self) -> str:
        upper = 100 * upper_bound(self.flagged_succeeded, self.succeeded)
        return (
            f"{_percent(self.flagged_failed, self.failed)} of {self.failed:4} failing   "
            f"{_percent(self.flagged_succeeded, self.succeeded)} of {self.succeeded:4} good (≤ {upper:4.1f} %)   "
            f"{100 * self.saved_share:5.1f} % of steps saved"
        )


def upper_bound(events: int, tries: int, error: float = 0.05) -> float:
    """Clopper and Pearson's exact one-sided 95 % upper bound of a share, by bisection."""
    if events >= tries:
        return 1.0
    low, high = events / tries, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        below = sum(math.comb(tries, k) * middle**k * (1 - middle) ** (tries - k) for k in range(events + 1))
        low, high = (middle, high) if below > error else (low, middle)
    return high


def watched(run: Run, loops: Loops) -> list[dict[str, int]]:
    """After each round, how often each rule says that it repeats: the conversation shown as it grew."""
    memories = {rule: (LoopMemory(), _only(loops, rule)) for rule in OURS}
    seen: list[dict[str, int]] = []
    for end, message in enumerate(run.messages, 1):
        # A request is sent where the model is to answer.
        if message["role"] == "assistant" or (end < len(run.messages) and run.messages[end]["role"] != "assistant"):
            continue
        found = {rule: memory.asked(run.messages[:end], own) for rule, (memory, own) in memories.items()}
        seen.append({rule: finding.repeats for rule, finding in found.items() if finding})
    return seen


def row(found: Sequence[Run], fired_at: Callable[[Run], int | None]) -> Row:
    """The counts of a rule that says at which step of how many it fired."""
    counts = {True: [0, 0], False: [0, 0]}
    steps = saved = 0
    for run in found:
        if run.succeeded is None:
            continue
        at = fired_at(run)
        counts[run.succeeded][0] += 1
        counts[run.succeeded][1] += at is not None
        if not run.succeeded:
            steps += len(run.steps)
            saved += len(run.steps) - at if at is not None else 0
    return Row(counts[False][0], counts[False][1], counts[True][0], counts[True][1], saved / max(1, steps))


def peer(rule: Rule) -> Callable[[Run], int | None]:
    return lambda run: next((at for at in range(1, len(run.steps) + 1) if rule(run.steps[:at])), None)


class Ours:
    """Our rules over runs that were watched once."""

    def __init__(self, found: Iterable[Run]) -> None:
        self.seen = {id(run): watched(run, Loops()) for run in found}

    def at(self, repeats: int, rules: Sequence[str] = OURS) -> Callable[[Run], int | None]:
        """From so many repetitions on, by these rules."""

        def fired(run: Run) -> int | None:
            seen = self.seen[id(run)]
            first = next((at for at, one in enumerate(seen, 1) if any(one.get(r, 0) >= repeats for r in rules)), None)
            # Conversations with people have more requests than rounds.
            return None if first is None else first * len(run.steps) // len(seen)

        return fired


def tables(found: list[Run], ours: Ours, figures: Kept) -> None:
    rules = {f"ours: {rule} ≥ {n} ({name})": ours.at(n, (rule,)) for rule in OURS for name, n in RUNGS.items()}
    rules |= {f"ours: all, {name} at {n}": ours.at(n) for name, n in RUNGS.items()}
    rules |= {name: peer(rule) for name, rule in {**EXACT, **LOOSE}.items()}
    for source in ("InterCode SQL", "InterCode bash", "tau-bench", "all judged"):
        own = [run for run in found if source in (run.source, "all judged")]
        print(f"\n{source}")
        rows = {name: row(own, rule) for name, rule in rules.items()}
        for name, one in rows.items():
            if one.flagged_failed or one.flagged_succeeded or not name.startswith("ours: ") or "all" in name:
                print(f"  {name:48} {one.text()}")
        for name, one in rows.items():
            figures.keep(f"{source}: {name}", one)
        if source == "all judged":
            _bars(rows, figures)
    tau = [run for run in found if run.source == "tau-bench"]
    figures.add("tau-bench successes blocked", row(tau, ours.at(RUNGS["block"])).flagged_succeeded, "runs", at_most=0)
    unjudged = [run for run in found if run.succeeded is None]
    for name, repeats in RUNGS.items():
        flagged = sum(ours.at(repeats)(run) is not None for run in unjudged)
        print(f"      runs nobody judged (SWE agents, OpenHands), {name}: {flagged} of {len(unjudged)}")


def _bars(rows: dict[str, Row], figures: Figures) -> None:
    best = max(EXACT, key=lambda name: rows[name].flagged_failed)
    print(f"\nThe best exact rule of the others: {best}")
    steer, block, stop = (rows[f"ours: all, {name} at {n}"] for name, n in RUNGS.items())
    figures.add("failing runs found, all rules", steer.flagged_failed, "runs", at_least=rows[best].flagged_failed)
    figures.add("good runs steered", 100 * steer.flagged_succeeded / steer.succeeded, "%")
    figures.add("good runs blocked", 100 * block.flagged_succeeded / block.succeeded, "%", at_most=1.0)
    figures.add("its exact 95 % upper bound", 100 * upper_bound(block.flagged_succeeded, block.succeeded), "%")
    figures.add("good runs stopped", 100 * stop.flagged_succeeded / stop.succeeded, "%", at_most=0.3)
    figures.add("its exact 95 % upper bound", 100 * upper_bound(stop.flagged_succeeded, stop.succeeded), "%")


def cross_validate(found: list[Run], ours: Ours) -> None:
    """Thresholds chosen on one source, and what they do on the others."""
    print("\nThe lowest counts that keep the bars on one source, and what they do on the others")
    sources = ("InterCode SQL", "InterCode bash", "tau-bench")
    for chosen in sources:
        own = [run for run in found if run.source == chosen]
        block = _lowest(own, ours, 0.01)
        stop = max(block + 1, _lowest(own, ours, 0.003))
        for other in sources:
            if other != chosen:
                rest = [run for run in found if run.source == other]
                blocked, stopped = row(rest, ours.at(block)), row(rest, ours.at(stop))
                print(
                    f"  {chosen:14} block {block} stop {stop} -> {other:14} "
                    f"blocked {blocked.flagged_failed}/{blocked.failed} failing, "
                    f"{blocked.flagged_succeeded}/{blocked.succeeded} good; "
                    f"stopped {stopped.flagged_failed} failing, {stopped.flagged_succeeded} good"
                )


def _lowest(found: Sequence[Run], ours: Ours, share: float) -> int:
    rows = {repeats: row(found, ours.at(repeats)) for repeats in range(2, 11)}
    return next((n for n, one in rows.items() if one.flagged_succeeded <= share * one.succeeded), 10)


def cost(figures: Figures) -> None:
    """What `asked` and `answered` cost at step 200 of a growing conversation; beside it a full scan each time."""
    asked, answered, scans = [], [], []
    memory, messages = LoopMemory(), []
    clock = time.perf_counter
    for _ in range(CONVERSATIONS):
        memory, messages = LoopMemory(key=b"k" * 32), [{"role": "user", "content": "go"}]
        for at in range(STEPS):
            reply, result = _step(at)
            began = clock()
            memory.answered(
                f"answer {at}", reply, model="m", began_s=at, ended_s=at + 0.5, cost_pico=1_000, loops=LOOPS
            )
            between = clock()
            messages += [reply["choices"][0]["message"], result]
            resumed = clock()
            memory.asked(messages, LOOPS)
            if at >= STEPS - LATE:
                asked.append(clock() - resumed)
                answered.append(between - began)
    for end in range(len(messages) - 2 * LATE, len(messages), 2):
        began = clock()
        LoopMemory().asked(messages[:end], Loops(window=100, stop_at=100))
        scans.append(clock() - began)
    both = [one + other for one, other in zip(asked, answered, strict=True)]
    p50 = 1e6 * quantile(both, 0.5)
    figures.add("watching a step near step 200, p50", p50, "µs", at_most=20)
    figures.add("of it before the call", 1e6 * quantile(asked, 0.5), "µs")
    figures.add("watching a step near step 200, p99", 1e6 * quantile(both, 0.99), "µs")
    figures.add("reading the whole conversation each time, times that", 1e6 * quantile(scans, 0.5) / p50, "times")
    began = clock()
    state = memory.dump()
    figures.add("writing the memory down", 1e6 * (clock() - began), "µs")
    figures.add("its size", len(json.dumps(state)), "bytes", at_most=16_000)


def _step(at: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A reply that asks for a tool, and what the tool gives: 20 numbered lines of code, 600 characters."""
    arguments = json.dumps({"path": f"src/module_{at % 40}.py", "first": at, "last": at + 40})
    call = {"id": f"call_{at}", "type": "function", "function": {"name": "read", "arguments": arguments}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    lines = "\n".join(f"{line}: value = compute({line}, {at})" for line in range(20))
    return (
        {"choices": [{"finish_reason": "tool_calls", "message": message}]},
        {"role": "tool", "tool_call_id": call["id"], "content": lines},
    )


def _only(loops: Loops, rule: str) -> Loops:
    return Loops(window=loops.window, off=frozenset(RULES) - {rule})


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(1, whole):5.1f} %"


class Kept(Figures):
    """Figures with the tables beside them."""

    def keep(self, what: str, one: Row) -> None:
        """A row of a table, without a bar and without a line."""
        if one.flagged_failed or one.flagged_succeeded:
            failing, good = f"{one.flagged_failed}/{one.failed}", f"{one.flagged_succeeded}/{one.succeeded}"
            self._rows.append({"what": what, "failing": failing, "good": good, "saved": round(one.saved_share, 3)})


def main() -> int:
    at = folder(Path(__file__))
    if not at.is_dir():
        print("The recorded runs are not here (shared/data/trajectories beside the checkout): nothing to measure.")
        return 0
    figures = Kept("loops", "Recorded runs, each shown to the rules round by round.")
    cost(figures)
    if "--cost" in sys.argv:
        return figures.finish()
    found = runs(at)
    ours = Ours(found)
    tables(found, ours, figures)
    cross_validate(found, ours)
    return figures.finish()


if __name__ == "__main__":
    sys.exit(main())
