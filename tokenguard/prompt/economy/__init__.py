"""What the provider's cache decides: prices by where tokens come from, the gate, breakpoints, advice, retiring.

Whole pico-dollars over a card's rates; nothing here does I/O, asks the time or knows a tokenizer. docs/caching.md
states every rule with its source.
"""

from tokenguard.prompt.economy.advice import Advice, keep_alive, promotion, switch
from tokenguard.prompt.economy.gate import (
    Candidate,
    Cut,
    Outlook,
    alive_permille,
    behaviour_pico,
    best_cut,
    cost_ahead_pico,
    entry_pays,
    forecast,
    rewrite_gain_pico,
    token_value_pico,
)
from tokenguard.prompt.economy.marks import Life, MarkedPrompt, hour_pays, mark, marking_pays
from tokenguard.prompt.economy.prices import CachePrices, cache_prices
from tokenguard.prompt.economy.retire import Block, Retired, retire
from tokenguard.prompt.economy.rules import CacheRules, cache_rules

__all__ = [
    "Advice",
    "Block",
    "CachePrices",
    "CacheRules",
    "Candidate",
    "Cut",
    "Life",
    "MarkedPrompt",
    "Outlook",
    "Retired",
    "alive_permille",
    "behaviour_pico",
    "best_cut",
    "cache_prices",
    "cache_rules",
    "cost_ahead_pico",
    "entry_pays",
    "forecast",
    "hour_pays",
    "keep_alive",
    "mark",
    "marking_pays",
    "promotion",
    "retire",
    "rewrite_gain_pico",
    "switch",
    "token_value_pico",
]
