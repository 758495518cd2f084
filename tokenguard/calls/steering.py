"""Notes to the model: what is left, or what repeats. Appended to the last message, so that no byte sent before changes.

A message of its own would not do: LiteLLM lifts a late `system` message to the front for Gemini, which rewrites the
cached prefix, and turns it into user text behind a preface of its own for Anthropic and Bedrock (1.106.2, called by
hand); strict chat templates refuse two turns of one role. The last message of a request is new, every provider takes
text at its end, and a cache mark in it stays where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from tokenguard.core.budget import Unit
from tokenguard.core.money import dollars
from tokenguard.core.stops import amount_text
from tokenguard.core.untrusted import field_of, list_of, mapping_of

if TYPE_CHECKING:
    from tokenguard.core.verdict import AccountState
    from tokenguard.loops.finding import Finding

__all__ = ["LAST_WORDS", "MARK", "blocked_note", "budget_note", "repeat_note", "with_note"]

MARK: Final = "[tokenguard] "
"""How every note begins, so that a reader of a transcript knows whose words they are."""
LAST_WORDS: Final = (
    f"{MARK}This is the last answer this run can pay for, and tools are off. Answer now with what you have; say what "
    "is missing."
)
_SHOWN_MAX: Final = 3
_SUBJECT_MAX: Final = 80


def with_note(content: Any, note: str, *, interrupts: bool = False) -> Any:
    """The same prompt with a note at its end; None where it ends with words put into the model's mouth.

    Args:
        content: Messages of a chat, or the `input` of the responses API: a text or a list of items.
        note: What to say.
        interrupts: Whether those words are answered by a message of its own instead.
    """
    if isinstance(content, str):
        return f"{content}\n\n{note}"
    messages = list_of(content)
    last = messages[-1] if messages else None
    if field_of(last, "role") == "assistant" or field_of(last, "type") == "function_call":
        return [*messages, {"role": "user", "content": note}] if interrupts else None
    for field in ("content", "output"):
        longer = _longer(field_of(last, field), note)
        changed = None if longer is None else _changed(last, field, longer)
        if changed is not None:
            return [*messages[:-1], changed]
    return [*messages, {"role": "user", "content": note}]


def repeat_note(finding: Finding) -> str:
    """What repeats, and what to do instead."""
    return f"{MARK}{_what(finding)} Do not repeat it: change the approach, or answer with what you have."


def blocked_note(finding: Finding) -> str:
    """What a guarded tool answers instead of running again."""
    return (
        f"{MARK}Not run: {_what(finding)} Running it again would give the same. Use the result you have, call it with "
        "other arguments, or answer."
    )


def budget_note(label: str, states: Sequence[AccountState], wall: tuple[timedelta, timedelta] | None) -> str:
    """What is left.

    Args:
        label: Of the run.
        states: Balances to name, the tightest first.
        wall: Time left and time given, where that is short too.
    """
    parts = [_left(state) for state in states[:_SHOWN_MAX]]
    if wall is not None:
        left, given = wall
        parts.append(f"{max(0, round(left.total_seconds()))} s of {round(given.total_seconds())} s")
    return f"{MARK}Left for {label}: {', '.join(parts)}. Finish with what you have; spend only on what is needed."


def _changed(message: Any, field: str, value: Any) -> Any:
    """A copy of a message, a library's object too, with another value; None where it has no such copy."""
    fields = mapping_of(message)
    if fields:
        return {**fields, field: value}
    copied = getattr(message, "model_copy", None)
    return copied(update={field: value}) if callable(copied) else None


def _longer(content: Any, note: str) -> Any:
    """Text, or a list of parts, with the note at its end; None: neither."""
    if isinstance(content, str):
        return f"{content}\n\n{note}"
    parts = list_of(content)
    if not parts:
        return None
    kind = "input_text" if str(mapping_of(parts[-1]).get("type")).startswith("input_") else "text"
    return [*parts, {"type": kind, "text": note}]


def _what(finding: Finding) -> str:
    subject = _plain(finding.subject)
    count = f"{finding.repeats} times in the last {finding.window} rounds"
    match finding.rule:
        case "cycle":
            return f"You went through the same calls ({subject}) with the same results {finding.repeats} times."
        case "same_call_same_error":
            return f"{subject} failed with the same kind of error {finding.repeats} times in a row."
        case "monologue":
            return f"You wrote {finding.repeats} messages in a row without a tool or a question."
        case "same_prompt_same_completion":
            return f"The same request got the same answer {count}."
        case _:
            return f"{subject} was called with the same arguments and gave the same result {count}."


def _left(state: AccountState) -> str:
    unit, left = state.account.unit, max(0, state.free)
    if unit is Unit.USD:
        return f"{dollars(left)} of {dollars(state.cap)}"
    return f"{left:,} of {amount_text(unit, state.cap)}"


def _plain(subject: str) -> str:
    """A tool's name as one short line: it comes from a model, and goes back to one."""
    return "".join(char if char.isprintable() else " " for char in subject[:_SUBJECT_MAX])
