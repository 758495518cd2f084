"""Which answers nobody could price, asked of real books that a guard wrote."""

import pytest

import tokenguard as tg
from tokenguard.backends.scripted import ScriptedBackend, ScriptedReply
from tokenguard.core.ids import RandomIds
from tokenguard.ledger.memory import MemoryLedger
from tokenguard.reports.unpriced import unpriced_models, unpriced_table
from tokenguard.testing import FakeClock

OWN, OTHER, KNOWN = "openai/my-own-model", "openai/another-of-mine", "openai/gpt-5-mini"


def usage(prompt: int, completion: int) -> ScriptedReply:
    whole = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return ScriptedReply("ok", usage=whole)


@pytest.fixture
def ledger() -> MemoryLedger:
    """Three unpriced answers by two models, and a priced one."""
    books = MemoryLedger(FakeClock(), RandomIds())
    backend = ScriptedBackend([usage(1_000, 200), usage(2_000, 300), usage(5_000, 0), usage(9_000, 9)])
    with tg.Guard(ledger=books, backend=backend, prices=tg.Prices(unknown="observe")) as guard, guard.run("agent"):
        for model in (OWN, OWN, OTHER, KNOWN):
            guard.completion(model, [{"role": "user", "content": "hello"}])
    return books


def test_models_that_answered_without_a_price_are_listed_with_most_tokens_first(ledger: MemoryLedger) -> None:
    rows = unpriced_models(ledger, tg.Prices())

    assert [(row.model, row.calls, row.input_tokens, row.output_tokens) for row in rows] == [
        (OTHER, 1, 5_000, 0),
        (OWN, 2, 3_000, 500),
    ]


def test_an_unpriced_row_brings_the_line_to_paste(ledger: MemoryLedger) -> None:
    row = unpriced_models(ledger, tg.Prices())[1]

    assert f'[prices."{OWN}"]' in row.toml
    assert row.json() == {
        "model": OWN,
        "provider": "openai",
        "calls": 2,
        "input_tokens": 3_000,
        "output_tokens": 500,
        "usd": "0",
        "priced_now": False,
        "toml": row.toml,
    }


def test_a_model_that_has_a_price_by_now_is_listed_without_a_line_to_paste(ledger: MemoryLedger) -> None:
    by_now = tg.Prices({"prices": {OWN: {"input": "1", "output": "2"}}})

    rows = unpriced_models(ledger, by_now)

    assert [(row.model, row.json()["priced_now"]) for row in rows] == [(OTHER, False), (OWN, True)]
    assert rows[1].json()["toml"] is None
    assert [cells[-1] for cells in unpriced_table(rows).rows] == ["unknown", "known"]


def test_a_table_of_unpriced_models_says_what_stands_in_the_books(ledger: MemoryLedger) -> None:
    table = unpriced_table(unpriced_models(ledger, tg.Prices()))

    assert [column.name for column in table.columns] == [
        *("model", "provider", "calls", "input", "output", "booked", "price now")
    ]
    assert table.rows[1] == (OWN, "openai", "2", "3,000", "500", "$0.00", "unknown")
