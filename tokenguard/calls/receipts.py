"""Receipts on replies: LiteLLM's objects stay what they are and carry the receipt beside their own hidden fields."""

from __future__ import annotations

from typing import Any

from tokenguard.core.receipt import CallReceipt

__all__ = ["attach_receipt", "receipt_of"]

_KEY = "tokenguard_receipt"


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


def receipt_of(reply: Any) -> CallReceipt | None:
    """The receipt of a reply of `guard.completion` and its siblings, or of a stream that was read to its end.

    None: the reply did not come from a guard, or its stream is still open.
    """
    hidden: Any = getattr(reply, "_hidden_params", None)
    receipt = hidden.get(_KEY) if isinstance(hidden, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    return receipt if isinstance(receipt, CallReceipt) else None
