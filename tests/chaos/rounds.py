"""A round: workers live, faults happen, a watch looks at the balances; then the books are swept and checked."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final, Self

from chaos.checks import Watch, findings
from chaos.heirs import Inherited, inherit
from chaos.plan import ORG, Fault, Kind, Plan, plan_of
from chaos.proxy import Network, Proxy
from chaos.stages import Stage, stage_on
from chaos.worker import leases_in
from tokenguard.core.account import Scope
from tokenguard.core.books import Closure
from tokenguard.core.budget import Budget, Unit
from tokenguard.core.clock import SystemClock
from tokenguard.core.money import Money
from tokenguard.errors import LedgerConflict, LedgerError, LedgerInvariant
from tokenguard.ledger.sql import SqlLedger
from tokenguard.testing.model_server import ModelServer, Reply
from tokenguard.testing.model_server.requests import RecordedRequest

__all__ = ["Arena", "Outcome", "arena"]

CENT: Final = 10**10
_CLOCK: Final = SystemClock()
_TESTS: Final = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a round came to. Amounts in pico-USD."""

    plan: Plan
    findings: tuple[str, ...]
    """Every promise that was broken."""
    requests: int
    """That the model answered."""
    acknowledged: int
    """Settlements that workers were told of."""
    assumed: int
    """Attempts that were charged at their ceiling."""
    met: Counter[str]
    """Troubles that workers met."""
    looks: int
    """How often the balances were looked at during the round."""
    killed: int
    journaled: int
    """Settlements that workers journaled and told of."""
    replayed: int
    """Journaled bookings that workers booked, their own and those of the dead."""
    inherited: int
    """Bookings that dead workers had written down and nobody had booked when the round was over."""
    leases: int
    """Leases that workers took."""
    leased: int
    """Calls that workers paid out of them."""
    took_s: float


class Arena:
    """A database, a model and a nursery, for any number of rounds."""

    def __init__(self, stage: Stage, network: Network, server: ModelServer) -> None:
        self.stage, self._server = stage, server
        host, _, port = server.url.removeprefix("http://").removesuffix("/v1").partition(":")
        self._model = network.proxy(host=host, port=int(port))
        self._nursery = _Nursery(stage, self._model.port)

    def close(self) -> None:
        self._nursery.close()

    def play(self, seed: int) -> Outcome:
        """One round."""
        began_s = time.monotonic()
        plan = plan_of(seed, self.stage.kind)
        self.stage.fresh()
        spools = self._nursery.spools / str(seed)
        shutil.rmtree(spools, ignore_errors=True)
        shutil.rmtree(leases_in(spools), ignore_errors=True)
        self._server.reset(_replies(plan))
        ledger = self.stage.ledger()
        cap = Budget(usd=Money.from_pico(plan.org_cents * CENT), per="total", allowance=True if plan.leases else None)
        ledger.declare(Scope(f"scope:{ORG}", ORG, (cap,)), _CLOCK.now())
        try:
            with (
                self.stage.looker() as look,
                Watch(look) as watch,
                _Faults(plan, self.stage, self._model, ledger),
            ):
                told = self._nursery.play(seed)
            settled = [line for line in told["said"] if line.startswith("settled ")]
            self._model.heal()
            self.stage.heal()
            self._server.wait_idle()
            inherited = inherit(plan, ledger, spools) if plan.journals or plan.leases else Inherited()
            with self.stage.looker() as look:
                settled += inherited.promised
                found = findings(ledger, look, self._server.exchanges, settled, watch)
        finally:
            ledger.dispose()
        return Outcome(
            plan=plan,
            findings=(*found.broken, *inherited.broken, *self.stage.troubles(), *_strange(told)),
            requests=self._server.count,
            acknowledged=len(settled) - len(inherited.promised),
            assumed=found.assumed,
            met=Counter(line.removeprefix("met ") for line in told["said"] if line.startswith("met ")),
            looks=watch.looks,
            killed=sum(end < 0 for end in told["ends"]),
            journaled=sum(line.startswith("journaled ") for line in told["said"]),
            replayed=sum(int(line.split()[1]) for line in told["said"] if line.startswith("replayed ")),
            inherited=len(inherited.promised) + inherited.leased,
            leases=sum(int(line.split()[1]) for line in told["said"] if line.startswith("leased ")),
            leased=sum(int(line.split()[2]) for line in told["said"] if line.startswith("leased ")),
            took_s=time.monotonic() - began_s,
        )


