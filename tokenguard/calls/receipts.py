"""Receipts: of runs, as the ledger has them; and on replies, LiteLLM's objects, which stay what they are."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from tokenguard.core.books import Kind
from tokenguard.core.receipt import CallReceipt, Receipt

if TYPE_CHECKING:
    from tokenguard.core.ports import Ledger

__all__ = ["attach_partial", "attach_receipt", "partial_of", "receipt_of", "run_receipt"]

_KEY = "tokenguard_receipt"
_PARTIAL = "tokenguard_partial"


def run_receipt(ledger: Ledger, run_id: str) -> Receipt | None:
    """What a run and everything below it cost, and what repeated there; None: there is no such run."""
    nodes = ledger.tree(run_id)
    if not nodes:
        return None
    runs = [one.id for one in nodes if one.kind is not Kind.STEP]
    return Receipt.of(nodes, ledger=ledger.name, loops=ledger.loops(runs), savings=ledger.savings(run_ids=runs))


def attach_receipt(reply: Any, receipt: CallReceipt) -> None:
    """Put a receipt on a reply; an object that takes no attributes goes without."""
    hidden = getattr(reply, "_hidden_params", None)
    if isinstance(hidden, dict):
        hidden[_KEY] = receipt
        return
    try:
        reply._hidden_params = {_KEY: receipt}  # noqa: SLF001  # LiteLLM's own name for what rides along
    except (AttributeError, TypeError, ValueError):
        return


def partial_of(error: BaseException) -> str | None:
    """The text that a stream had delivered before it broke with this error; None: it is no such error.

    A stream that has begun is never begun again behind its reader's back: what came stands, and who reads it decides.
    """
    found = getattr(error, _PARTIAL, None)
    return found if isinstance(found, str) else None


def attach_partial(error: BaseException, text: str) -> None:
    """Let an error carry what came before it."""
    with contextlib.suppress(AttributeError, TypeError):  # Of an error with slots nothing can be told.
        setattr(error, _PARTIAL, text)


def receipt_of(reply: Any) -> CallReceipt | None:
    """The receipt of a reply of `guard.completion` and its siblings, or of a stream that was read to its end.

    None: the reply did not come from a guard, or its stream is still open.
    """
    hidden: Any = getattr(reply, "_hidden_params", None)
    receipt = hidden.get(_KEY) if isinstance(hidden, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    return receipt if isinstance(receipt, CallReceipt) else None
