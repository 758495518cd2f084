"""Rounds of random kill -9, database restarts and network cuts over eight processes, on both databases at once.

    python scripts/chaos.py [--rounds 300] [--seed 0] [--database sqlite|postgres] [--json]

Round n follows from seed + n and the kind of database alone; `--seed N --rounds 1` plays one again and prints its plan.
After each round the books are swept and checked (tests/chaos/checks.py). Exit 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from chaos.rounds import Outcome, arena  # noqa: E402  # the path is set above

KINDS = ("sqlite", "postgres")
COUNTED = (
    "requests",
    "acknowledged",
    "assumed",
    "killed",
    "journaled",
    "replayed",
    "inherited",
    "leases",
    "leased",
    "looks",
)


def main() -> int:
    """Play, and say what it came to."""
    asked = _arguments()
    began_s = time.monotonic()
    kinds = KINDS if asked.database is None else (asked.database,)
    if len(kinds) == 1:
        rows = list(_play(kinds[0], asked))
    else:
        # Rounds wait more than they work, so each kind has a process of its own.
        command = [sys.executable, __file__, "--rounds", str(asked.rounds), "--seed", str(asked.seed), "--json"]
        running = [
            subprocess.Popen([*command, "--database", kind], stdout=subprocess.PIPE, text=True) for kind in kinds
        ]
        rows = [row for one in running for row in json.loads(one.communicate()[0])["rounds"]]
    broken = [row for row in rows if row["findings"]]
    totals = _totals(rows, time.monotonic() - began_s)
    if asked.json:
        sys.stdout.write(json.dumps({"totals": totals, "rounds": rows}) + "\n")
    else:
        _say(totals, broken)
    return 1 if broken else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300, help="on each database")
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    parser.add_argument("--database", choices=KINDS)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _play(kind: Any, asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Play rounds, saying how it goes on stderr."""
    # Writing to a connection that was cut is what is meant to happen here.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    with arena(kind) as opened:
        for number in range(asked.rounds):
            outcome = opened.play(asked.seed + number)
            if asked.rounds == 1 or outcome.findings:
                sys.stderr.write(f"{outcome.plan}\n")
            for finding in outcome.findings:
                sys.stderr.write(f"  BROKEN {finding}\n")
            if (number + 1) % 10 == 0 or number + 1 == asked.rounds:
                sys.stderr.write(f"{kind}: {number + 1} of {asked.rounds} rounds\n")
            yield _row(outcome)


def _row(outcome: Outcome) -> dict[str, Any]:
    plan = outcome.plan
    return {
        "database": plan.kind,
        "seed": plan.seed,
        "findings": outcome.findings,
        "faults": [one.what for one in plan.faults],
        "requests": outcome.requests,
        "acknowledged": outcome.acknowledged,
        "assumed": outcome.assumed,
        "looks": outcome.looks,
        "killed": outcome.killed,
        "journaled": outcome.journaled,
        "leases": outcome.leases,
        "leased": outcome.leased,
        "replayed": outcome.replayed,
        "inherited": outcome.inherited,
        "met": outcome.met,
        "took_s": round(outcome.took_s, 2),
    }


def _totals(rows: list[dict[str, Any]], took_s: float) -> dict[str, Any]:
    counts = {name: sum(row[name] for row in rows) for name in COUNTED}
    faults = Counter(what for row in rows for what in row["faults"])
    met = sum((Counter(row["met"]) for row in rows), Counter[str]())
    broken = sum(bool(row["findings"]) for row in rows)
    return {"rounds": len(rows), "broken": broken, "took_s": round(took_s), **counts, "faults": faults, "met": met}


def _say(totals: dict[str, Any], broken: list[dict[str, Any]]) -> None:
    for name in ("rounds", "took_s", *COUNTED):
        print(f"{name:14} {totals[name]:,}")
    for name in ("faults", "met"):
        print(f"{name:14} " + ", ".join(f"{count} {what}" for what, count in Counter(totals[name]).most_common()))
    for row in broken:
        print(f"BROKEN         python scripts/chaos.py --database {row['database']} --seed {row['seed']} --rounds 1")
    print("every promise held" if not broken else f"{len(broken)} rounds broke a promise")


if __name__ == "__main__":
    sys.exit(main())