@contextmanager
def arena(kind: Kind) -> Iterator[Arena]:
    """Everything that rounds on one kind of database need."""
    with Network() as network, ModelServer() as server, stage_on(kind, network) as stage:
        opened = Arena(stage, network, server)
        try:
            yield opened
        finally:
            opened.close()


def _strange(told: dict[str, Any]) -> Iterator[str]:
    """A worker ends by itself, or is killed, and no outage makes the books contradict themselves."""
    yield from (f"a worker ended with {end}" for end in told["ends"] if end not in (0, -signal.SIGKILL))
    impossible = (LedgerInvariant.__name__, LedgerConflict.__name__)
    yield from (f"a worker {line}" for line in told["said"] if line.startswith("met ") and line.endswith(impossible))
    replays = (line for line in told["said"] if line.startswith("replayed "))
    yield from (f"a worker {line}, the last of them refused" for line in replays if not line.endswith(" 0"))


def _replies(plan: Plan) -> Any:
    """Answers of many sizes; some fail, some are late, some break off."""
    dice = Random(plan.seed)  # a plan, not a secret
    slowest_s = 0.1 if plan.journals else 0.03  # Slow answers come while the ledger is away.

    def reply(request: RecordedRequest) -> Reply:
        del request
        chance, tokens, latency_s = dice.random(), dice.randint(1, 400), dice.uniform(0, slowest_s)
        if chance < 0.06:
            return Reply(status=dice.choice((429, 500, 503)), retry_after="0")
        if chance < 0.08:
            return Reply(status=504)
        if chance < 0.12:
            return Reply(completion_tokens=tokens, cut=dice.choice(("headers", "body")), reset=dice.random() < 0.5)
        return Reply(completion_tokens=tokens, latency_s=latency_s, prompt_tokens=0, chunks=5)

    return reply


class _Nursery:
    """The process that forks the workers."""

    def __init__(self, stage: Stage, model_port: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tokenguard-nursery-")
        self.spools = Path(self._folder.name) / "spools"
        path = os.pathsep.join([str(_TESTS), str(_TESTS.parent)])
        arguments = (stage.kind, stage.url, str(model_port), str(self.spools))
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "chaos.nursery", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # A folder of its own, so that no project's settings are found.
            cwd=self._folder.name,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._read()

    def play(self, seed: int) -> dict[str, Any]:
        """Let the workers of a round live; what they said and how they ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seed}\n")
        self._process.stdin.flush()
        told: dict[str, Any] = json.loads(self._read())
        return told

    def close(self) -> None:
        self._process.communicate(timeout=30)
        self._folder.cleanup()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the nursery is gone; what it wrote to stderr says why.")
        return line


class _Faults:
    """Lets faults happen at their times, until the round is over."""

    def __init__(self, plan: Plan, stage: Stage, model: Proxy, ledger: SqlLedger) -> None:
        self._plan, self._stage, self._model, self._ledger = plan, stage, model, ledger
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-faults", daemon=True)
        self._stopped: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        began_s = time.monotonic()
        for fault in self._plan.faults:
            if self._over.wait(max(0.0, began_s + fault.at_s - time.monotonic())):
                return
            self._happen(fault)

    def _happen(self, fault: Fault) -> None:
        if fault.where in ("database", "model"):
            self._on_network(fault)
        elif fault.what in ("restart", "terminate", "lock"):
            self._stage.suffer(fault, self._over.wait)
        else:
            with suppress(LedgerError):  # a person meets the same outages
                self._by_people(fault.what)

    def _on_network(self, fault: Fault) -> None:
        proxy = self._model if fault.where == "model" else self._stage.proxy
        if fault.what in ("stall", "refuse"):
            switch = proxy.stall if fault.what == "stall" else proxy.refuse
            switch(on=True)
            self._over.wait(fault.for_s)
            switch(on=False)
        else:
            getattr(proxy, fault.what)()

    def _by_people(self, what: str) -> None:
        now = _CLOCK.now()
        if what == "sweep":
            self._ledger.sweep(now.replace(year=now.year + 1))
        elif what == "top up":
            self._ledger.top_up(f"scope:{ORG}", Unit.USD, CENT, by="ada", at=now)
        elif what == "stop":
            self._stopped = [one.id for one in self._ledger.runs(limit=2, open_only=True)]
            for run_id in self._stopped:
                self._ledger.close_run(Closure(run_id, "run_revoked", "it was stopped.", {}, now, "ada"))
        else:
            for run_id in self._stopped:
                self._ledger.reopen(run_id, by="ada", why="go on", at=now)
