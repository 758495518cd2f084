"""One question to a model for a checked value: what is sent, what is read, and when it is asked again.

A generator that yields what to send and is sent the replies, so that the blocking and the asyncio side share it. Every
try is an ordinary guarded call: reserved, settled and booked by itself.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from tokenguard.calls.receipts import receipt_of
from tokenguard.core import events
from tokenguard.core.money import Money
from tokenguard.core.receipt import CallReceipt
from tokenguard.core.untrusted import mapping_of
from tokenguard.errors import AnswerInvalid, BadAmount, SetupError, Unpriceable, UnsupportedOption

if TYPE_CHECKING:
    from tokenguard.calls.parts import Parts
    from tokenguard.prompt.structured.prompts import StructuredPrompt
    from tokenguard.prompt.structured.readings import Reading

__all__ = ["Answer", "Question", "Turn", "asking"]

M = TypeVar("M")

_BOUNDS: Final = ("max_completion_tokens", "max_tokens")
_EFFORTS: Final[Mapping[str, int]] = {
    "none": 0,
    "disable": 0,
    "minimal": 1_024,
    "low": 2_048,
    "medium": 4_096,
    "high": 16_384,
    "xhigh": 32_768,
}
_UNSAID: Final = "medium"
"""The effort of models that think without being told to."""
_SHOWN_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Answer(Generic[M]):
    """A checked value, with what it took to get it."""

    value: M
    prompt_id: str
    attempts: int
    """Answers that came, this one included; 1 where nothing had to be asked again."""
    receipts: tuple[CallReceipt, ...]
    """One for each answer, as far as it was settled; the last one is this value's."""
    repairs: tuple[str, ...] = ()
    """What was put right here without asking, such as `code fence`."""

    @property
    def cost(self) -> Money:
        """Of all answers."""
        return _cost(self.receipts)

    @property
    def usd(self) -> Decimal:
        """`cost` in dollars, exactly."""
        return self.cost.usd


class Turn(NamedTuple):
    """One request."""

    messages: Sequence[Mapping[str, Any]]
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question(Generic[M]):
    """What a caller wants to know, and from whom."""

    prompt: StructuredPrompt[M]
    model: str
    retries: int
    options: Mapping[str, Any]
    variables: Mapping[str, Any]

    def __post_init__(self) -> None:
        if type(self.retries) is not int or self.retries < 0:
            raise BadAmount(f"retries={self.retries!r}: give a whole number, 0 or more.", amount=repr(self.retries))
        whole = (("stream", False, "a part of a value cannot be checked"), ("n", 1, "one value is asked for"))
        for name, only, why in whole:
            if self.options.get(name, only) not in (None, only):
                raise UnsupportedOption(f"{name}= is not for guard.ask: {why}. Use guard.completion.", option=name)
        taken = [name for name in ("messages", "model") if name in self.options]
        if taken:
            raise SetupError(f"options of guard.ask contain {taken[0]}, which the prompt and model= decide.")


class _Said(NamedTuple):
    """What a reply says."""

    text: str
    finish: str | None
    receipt: CallReceipt | None


def asking(question: Question[M], run_id: str | None, parts: Parts) -> Generator[Turn, Any, Answer[M]]:
    """Ask until an answer fits, at most `retries` times more.

    An answer that was cut is asked for once more with twice the tokens; one that does not fit goes back with its
    failing paths. The prompt's fixed part is the same bytes each time, so a provider's cache reads it.

    Args:
        question: What to ask.
        run_id: Of the run that pays, for events.
        parts: The guard's.

    Raises:
        AnswerInvalid: no answer fits.
        SetupError: a variable is missing or unknown.
    """
    prompt = question.prompt
    messages: list[Mapping[str, Any]] = [*prompt.render(**question.variables).messages]
    bound, tokens = _bound(question, parts)
    receipts: tuple[CallReceipt, ...] = ()
    longer, attempt = False, 0
    while True:
        attempt += 1
        try:
            reply = yield Turn(messages, {**question.options, bound: tokens})
        except Exception as error:
            if attempt > 1:
                error.add_note(
                    f"tokenguard: answers of {prompt.prompt_id} that did not fit cost {_cost(receipts)} so far"
                )
            raise
        said = _said(reply, parts)
        receipts += (said.receipt,) if said.receipt else ()
        reading = prompt.read(said.text, cut=said.finish == "length")
        if reading.valid:
            _tell_repairs(question, reading, said, run_id, parts)
            # A valid reading has a value of the type, None included where the type has it.
            value: Any = reading.value
            return Answer(value, prompt.prompt_id, attempt, receipts, reading.repairs)
        why = _why(said, reading)
        if attempt > question.retries or not _helps(why, said, tokens, longer=longer):
            raise _invalid(question, why, said, reading, receipts=receipts, attempts=attempt)
        _tell_reasked(question, why, said, reading, run_id=run_id, parts=parts)
        if why == "length":
            longer, tokens = True, 2 * tokens
        elif why != "empty":
            correction = {"role": "user", "content": prompt.correction(reading.problems)}
            messages = [*messages, {"role": "assistant", "content": said.text}, correction]


# ---- how long an answer may be --------------------------------------------------------------------------------------


