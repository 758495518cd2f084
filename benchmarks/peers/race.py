"""Fifty calls at once, one cent each, under a cap of ten cents: how many does each budget guard let through?

    make bench-peers

Every peer runs in a process of its own, used as its documentation says, against the same model server: real HTTP, 50 ms
a call, a bill of exactly $0.01 (gpt-4o: 4 tokens in, 999 out). The server's count of requests is the judge, not what a
peer says about itself. A hard cap lets ten arrive. Exit 1 where one of ours lets more or fewer through.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from figures import RESULTS, machine

from tokenguard.testing.model_server import ModelServer, Reply

HERE = Path(__file__).parent
CALLS, CAP_CENTS, IDEAL = 50, 10, 10
PROMPT_TOKENS, COMPLETION_TOKENS = 4, 999
# gpt-4o, in pico-dollars a token: $2.50 and $10 a million, in every price list that the peers use.
INPUT_PICO, OUTPUT_PICO = 2_500_000, 10_000_000

OURS, LITELLM, THEIRS = "tokenguard", "litellm", "theirs"
PEERS = (
    ("tokenguard, threads, SQLite file", "ours.py threads file", OURS, "tokenguard-llm"),
    ("tokenguard, asyncio, SQLite file", "ours.py tasks file", OURS, "tokenguard-llm"),
    ("tokenguard, asyncio, in memory", "ours.py tasks memory", OURS, "tokenguard-llm"),
    ("LiteLLM Router, provider_budget_config", "litellm_router.py", LITELLM, "litellm"),
    ("LiteLLM BudgetManager", "litellm_budget_manager.py", LITELLM, "litellm"),
    ("pydantic-ai UsageLimits(cost_limit=)", "pydantic_ai_limits.py", THEIRS, "pydantic-ai-slim"),
    ("inspect_ai cost_limit()", "inspect_limits.py", THEIRS, "inspect-ai"),
    ("figuard authorize + confirm", "figuard_client.py", THEIRS, "figuard"),
    ("agentbudget.init()", "agentbudget_drop_in.py", THEIRS, "agentbudget"),
)


def run(script: str, python: str) -> dict[str, Any]:
    """One race: what arrived, what it truly cost, and how long it took."""
    name, *arguments = script.split()
    reply = Reply(prompt_tokens=PROMPT_TOKENS, completion_tokens=COMPLETION_TOKENS, latency_s=0.05)
    with tempfile.TemporaryDirectory() as home, ModelServer(reply) as server:
        # Some keep their books in the home or the working folder: each race begins with empty ones.
        environment = {
            **os.environ,
            "HOME": home,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "OPENAI_API_KEY": "none",
            "OPENAI_BASE_URL": server.url,
        }
        command = [python, "-W", "ignore", str(HERE / name), server.url, *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=home, env=environment, timeout=180, check=False
        )
        server.wait_idle()
        exchanges = server.exchanges
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}"}
    pico = sum(
        PROMPT_TOKENS * INPUT_PICO + min(COMPLETION_TOKENS, one.request.output_max or COMPLETION_TOKENS) * OUTPUT_PICO
        for one in exchanges
    )
    said = json.loads(done.stdout.strip().splitlines()[-1])
    return {"arrived": len(exchanges), "spent_usd": f"{pico // 10**8 / 10**4:.4f}", **said}


def version_of(distribution: str, python: str) -> str:
    """The peer's version, in the environment that it runs in."""
    if python == sys.executable:
        return version(distribution)
    code = f"import importlib.metadata as m; print(m.version({distribution!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "not installed"


def main(theirs: str) -> int:
    rows: list[dict[str, Any]] = []
    print(f"{CALLS} calls at once of $0.01 each under a cap of $0.{CAP_CENTS:02}; ideal: {IDEAL} arrive\n")
    print(f"{'guard':42} {'version':10} {'arrived':>8} {'truly spent':>12} {'race':>9}")
    for label, script, home, distribution in PEERS:
        python = theirs if home == THEIRS else sys.executable
        row = {"guard": label, "version": version_of(distribution, python), **run(script, python)}
        rows.append(row)
        if "failed" in row:
            print(f"{label:42} {row['version']:10} did not run: {row['failed']}", flush=True)
        else:
            cells = f"{row['arrived']:8} {'$' + row['spent_usd']:>12} {row['seconds']:7.2f} s"
            print(f"{label:42} {row['version']:10} {cells}", flush=True)
    if "--write" in sys.argv:
        RESULTS.mkdir(exist_ok=True)
        text = json.dumps({"benchmark": "peers", **machine(), "calls": CALLS, "ideal": IDEAL, "races": rows}, indent=2)
        (RESULTS / "peers.json").write_text(text + "\n", encoding="utf-8")
    ours = [row for row in rows if row["guard"].startswith(OURS)]
    return int(any(row.get("arrived") != IDEAL for row in ours))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("theirs", help="the Python of the environment that holds the peers")
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/results")
    sys.exit(main(str(Path(parser.parse_args().theirs).absolute())))
