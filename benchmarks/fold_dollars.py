"""What folding is worth in net dollars on recorded runs, and what of an agent's next action stays visible.

Every recorded run is replayed request by request through an exact prefix cache, for seven sets of cache prices and
ten policies: our levels, the gate with the truth, and what peers do. Input side only, and the run is held as it was:
behaviour does not change here, so figures of policies that hide something are upper bounds.

Bars: no level of ours costs more than sending everything with the cache on; `lossless` saves at least 4 % on families
whose tools answer in JSON; the gate saves at least 95 % of what it would save if it knew how many requests will come;
no sent byte changes unless a cut is declared. Run: `.venv/bin/python -W ignore benchmarks/fold_dollars.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from figures import Figures
from fold_replay import Bill, Policy, bill, compact, gated, lossless, mask, off, recompress, tokens
from fold_retention import Retention
from fold_runs import FAMILIES, TOOL_API, Talk, folder, talks
from fold_stages import FOLDERS

from tokenguard.core.money import Money
from tokenguard.prompt.economy import CachePrices

INPUT = 3_000_000
"""Three dollars a million tokens, in pico-USD per token."""
OUTPUT = 15_000_000
STEP_AT = 8_000
"""Providers have their price steps at 200,000 or 272,000 tokens; the recorded runs are shorter, so here it is lower."""


def prices(write_percent: int, read_percent: int, *, steps: bool = False) -> CachePrices:
    base = CachePrices(
        input=INPUT,
        write=INPUT * write_percent // 100,
        write_1h=None,
        read=INPUT * read_percent // 100,
        output=OUTPUT,
        minimum=1_024,
        life_s=None,
        marked="none" if read_percent == 100 else "automatic",
        known=True,
    )
    if not steps:
        return base
    above = replace(base, input=2 * base.input, write=2 * base.write, read=2 * base.read)
    return replace(base, steps=((0, base), (STEP_AT, above)))


PRICES = {
    "1.25/0.1": prices(125, 10),
    "1/0.1": prices(100, 10),
    "1/0.25": prices(100, 25),
    "1/0.5": prices(100, 50),
    "no cache": prices(100, 100),
    "2.0/0.1 (1 h)": prices(200, 10),
    "1.25/0.1, ×2 above 8k": prices(125, 10, steps=True),
}
OFF = "no compression, cache on"
OURS: dict[str, Policy] = {"compact": compact, "lossless": lossless, "gated": gated()}
TRUTH = "gated, knowing R"
OTHERS: dict[str, Policy] = {
    TRUTH: gated(truth=True),
    "gated, behaviour priced": gated(paying=True),
    "mask all but 5, every turn": mask(5, 1),
    "mask all but 5, every 10 turns": mask(5, 10),
    "recompress older results": recompress,
}
RETAINED: dict[str, Policy] = {**OURS, "mask all but 3": mask(3, 1), "mask all but 5": mask(5, 1)}
Bills = dict[tuple[str, str, str], Bill]


class Kept(Figures):
    """Figures with the tables beside them."""

    def keep(self, table: str, **cells: object) -> None:
        """A row of a table, without a bar and without a line."""
        self._rows.append({"table": table, **cells})


def replay(found: dict[str, list[Talk]]) -> Bills:
    """Every price set, family and policy."""
    bills: Bills = {}
    for terms, rates in PRICES.items():
        for family, own in found.items():
            for name, policy in {OFF: off, **OURS, **OTHERS}.items():
                total = Bill()
                for talk in own:
                    total.add(bill(talk, rates, policy))
                bills[terms, family, name] = total
    return bills


def tables(bills: Bills, families: Sequence[str], figures: Kept) -> None:
    """Change of the input bill in percent, against sending everything with the cache on."""
    for terms in PRICES:
        print(f"\n{terms:32}" + "".join(f"{family:>16}" for family in families))
        for name in (*OURS, *OTHERS):
            percent = {family: change(bills, terms, family, name) for family in families}
            print(f"  {name:30}" + "".join(f"{one:16.2f}" for one in percent.values()))
            usd = {family: Money.from_pico(bills[terms, family, name].pico).json() for family in families}
            figures.keep("net_dollars", prices=terms, policy=name, percent=percent, usd=usd)


def change(bills: Bills, terms: str, family: str, name: str) -> float:
    base = bills[terms, family, OFF].pico
    return round(100 * (bills[terms, family, name].pico - base) / base, 2)


def bars(bills: Bills, families: Sequence[str], figures: Kept) -> None:
    print()
    worst = max(change(bills, terms, family, name) for terms in PRICES for family in families for name in OURS)
    figures.add("the worst cell of our levels, against no compression", worst, "%", at_most=0.0)
    for family in TOOL_API:
        dearest = max(change(bills, terms, family, "lossless") for terms in PRICES)
        figures.add(f"lossless on {family}, the worst price set", dearest, "%", at_most=-4.0)
    for terms in PRICES:
        ours, truth = (
            {family: bills[terms, family, OFF].pico - bills[terms, family, name].pico for family in families}
            for name in ("gated", TRUTH)
        )
        share = 100 * sum(ours.values()) / sum(truth.values())
        poorest = min(families, key=lambda family: ours[family] / truth[family])
        figures.add(f"of the saving of the gate that knows R: {terms}", share, "%", at_least=95.0)
        figures.add(f"  the poorest family at that, {poorest}", 100 * ours[poorest] / truth[poorest], "%")
    entry = sum(one.rewritten for (_, _, name), one in bills.items() if name in ("compact", "lossless"))
    figures.add("requests of compact and lossless that changed a sent text", entry, "requests", at_most=0)


def undeclared(found: dict[str, list[Talk]], figures: Kept) -> None:
    """Texts that were sent before and changed though the gate declared no cut."""
    changes = {"with": 0, "without": 0}

    def watch(changed: int, cuts: int) -> None:
        changes["with" if cuts else "without"] += changed

    for rates in PRICES.values():
        for own in found.values():
            for talk in own:
                bill(talk, rates, gated(watch=watch))
    figures.add("sent texts that gated changed in declared cuts", changes["with"], "texts")
    figures.add("sent texts that gated changed without one", changes["without"], "texts", at_most=0)


def retention(found: dict[str, list[Talk]], figures: Kept) -> None:
    """Names of the next action that stay visible, and actions that lost one, at 1.25/0.1."""
    rows: dict[str, list[str]] = {}
    for name, policy in RETAINED.items():
        for family, own in found.items():
            seen = Retention()
            for talk in own:
                seen.watch(talk, PRICES["1.25/0.1"], policy)
            rows.setdefault(name, []).append(f"{seen.percent:.1f} | {seen.poorer_percent:.1f}")
            row = {"names": seen.names, "visible": round(seen.percent, 2), "poorer": round(seen.poorer_percent, 2)}
            figures.keep("fold_retention", policy=name, family=family, **row)
            if name in ("compact", "lossless"):
                figures.add(f"visible at {name}, {family} ({seen.names})", seen.percent, "%", at_least=100.0)
    print(f"\n{'names visible | poorer actions, %':32}" + "".join(f"{family:>16}" for family in found))
    for name, cells in rows.items():
        print(f"  {name:30}" + "".join(f"{cell:>16}" for cell in cells))


def main() -> int:
    at = folder(Path(__file__))
    if not at.is_dir():
        print("The recorded runs are not here (shared/data/trajectories beside the checkout): nothing to measure.")
        return 0
    figures = Kept("fold_dollars", f"Recorded runs, input side, fixed behaviour; folders: {FOLDERS}.")
    every = talks(at)
    found = {family: [talk for talk in every if talk.family == family] for family in FAMILIES}
    for family, own in found.items():
        calls = sum(len(talk.requests) for talk in own)
        size = max(sum(tokens(one.text) for one in talk.said) for talk in own)
        figures.keep("families", family=family, runs=len(own), requests=calls, largest_tokens=size)
        print(f"{family:16} {len(own):4} runs, {calls:5} requests, at most {size:,} tokens")
    bills = replay(found)
    tables(bills, list(found), figures)
    retention(found, figures)
    bars(bills, list(found), figures)
    undeclared(found, figures)
    return figures.finish()


if __name__ == "__main__":
    sys.exit(main())
