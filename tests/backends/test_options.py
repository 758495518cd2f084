"""Options that LiteLLM must not see, or may not be given."""

from __future__ import annotations

from tokenguard.backends.options import OWNED, REFUSED


def test_an_option_is_either_the_guards_own_or_refused() -> None:
    assert not OWNED.keys() & REFUSED.keys()


def test_every_refusal_says_why_and_what_to_do() -> None:
    assert [name for name, why in REFUSED.items() if not why.endswith(".")] == []
