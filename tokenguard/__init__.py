"""tokenguard: hard spend caps, exact prices and a ledger for LLM agents.

    import tokenguard as tg

    guard = tg.Guard(scope="acme/search", budget=tg.Budget(usd="50", per="day"))

    @guard.agent("researcher", budget=tg.Budget(usd="2.00", steps=40))
    async def research(question: str) -> str: ...

Importing this loads no heavy library; LiteLLM, SQLAlchemy and the price data are loaded when they are first needed.
"""

from tokenguard.calls.receipts import receipt_of
from tokenguard.core import events
from tokenguard.core.budget import Budget, Limits
from tokenguard.core.money import Money
from tokenguard.core.receipt import CallReceipt, Receipt
from tokenguard.errors import (
    BackendError,
    BadAmount,
    BudgetExceeded,
    CallTooLarge,
    DepthExceeded,
    FanOutExceeded,
    HeadroomBusy,
    LedgerError,
    LedgerUnavailable,
    LoopDetected,
    NoActiveRun,
    RunRevoked,
    SetupError,
    SpendRefused,
    SpendStopped,
    TokenguardError,
    UnattributedSpend,
    Unpriceable,
    VelocityExceeded,
    find_stop,
)
from tokenguard.guard import Guard
from tokenguard.pricing.policy import Prices

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "BadAmount",
    "Budget",
    "BudgetExceeded",
    "CallReceipt",
    "CallTooLarge",
    "DepthExceeded",
    "FanOutExceeded",
    "Guard",
    "HeadroomBusy",
    "LedgerError",
    "LedgerUnavailable",
    "Limits",
    "LoopDetected",
    "Money",
    "NoActiveRun",
    "Prices",
    "Receipt",
    "RunRevoked",
    "SetupError",
    "SpendRefused",
    "SpendStopped",
    "TokenguardError",
    "UnattributedSpend",
    "Unpriceable",
    "VelocityExceeded",
    "__version__",
    "events",
    "find_stop",
    "receipt_of",
]
