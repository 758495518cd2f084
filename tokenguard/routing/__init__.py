"""Who answers a call: own hardware first while it holds its target, the cloud for the burst, private data nowhere else.

Values decide; nothing here does I/O, asks the time or starts a thread. docs/routing.md states every rule.
"""

from tokenguard.routing.breaker import Breaker, BreakerRule
from tokenguard.routing.decide import decide
from tokenguard.routing.endpoints import FREE, Capability, Endpoint, Need, Prior, Rates, Tier
from tokenguard.routing.fleet import Fleet, counterfactual
from tokenguard.routing.metrics import Reading, read_metrics, read_signals
from tokenguard.routing.policies import Choice, Drop, Order, Plan, Policy, Reason, Why
from tokenguard.routing.predict import Forecast
from tokenguard.routing.quality import Curve, CurvePoint, Judged, curve_of, perfect_scores
from tokenguard.routing.refusals import refusal
from tokenguard.routing.router import Router
from tokenguard.routing.schedule import Schedule, minute_of_week, read_schedule
from tokenguard.routing.signals import STALE_AFTER_S, Signals
from tokenguard.routing.slo import Breach, Slo, SloReading, SloWindow
from tokenguard.routing.spill import SpillRule
from tokenguard.routing.standing import How, Outcome, Snapshot, Standing, Ticket, how_of

__all__ = [
    "FREE",
    "STALE_AFTER_S",
    "Breach",
    "Breaker",
    "BreakerRule",
    "Capability",
    "Choice",
    "Curve",
    "CurvePoint",
    "Drop",
    "Endpoint",
    "Fleet",
    "Forecast",
    "How",
    "Judged",
    "Need",
    "Order",
    "Outcome",
    "Plan",
    "Policy",
    "Prior",
    "Rates",
    "Reading",
    "Reason",
    "Router",
    "Schedule",
    "Signals",
    "Slo",
    "SloReading",
    "SloWindow",
    "Snapshot",
    "SpillRule",
    "Standing",
    "Ticket",
    "Tier",
    "Why",
    "counterfactual",
    "curve_of",
    "decide",
    "how_of",
    "minute_of_week",
    "perfect_scores",
    "read_metrics",
    "read_schedule",
    "read_signals",
    "refusal",
]
