"""`StructuredPrompt`: what is fixed comes first and never changes by a byte, what varies comes last."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from tokenguard.core.digests import prefix_digest
from tokenguard.errors import SetupError
from tokenguard.prompt.structured.lint import lint_prompt
from tokenguard.prompt.structured.readings import UNREAD, Problem, Reading
from tokenguard.prompt.structured.sizes import Count, answer_tokens, likely_tokens
from tokenguard.prompt.structured.tolerant import Candidate, candidates, loads
from tokenguard.prompt.structured.writing import Style, write_schema

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from tokenguard.core.price import PriceCard
    from tokenguard.prompt.structured.findings import Finding, Traffic
    from tokenguard.prompt.structured.pydantics import OutputType

__all__ = ["ASKED", "Example", "Rendered", "StructuredPrompt"]

M = TypeVar("M")

ASKED: Final = "Answer only with compact JSON:"
"""What stands before the schema; compact, because blanks and line breaks are a third of a pretty answer's tokens."""
_RESERVED: Final = frozenset({"model", "options", "prompt", "retries", "self"})
"""Arguments of `guard.ask` itself."""
_OPTIONS: Final = re.compile(
    r"max_(completion_)?tokens|max_retries|num_retries|temperature|top_[pk]|n|seed|stop|stream(_options)?|timeout|user"
    r"|api_(base|key|version)|base_(url|model)|fallbacks|tools?|tool_choice|response_format|reasoning_effort|thinking"
    r"|logprobs|(presence|frequency)_penalty|service_tier|extra_(body|headers)|metadata|messages"
)
"""Names of LiteLLM's options: taken for a variable only where it was declared."""
_NAME: Final = re.compile(r"[^\s@]{1,80}")
_PROBLEMS_MAX: Final = 20
_TEXT_STOP: Final = "\n\n\n"


@dataclass(frozen=True, slots=True)
class Example:
    """One input with the output that it should have.

    Attributes:
        input: The text, or values by the names of variables.
        output: An instance of the prompt's output type, or what pydantic takes for one.
    """

    input: str | Mapping[str, Any]
    output: Any


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt with its variables filled in, ready to be sent: `guard.completion(model, [*rendered.messages])`."""

    messages: tuple[dict[str, str], ...]
    """The fixed part as the system message, the variables as the user's."""
    prefix: str
    """The fixed part, the same bytes in every call."""
    max_tokens: int
    """What an answer of this schema may need; `StructuredPrompt.max_tokens` counts it for a model."""
    stop: tuple[str, ...]
    """For models that go on talking; reasoning models of OpenAI refuse the option, so `guard.ask` does not send it."""
    prompt_id: str
    """`name@digest`; the digest alone is what the ledger records where the messages are sent by hand."""