def _bound(question: Question[Any], parts: Parts) -> tuple[str, int]:
    """The option that bounds the answer, and how many tokens: what the caller gave, else what the schema needs."""
    options = question.options
    for name in _BOUNDS:
        given = options.get(name)
        if given is not None:
            return name, given
    count = partial(parts.counter.count, question.model)
    return "max_tokens", question.prompt.max_tokens(count) + _thinking(question, parts)


def _thinking(question: Question[Any], parts: Parts) -> int:
    """Tokens that a model may think before it answers; its thinking counts as output."""
    budget = mapping_of(question.options.get("thinking")).get("budget_tokens")
    if type(budget) is int:
        return budget
    effort = question.options.get("reasoning_effort")
    if isinstance(effort, str):
        return _EFFORTS.get(effort, _EFFORTS[_UNSAID])
    base = question.options.get("base_model")
    try:
        card = parts.prices.card(
            question.model, at=parts.clock.now(), base_model=base if isinstance(base, str) else None
        )
    except Unpriceable:
        return 0
    # Claude thinks only when it is told to.
    return _EFFORTS[_UNSAID] if card.has_reasoning and "claude" not in card.model else 0


# ---- what came back ------------------------------------------------------------------------------------------------


def _said(reply: Any, parts: Parts) -> _Said:
    part = parts.backend.read("chat", reply)
    content = mapping_of(part.reply).get("content")
    return _Said(content if isinstance(content, str) else "", part.finish_reason, receipt_of(reply))


def _why(said: _Said, reading: Reading[Any]) -> str:
    """How an answer failed."""
    if said.finish == "content_filter":
        return "refused"
    if said.finish == "length" and any(one.kind == "cut" for one in reading.problems):
        return "length"
    if not said.text.strip():
        return "tool_calls" if said.finish == "tool_calls" else "empty"
    return "unreadable" if any(one.kind == "unreadable" for one in reading.problems) else "invalid"


def _helps(why: str, said: _Said, tokens: int, *, longer: bool) -> bool:
    """Whether asking again may give something else."""
    if why == "length":
        # Cut at twice the length, it goes in circles; and a model's own maximum does not grow.
        lowered = said.receipt is not None and said.receipt.max_tokens is not None and said.receipt.max_tokens < tokens
        return not longer and not lowered
    return why not in ("refused", "tool_calls")


def _invalid(
    question: Question[Any],
    why: str,
    said: _Said,
    reading: Reading[Any],
    *,
    receipts: tuple[CallReceipt, ...],
    attempts: int,
) -> AnswerInvalid:
    shown = "; ".join(one.sentence for one in reading.problems[:_SHOWN_MAX])
    more = len(reading.problems) - _SHOWN_MAX
    cost, prompt = _cost(receipts), question.prompt
    tries = "1 answer" if attempts == 1 else f"{attempts} answers"
    what = {
        "length": "it was cut; give options={'max_tokens': …} or a smaller schema",
        "empty": "the model said nothing",
        "refused": "the provider refused it",
        "tool_calls": "the model called a tool instead",
    }.get(why, shown + (f"; and {more} more" if more > 0 else ""))
    return AnswerInvalid(
        f"{question.model!r} gave {tries} to {prompt.prompt_id} for {cost}, and the last does not fit "
        f"{prompt.output.name}: {what}. What it said is in .text; more retries=, an example or another model may help.",
        prompt_id=prompt.prompt_id,
        model=question.model,
        attempts=attempts,
        why=why,
        paths=tuple(one.path for one in reading.problems if one.path),
        problems=reading.problems,
        text=said.text,
        receipts=receipts,
        cost=cost,
    )


# ---- what is told --------------------------------------------------------------------------------------------------


def _tell_repairs(
    question: Question[Any], reading: Reading[Any], said: _Said, run_id: str | None, parts: Parts
) -> None:
    if reading.repairs:
        parts.emit(
            events.Repaired(
                at=parts.clock.now(),
                run_id=run_id,
                sentence=f"an answer to {question.prompt.prompt_id} was repaired: {', '.join(reading.repairs)}.",
                prompt_id=question.prompt.prompt_id,
                model=question.model,
                repairs=reading.repairs,
                tokens=_tokens(said),
                spared=_cost_of(said),
            )
        )


def _tell_reasked(
    question: Question[Any], why: str, said: _Said, reading: Reading[Any], *, run_id: str | None, parts: Parts
) -> None:
    prompt_id, wasted = question.prompt.prompt_id, _cost_of(said)
    parts.emit(
        events.Reasked(
            at=parts.clock.now(),
            run_id=run_id,
            sentence=f"an answer to {prompt_id} for {wasted} was of no use ({why}); {question.model!r} is asked again.",
            prompt_id=prompt_id,
            model=question.model,
            why=why,
            kinds=tuple(dict.fromkeys(one.kind for one in reading.problems)),
            tokens=_tokens(said),
            wasted=wasted,
        )
    )


def _tokens(said: _Said) -> int:
    usage = said.receipt.usage if said.receipt else None
    return usage.tokens if usage else 0


def _cost_of(said: _Said) -> Money:
    return _cost((said.receipt,) if said.receipt else ())


def _cost(receipts: Sequence[CallReceipt]) -> Money:
    return Money.from_pico(sum(one.cost.pico for one in receipts))
