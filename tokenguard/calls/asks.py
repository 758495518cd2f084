"""The part of a guard that asks for checked values: `guard.ask` and its twin."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tokenguard.calls.asking import Answer, Question, Turn, asking

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenguard.calls.home import Home
    from tokenguard.calls.parts import LateParts
    from tokenguard.prompt.structured.prompts import StructuredPrompt

__all__ = ["Asks"]

M = TypeVar("M")
Step = Callable[[], Turn]


class Asks:
    """The part of a guard that asks for checked values."""

    _late: LateParts
    _home: Home

    if TYPE_CHECKING:
        # Those of `Calls`, which every guard is too.
        def _call(
            self, operation: str, model: str, content: Any, options: Mapping[str, Any], *, prompt_id: str | None = None
        ) -> Any: ...
        async def _acall(
            self, operation: str, model: str, content: Any, options: Mapping[str, Any], *, prompt_id: str | None = None
        ) -> Any: ...

    def ask(
        self,
        prompt: StructuredPrompt[M],
        /,
        *,
        model: str,
        retries: int = 1,
        options: Mapping[str, Any] | None = None,
        **variables: Any,
    ) -> Answer[M]:
        """Ask a model and get a checked value: `guard.ask(prompt, ticket=text, model="openai/gpt-5-mini").value`.

        What is wrong in form only is repaired here, for nothing. What does not fit is asked for again, with the
        failing paths alone; an answer that was cut, with twice the tokens. Every try is a guarded call with a hold and
        a receipt of its own, under the prompt's id, and is never clamped below what the schema needs.

        Args:
            prompt: What to ask.
            model: As for `completion`.
            retries: How often at most it is asked again, >= 0.
            options: LiteLLM's options, such as `{"temperature": 0}`; without `max_tokens` the schema decides it.
            variables: The prompt's own.

        Raises:
            AnswerInvalid: no answer fits; all are paid for.
            SetupError: a variable is missing or unknown, or an option cannot be meant.
            Exception: as `completion`; where it is raised on asking again, with a note on what was spent before.
        """
        question = Question(prompt, model, retries, dict(options or {}), variables)
        talk = asking(question, self._run_id(), self._late.get())
        step: Step = partial(next, talk)
        while True:
            try:
                turn = step()
            except StopIteration as end:
                return cast("Answer[M]", end.value)
            try:
                reply = self._call("chat", model, turn.messages, turn.options, prompt_id=prompt.prompt_id)
            except Exception as error:  # noqa: BLE001  # thrown into the talk, which raises it again
                step = partial(talk.throw, error)
            else:
                step = partial(talk.send, reply)

    async def aask(
        self,
        prompt: StructuredPrompt[M],
        /,
        *,
        model: str,
        retries: int = 1,
        options: Mapping[str, Any] | None = None,
        **variables: Any,
    ) -> Answer[M]:
        """`ask` under asyncio."""
        question = Question(prompt, model, retries, dict(options or {}), variables)
        parts = await self._late.aget()
        talk = asking(question, self._run_id(), parts)
        step: Step = partial(next, talk)
        while True:
            try:
                turn = step()
            except StopIteration as end:
                return cast("Answer[M]", end.value)
            try:
                reply = await self._acall("chat", model, turn.messages, turn.options, prompt_id=prompt.prompt_id)
            except Exception as error:  # noqa: BLE001  # thrown into the talk, which raises it again
                step = partial(talk.throw, error)
            else:
                step = partial(talk.send, reply)

    def _run_id(self) -> str | None:
        node = self._home.frame().node
        return node.run.id if node else None
