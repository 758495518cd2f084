"""Our own ledgers and our own backend keep the promises that we ask of others."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tokenguard.backends.litellm import LiteLLMBackend
from tokenguard.backends.scripted import ScriptedBackend
from tokenguard.core.ids import RandomIds
from tokenguard.errors import LedgerConflict
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


class Forgiving(MemoryLedger):
    """Lets a second settlement overwrite the first without a word: what the promises are there to catch."""

    def settle(self, hold_id: str, booking: Any) -> Any:
        try:
            return super().settle(hold_id, booking)
        except LedgerConflict:
            return None


class OnForgiving(LedgerConformance):
    def make_ledger(self) -> MemoryLedger:
        return Forgiving(FakeClock(), RandomIds())


class OnDeaf(BackendConformance):
    """A backend that never reaches the server, and so never fails."""

    def make_backend(self) -> ScriptedBackend:
        return ScriptedBackend(["fine"])


def test_a_ledger_that_forgives_a_conflict_is_caught() -> None:
    promises = OnForgiving()
    promises.setup_method()

    with pytest.raises(AssertionError):
        promises.test_a_settlement_with_other_numbers_is_a_conflict()


def test_a_backend_that_hides_a_failure_is_caught() -> None:
    with pytest.raises(AssertionError, match="the request did not fail"):
        OnDeaf().test_one_send_is_one_request_even_when_it_fails()
