"""tokenguard: hard spend caps, exact prices and a ledger for LLM agents.

    import tokenguard as tg

    guard = tg.Guard(scope="acme/search", budget=tg.Budget(usd="50", per="day"))

    @guard.agent("researcher", budget=tg.Budget(usd="2.00", steps=40))
    async def research(question: str) -> str: ...

Importing this loads no heavy library; LiteLLM, SQLAlchemy and the price data are loaded when they are first needed.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenguard.calls.asking import Answer
    from tokenguard.calls.receipts import partial_of, receipt_of
    from tokenguard.core import events
    from tokenguard.core.budget import Budget, Limits
    from tokenguard.core.folding import Folding
    from tokenguard.core.ladder import Ladder, Loops
    from tokenguard.core.money import Money
    from tokenguard.core.receipt import CallReceipt, Receipt
    from tokenguard.errors import (
        AnswerInvalid,
        BackendError,
        BadAmount,
        BudgetExceeded,
        CallTooLarge,
        DepthExceeded,
        FanOutExceeded,
        HeadroomBusy,
        LedgerError,
        LedgerUnavailable,
        LoopBlocked,
        LoopDetected,
        NoActiveRun,
        NoEndpoint,
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
    from tokenguard.prompt.structured.prompts import Example, StructuredPrompt
    from tokenguard.prompt.structured.tools import tools_as_text
    from tokenguard.routing.endpoints import Endpoint, Rates
    from tokenguard.routing.policies import Policy
    from tokenguard.routing.route import Route, Routing
    from tokenguard.routing.spill import SpillRule

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "AnswerInvalid",
    "BackendError",
    "BadAmount",
    "Budget",
    "BudgetExceeded",
    "CallReceipt",
    "CallTooLarge",
    "DepthExceeded",
    "Endpoint",
    "Example",
    "FanOutExceeded",
    "Folding",
    "Guard",
    "HeadroomBusy",
    "Ladder",
    "LedgerError",
    "LedgerUnavailable",
    "Limits",
    "LoopBlocked",
    "LoopDetected",
    "Loops",
    "Money",
    "NoActiveRun",
    "NoEndpoint",
    "Policy",
    "Prices",
    "Rates",
    "Receipt",
    "Route",
    "Routing",
    "RunRevoked",
    "SetupError",
    "SpendRefused",
    "SpendStopped",
    "SpillRule",
    "StructuredPrompt",
    "TokenguardError",
    "UnattributedSpend",
    "Unpriceable",
    "VelocityExceeded",
    "__version__",
    "events",
    "find_stop",
    "partial_of",
    "receipt_of",
    "tools_as_text",
]

# Where each name lives. Modules are loaded when a name is first used (PEP 562), so that a program which imports us
# and does nothing with it pays nothing.
_HOMES = {
    "NoEndpoint": "tokenguard.errors",
    "SpillRule": "tokenguard.routing.spill",
    "Routing": "tokenguard.routing.route",
    "Route": "tokenguard.routing.route",
    "Policy": "tokenguard.routing.policies",
    "Rates": "tokenguard.routing.endpoints",
    "Endpoint": "tokenguard.routing.endpoints",
    "Answer": "tokenguard.calls.asking",
    "partial_of": "tokenguard.calls.receipts",
    "receipt_of": "tokenguard.calls.receipts",
    "events": "tokenguard.core",
    "Budget": "tokenguard.core.budget",
    "Folding": "tokenguard.core.folding",
    "Ladder": "tokenguard.core.ladder",
    "Limits": "tokenguard.core.budget",
    "Loops": "tokenguard.core.ladder",
    "Money": "tokenguard.core.money",
    "CallReceipt": "tokenguard.core.receipt",
    "Receipt": "tokenguard.core.receipt",
    "AnswerInvalid": "tokenguard.errors",
    "BackendError": "tokenguard.errors",
    "BadAmount": "tokenguard.errors",
    "BudgetExceeded": "tokenguard.errors",
    "CallTooLarge": "tokenguard.errors",
    "DepthExceeded": "tokenguard.errors",
    "FanOutExceeded": "tokenguard.errors",
    "HeadroomBusy": "tokenguard.errors",
    "LedgerError": "tokenguard.errors",
    "LedgerUnavailable": "tokenguard.errors",
    "LoopBlocked": "tokenguard.errors",
    "LoopDetected": "tokenguard.errors",
    "NoActiveRun": "tokenguard.errors",
    "RunRevoked": "tokenguard.errors",
    "SetupError": "tokenguard.errors",
    "SpendRefused": "tokenguard.errors",
    "SpendStopped": "tokenguard.errors",
    "TokenguardError": "tokenguard.errors",
    "UnattributedSpend": "tokenguard.errors",
    "Unpriceable": "tokenguard.errors",
    "VelocityExceeded": "tokenguard.errors",
    "find_stop": "tokenguard.errors",
    "Guard": "tokenguard.guard",
    "Prices": "tokenguard.pricing.policy",
    "Example": "tokenguard.prompt.structured.prompts",
    "StructuredPrompt": "tokenguard.prompt.structured.prompts",
    "tools_as_text": "tokenguard.prompt.structured.tools",
}


def __getattr__(name: str) -> Any:
    """Load a public name at its first use."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'tokenguard' has no attribute {name!r}")
    module = importlib.import_module(f"{home}.{name}" if name == "events" else home)
    value = module if name == "events" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