class StructuredPrompt(Generic[M]):
    """A prompt whose parts are named and whose answer is checked.

    Everything is validated here, so that a wrong example fails when the program starts and not in production.
    Immutable; safe to share between threads.

    Args:
        name: Under which the ledger reports it; no blanks and no `@`.
        task: What is to be done with the input, in a sentence or more.
        output: A pydantic model, dataclass, `TypedDict` or any type that pydantic checks, or a `TypeAdapter`.
        role: Who the model is, such as `"support triager"`.
        rules: What to keep to, one sentence each.
        examples: Inputs with their outputs; each output must fit `output`.
        variables: Names that `render` takes, in the order in which they are written. Empty: any names, as given.
        style: `"typescript"`: one field a line; `"line"`: the whole schema on one line, the shortest.
        max_tokens: Of an answer; None: derived from the schema.

    Raises:
        SetupError: a part is missing or wrong; the sentence says which and how to mend it.
    """

    def __init__(
        self,
        *,
        name: str,
        task: str,
        output: type[M] | TypeAdapter[M],
        role: str = "",
        rules: Sequence[str] = (),
        examples: Sequence[Example] = (),
        variables: Sequence[str] = (),
        style: Style = "typescript",
        max_tokens: int | None = None,
    ) -> None:
        """Check and write the fixed part; its arguments are listed with the class."""
        _check(name, task, style, max_tokens, rules=rules, variables=variables)
        self.name, self.task, self.role = name, " ".join(task.split()), " ".join(role.split())
        self.rules, self.variables, self.style = tuple(rules), tuple(variables), style
        self.examples = tuple(examples)
        from tokenguard.prompt.structured.pydantics import OutputType, json_text  # noqa: PLC0415  # `import *` is quick

        self.output: OutputType[M] = OutputType(output)
        self._json = json_text
        self._max_tokens = max_tokens
        self.schema_text = write_schema(self.output.schema, style)
        self.prefix = "\n".join(self._sections())
        self.prompt_id = f"{name}@{prefix_digest(self.prefix)}"

    def __repr__(self) -> str:
        return f"StructuredPrompt({self.prompt_id}, output={self.output.name})"

    def render(self, **variables: Any) -> Rendered:
        """The messages of one call.

        Args:
            variables: Texts, or values that are written as compact JSON.

        Raises:
            SetupError: a variable is missing or unknown, or cannot be written.
        """
        user = self._filled(variables, f"prompt {self.name!r}")
        messages = {"role": "system", "content": self.prefix}, {"role": "user", "content": user}
        return Rendered(messages, self.prefix, self.max_tokens(), (_TEXT_STOP,), self.prompt_id)

    def max_tokens(self, count: Count = likely_tokens) -> int:
        """What was given, else the most tokens that an answer of this schema should need.

        Args:
            count: Tokens of a text, of the model that answers; by default one for three characters.
        """
        return self._max_tokens or answer_tokens(self.output.schema, count)

    def read(self, text: str, *, cut: bool = False) -> Reading[M]:
        """The value that an answer says; repaired where only its form is wrong, without asking anybody.

        Args:
            text: What the model said.
            cut: Whether it ended because its tokens did; then nothing is closed for it.
        """
        whole = loads(text)
        refused: Reading[M] | None = None
        for one in [whole] if whole else candidates(text, cut=cut):
            reading = self.output.read(one, text if one is whole else None)
            if reading.valid:
                return reading
            refused = refused or reading
        if refused is None and not cut and text.strip():
            # A bare word or number may be the whole answer where no object is asked for.
            bare = self.output.read(Candidate(text.strip().strip("`'\""), ("missing quotes",)))
            refused = bare if bare.valid else None
        said = "cut" if cut else "unreadable"
        return refused or Reading(None, (), (Problem("", "", said, "it is no JSON that can be read"),))

    def correction(self, problems: Sequence[Problem]) -> str:
        """What a model is told after an answer that does not fit: the failing places alone, not the schema again."""
        if any(one.kind in UNREAD for one in problems):
            return "That is no JSON that can be read. Answer again, only with the JSON."
        lines = [
            f"{one.path or 'the answer'}: {one.message}{f'; got {one.value}' if one.value else ''}"
            for one in problems[:_PROBLEMS_MAX]
        ]
        more = len(problems) - len(lines)
        lines += [f"and {more} more like these"] if more > 0 else []
        return "\n".join(["Correct only this, and answer again with the whole JSON:", *lines])

    def lint(
        self, *, card: PriceCard | None = None, count: Count = likely_tokens, traffic: Traffic | None = None
    ) -> tuple[Finding, ...]:
        """What could be better about it, the dearest first; see `tokenguard prompt lint`.

        Args:
            card: Of the model that answers; None: no dollars.
            count: Tokens of a text, of that model.
            traffic: How it is used; None: assumed.
        """
        return lint_prompt(self, card=card, count=count, traffic=traffic)

    # ---- the fixed part ---------------------------------------------------------------------------------------------

    def _sections(self) -> Iterator[str]:
        """Each section that has something to say."""
        if self.role:
            yield f"Role: {self.role}"
        yield f"Task: {self.task}"
        if self.rules:
            yield "\n".join(["Rules:", *(f"- {' '.join(rule.split())}" for rule in self.rules)])
        yield f"{ASKED}\n{self.schema_text}"
        if self.examples:
            yield "\n".join(["Examples:", *map(self._example, range(len(self.examples)))])

    def _example(self, number: int) -> str:
        example, where = self.examples[number], f"example {number + 1} of prompt {self.name!r}"
        given = example.input
        text = given if isinstance(given, str) else self._filled(given, where)
        return f"Input: {text}\nOutput: {self.output.written(example.output, where=where)}"

    def _filled(self, given: Mapping[str, Any], where: str) -> str:
        """The variables as the user's text: one alone as it is, several by name."""
        names = self.variables or tuple(given)
        for wrong, word in (
            ([name for name in names if name not in given], "misses"),
            ([name for name in given if name not in names], "has no variable"),
        ):
            if wrong:
                known = ", ".join(names) or "none"
                raise SetupError(f"{where} {word} {', '.join(wrong)}: its variables are {known}.")
        options = [name for name in given if not self.variables and _OPTIONS.fullmatch(name)]
        if options:
            raise SetupError(
                f"{where} was given {options[0]}=, which is an option of LiteLLM. Give "
                f"options={{{options[0]!r}: …}}, or declare variables=({options[0]!r},) if it is meant for the prompt."
            )
        texts = {
            name: one if isinstance(one := given[name], str) else self._json(one, f"{name}= of {where}")
            for name in names
        }
        if len(texts) == 1:
            return next(iter(texts.values())) or "(empty)"
        return "\n".join(f"{name}: {text}" for name, text in texts.items()) or "Begin."


def _check(
    name: str, task: str, style: str, max_tokens: int | None, *, rules: Sequence[str], variables: Sequence[str]
) -> None:
    """What can be wrong with a prompt's own words."""
    if not _NAME.fullmatch(name):
        raise SetupError(f"name={name!r}: give up to 80 characters without blanks and without @, such as 'triage'.")
    if not task.strip():
        raise SetupError(f"prompt {name!r} has no task. Say what is to be done with the input, in a sentence.")
    for what, given in (("rules", rules), ("variables", variables)):
        if isinstance(given, str):
            raise SetupError(f"{what}={given!r} of prompt {name!r} is one text: give a tuple, {what}=({given!r},).")
    reserved = [one for one in variables if one in _RESERVED or not one.isidentifier()]
    if reserved:
        raise SetupError(
            f"variables={reserved[0]!r} of prompt {name!r}: give a Python name other than "
            f"{', '.join(sorted(_RESERVED))}, which are arguments of guard.ask itself."
        )
    if style not in ("typescript", "line"):
        raise SetupError(f'style={style!r} of prompt {name!r}: give "typescript" or "line".')
    if max_tokens is not None and (type(max_tokens) is not int or max_tokens < 1):
        raise SetupError(f"max_tokens={max_tokens!r} of prompt {name!r}: give a whole number above zero.")
