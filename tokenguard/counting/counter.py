"""The token counter: a bound before a call, a fair count after a cut stream, and what providers reported remembered.

The bound of a prompt is the best of (docs/glossary.md, *input bound*):

- `reported+new`: it extends a prompt whose size the provider reported, for the same model and tools: that plus the
  bound of the messages since
- `tokenizer`: the model's own tokenizer x 1.05, for OpenAI's models
- `bytes`: UTF-8 bytes, which byte-level tokenizers never exceed, for all others

with 16 tokens per message for roles and separators, 64 per request, and tool schemas by the bytes of their JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tokenguard.core.ports import InputBound
from tokenguard.counting.conversations import Conversations, Node
from tokenguard.counting.encodings import proxy_count, token_count, utf8_bytes
from tokenguard.counting.words import is_heavy, is_list, json_text, key_of, same, snapshot, words_of
from tokenguard.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Counter"]

_PER_MESSAGE: Final = 16
_PER_REQUEST: Final = 64
# Providers put a system prompt of their own before tools; Anthropic's page on tool use lists up to 530 tokens of it.
_PER_TOOLSET: Final = 600
# OpenAI renders schemas shorter than their JSON, so bytes (3 to 4 per token) hold the rest of what it adds.
_MARGIN_PERCENT: Final = 105
# What an unknown tokenizer makes of a text, over o200k, measured on recorded agent calls: DeepSeek 1.0, Claude 4 1.38.
_UNKNOWN_PERCENT: Final = 140
_BYTES_PER_TOKEN_LOW: Final = 3
_WIDEST_PERCENT: Final = 1_000
_MODELS_MAX: Final = 4_096
# Beyond this no known window is reached by fewer tokens than by counting, so bytes do.
_COUNTED_CHARACTERS_MAX: Final = 4_000_000


class Counter:
    """Implements `core.ports.TokenCounter`. Safe to use from any thread.

    Memory is bounded: two generations of conversations are kept, what is in use stays.

    Args:
        nodes_max: Messages remembered per generation, >= 1.
        characters_max: Characters of text remembered per generation, >= 1.
    """

    def __init__(self, *, nodes_max: int = 50_000, characters_max: int = 16_000_000) -> None:
        self._known = Conversations(nodes_max=nodes_max, characters_max=characters_max)
        self._percent: dict[tuple[str, bool], int] = {}
        self._methods: dict[str, str] = {}

    def bound(self, model: str, messages: Sequence[Mapping[str, Any]], tools: Any = None) -> InputBound | None:
        """The most tokens a chat prompt can have; None where a part cannot be seen.

        Args:
            model: As LiteLLM takes it.
            messages: The conversation as it will be sent; mappings or pydantic models.
            tools: Whatever else of the request becomes prompt: tool schemas, a response schema; JSON.

        Raises:
            SetupError: `messages` is not a list of messages, or something in it cannot be written as JSON.
        """
        node, reported = self._walk(model, _listed(messages), tools)
        return self._judge(model, node, reported)

    def bound_input(
        self, model: str, prompt: Any, *, instructions: str | None = None, tools: Any = None
    ) -> InputBound | None:
        """The most tokens of a responses or embeddings request.

        Args:
            model: As LiteLLM takes it.
            prompt: Its `input`: a string, a list of strings, of items, of token ids, or of lists of token ids.
            instructions: Of the responses API.
            tools: As in `bound`.

        Raises:
            SetupError: as in `bound`.
        """
        return self.bound(model, as_messages(prompt, instructions), tools)

    def is_heavy(self, content: Any) -> bool:
        """Whether a prompt holds more than 50,000 characters, so that counting it belongs off the event loop.

        Looks at lengths only. `content` is a list of messages or items, or one string.
        """
        return is_heavy(content)

    def bound_text(self, model: str, text: str) -> InputBound:
        """The most tokens one text can be, sent alone."""
        tokens, method = self._text_bound(model, text)
        return InputBound(self._widened(model, tokens + _PER_MESSAGE + _PER_REQUEST, extends=False), method)

    def count(self, model: str, text: str) -> int:
        """Tokens of a delivered text: exact where the tokenizer is known, else a fair estimate that leans high.

        For a stream that was cut, join its chunks and count once: chunks counted one by one make more tokens. Unknown
        tokenizers are estimated at 1.4 x o200k, the upper end of what recorded calls show.
        """
        exact = token_count(model, text)
        if exact is not None:
            return exact
        proxy = proxy_count(text)
        if proxy is not None:
            return -(-proxy * _UNKNOWN_PERCENT // 100)
        return -(-utf8_bytes(text) // _BYTES_PER_TOKEN_LOW)

    def learn(
        self,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        tools: Any,
        reply: Mapping[str, Any] | None,
        *,
        tokens: int,
    ) -> None:
        """Remember what the provider counted for this prompt, so that the next one costs only its new messages.

        A report above our bound widens this model's margin for what is not yet reported.

        Args:
            model: As in `bound`.
            messages: The conversation exactly as it was sent; a list appended to since would teach a wrong count.
            tools: As in `bound`.
            reply: The assistant's message, counted now because it will come back.
            tokens: All tokens of the prompt, cached ones included; > 0, anything else is ignored.
        """
        if tokens <= 0:
            return
        node, reported = self._walk(model, _listed(messages), tools)
        self._widen(model, node, reported, tokens)
        # The dearest report stands: options that are no message (a forced tool) may add to one of two equal prompts.
        node.reported = tokens if node.reported is None else max(node.reported, tokens)
        if reply is not None:
            self._step(model, node, reply, len(messages))

    def learn_input(
        self, model: str, prompt: Any, *, instructions: str | None = None, tools: Any = None, tokens: int
    ) -> None:
        """`learn` for what `bound_input` bounds."""
        self.learn(model, as_messages(prompt, instructions), tools, None, tokens=tokens)

    def warm(self, model: str) -> str:
        """Load the model's tokenizer now (0.2-0.4 s once a process); returns the method it will be bound by."""
        method = self._text_bound(model, " ")[1]
        proxy_count(" ")
        return method

    def _walk(self, model: str, messages: Sequence[Any], tools: Any) -> tuple[Node, Node | None]:
        """The node of a prompt, and the deepest one on its path that a provider reported."""
        node = self._root(model, tools)
        reported: Node | None = None
        for position, message in enumerate(messages):
            following = node.following
            if following is None or not same(following.message, message):
                following = node.following = self._step(model, node, message, position)
            node = following
            if node.reported is not None:
                reported = node
        return node, reported

    def _root(self, model: str, tools: Any) -> Node:
        """The empty conversation of a model with these tools."""
        schemas = json_text(tools) if tools else ""
        link = (0, model, schemas)
        tokens = _PER_REQUEST + (utf8_bytes(schemas) + _PER_TOOLSET if schemas else 0)
        return self._known.find(link) or self._known.add(link, tokens=tokens, unseen=0, characters=len(schemas))

    def _step(self, model: str, parent: Node, message: Any, position: int) -> Node:
        """The node one message further; counted where it is met for the first time."""
        link = (parent.id, *key_of(message, position))
        known = self._known.find(link)
        if known is not None:
            return known
        text, unseen = words_of(message, position)
        tokens = self._text_bound(model, text)[0] + _PER_MESSAGE
        return self._known.add(
            link,
            tokens=parent.tokens + (0 if unseen else tokens),
            unseen=parent.unseen + unseen,
            characters=len(text),
            message=snapshot(message),
        )

    def _text_bound(self, model: str, text: str) -> tuple[int, str]:
        """The most tokens of a text, and by which method."""
        if len(text) <= _COUNTED_CHARACTERS_MAX:
            exact = token_count(model, text)
            if exact is not None:
                return -(-exact * _MARGIN_PERCENT // 100), "tokenizer"
        return utf8_bytes(text), "bytes"

    def _judge(self, model: str, node: Node, reported: Node | None) -> InputBound | None:
        """The bound of a walked prompt."""
        if reported is not None and node.unseen == reported.unseen:
            since = self._widened(model, node.tokens - reported.tokens, extends=True)
            return InputBound((reported.reported or 0) + since, "reported+new")
        if node.unseen:
            return None
        method = self._methods.get(model)
        if method is None:
            method = self._text_bound(model, " ")[1]
            if len(self._methods) >= _MODELS_MAX:
                self._methods.clear()
            self._methods[model] = method
        return InputBound(self._widened(model, node.tokens, extends=False), method)

    def _widened(self, model: str, tokens: int, *, extends: bool) -> int:
        percent = self._percent.get((model, extends))
        return tokens if percent is None else -(-tokens * percent // 100)

    def _widen(self, model: str, node: Node, reported: Node | None, tokens: int) -> None:
        """Learn from a bound that was too low, so that the next one is not.

        Whole prompts and extensions are learnt apart: what a provider adds once to a prompt is not in later messages.
        """
        bound = self._judge(model, node, reported)
        if bound is None or tokens <= bound.tokens:
            return
        base, ours = (0, node.tokens) if reported is None else (reported.reported or 0, node.tokens - reported.tokens)
        if ours:
            kind = model, reported is not None
            percent = (tokens - base) * _MARGIN_PERCENT // ours + 1
            self._percent[kind] = min(max(percent, self._percent.get(kind, 100)), _WIDEST_PERCENT)


def _listed(messages: Any) -> Sequence[Any]:
    """The messages, if they are a list of them."""
    if not is_list(messages):
        raise SetupError(
            f"messages is a {type(messages).__name__}, not a list. "
            'Give a list of mappings such as [{"role": "user", "content": "…"}].'
        )
    return messages


def as_messages(prompt: Any, instructions: str | None = None) -> list[Any]:
    """The `input` of a responses or embeddings request as a list of what can be bounded.

    A list of token ids becomes its JSON, which is longer than one token per id.
    """
    head: list[Any] = [{"role": "system", "content": instructions}] if instructions else []
    if isinstance(prompt, str):
        return [*head, {"role": "user", "content": prompt}]
    items = _listed(prompt)
    if any(type(item) is int for item in items):
        return [*head, json_text(items, 0)]
    return [*head, *(json_text(item, at) if is_list(item) else item for at, item in enumerate(items))]
