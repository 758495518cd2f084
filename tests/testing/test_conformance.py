"""Our own ledgers and our own backend keep the promises that we ask of others."""

from __future__ import annotations

from tempfile import TemporaryDirectory

from tokenguard.backends.litellm import LiteLLMBackend
from tokenguard.core.ids import RandomIds
from tokenguard.ledger.memory import MemoryLedger
from tokenguard.ledger.sql import SqlLedger
from tokenguard.testing import FakeClock
from tokenguard.testing.conformance import BackendConformance, LedgerConformance


class TestMemory(LedgerConformance):
    def make_ledger(self) -> MemoryLedger:
        return MemoryLedger(FakeClock(), RandomIds())


class TestSQLite(LedgerConformance):
    def make_ledger(self) -> SqlLedger:
        self.folder = TemporaryDirectory(prefix="tokenguard-conformance-")
        return SqlLedger.open(f"{self.folder.name}/spend.db", FakeClock(), RandomIds())

    def teardown_method(self) -> None:
        self.ledger.dispose()
        self.folder.cleanup()


class TestLiteLLM(BackendConformance):
    def make_backend(self) -> LiteLLMBackend:
        return LiteLLMBackend()
