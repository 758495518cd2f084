"""The token counter: a bound before a call, a fair count after a cut stream, and what providers reported remembered.

The bound of a prompt is the best of (docs/glossary.md, *input bound*):

- `reported+new`: it extends a prompt whose size the provider reported, for the same model and tools: that plus the
  bound of the messages since
- `tokenizer`: the model's own tokenizer x 1.05, for OpenAI's models
- `bytes`: UTF-8 bytes, which byte-level tokenizers never exceed, for all others

with 16 tokens per message for roles and separators, 64 per request, and tool schemas by the bytes of their JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tokenguard.core.marks import cache_life, dearest_life, part_kinds
from tokenguard.core.ports import InputBound, Prompt
from tokenguard.counting.conversations import Conversations, Node
from tokenguard.counting.encodings import proxy_count, token_count, utf8_bytes
from tokenguard.counting.words import chained, is_heavy, is_list, json_text, key_of, plain_of, same, snapshot, words_of
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
        """The most tokens a chat prompt can have; None where a part cannot be seen. See `read`."""
        return self.read(model, messages, self.written(tools) if tools else "").bound

    def bound_input(
        self, model: str, prompt: Any, *, instructions: str | None = None, tools: Any = None
    ) -> InputBound | None:
        """The most tokens of a responses or embeddings request. See `read_input`."""
        schemas = self.written(tools) if tools else ""
        return self.read_input(model, prompt, instructions=instructions, schemas=schemas).bound

    def written(self, schemas: Any) -> str:
        """Tools and answer schemas as the text that is counted: their JSON.

        Raises:
            SetupError: they cannot be written as JSON.
        """
        return json_text(schemas)

    def read(self, model: str, messages: Sequence[Mapping[str, Any]], schemas: str = "") -> Prompt:
        """What a chat prompt holds.

        Args:
            model: As LiteLLM takes it.
            messages: The conversation as it will be sent; mappings or pydantic models.
            schemas: Whatever else of the request becomes prompt (tools, an answer's schema), as `written` gave it.

        Raises:
            SetupError: `messages` is not a list of messages, or something in it cannot be written as JSON.
        """
        node, reported = self._walk(model, _listed(messages), schemas)
        walked = _Walked(model, node, reported, len(messages))
        return Prompt(self._judge(model, node, reported), node.kinds, node.cache_life, walked)

    def read_input(self, model: str, prompt: Any, *, instructions: str | None = None, schemas: str = "") -> Prompt:
        """What a responses or embeddings request holds.

        Args:
            model: As LiteLLM takes it.
            prompt: Its `input`: a string, a list of strings, of items, of token ids, or of lists of token ids.
            instructions: Of the responses API.
            schemas: As in `read`.

        Raises:
            SetupError: as in `read`.
        """
        return self.read(model, as_messages(prompt, instructions), schemas)

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

    def learn(self, prompt: Prompt, reply: Mapping[str, Any] | None, *, tokens: int) -> str:
        """Remember what the provider counted for this prompt, so that the next one costs only its new messages.

        A report above our bound widens this model's margin for what is not yet reported.

        Args:
            prompt: As `read` gave it; messages that were changed since do not change it.
            reply: The assistant's message, counted now because it will come back.
            tokens: All tokens of the prompt, cached ones included; 0: nobody knows.

        Returns:
            A digest that is the same for an equal prompt with an equal reply, in every process.
        """
        walked: _Walked = prompt.state
        model, node = walked.model, walked.node
        if tokens > 0:
            self._widen(model, node, walked.reported, tokens)
            # The dearest report stands: options that are no message (a forced tool) may add to one of two equal
            # prompts.
            node.reported = tokens if node.reported is None else max(node.reported, tokens)
        answered = node if reply is None else self._step(model, node, reply, walked.messages)
        return answered.digest.hex()

    def warm(self, model: str) -> str:
        """Load the model's tokenizer now (0.2-0.4 s once a process); returns the method it will be bound by."""
        method = self._text_bound(model, " ")[1]
        proxy_count(" ")
        return method

    def _walk(self, model: str, messages: Sequence[Any], schemas: str) -> tuple[Node, Node | None]:
        """The node of a prompt, and the deepest one on its path that a provider reported."""
        node = self._root(model, schemas)
        reported: Node | None = None
        for position, message in enumerate(messages):
            following = node.following
            if following is None or not same(following.message, message):
                following = node.following = self._step(model, node, message, position)
            node = following
            if node.reported is not None:
                reported = node
        return node, reported

    def _root(self, model: str, schemas: str) -> Node:
        """The empty conversation of a model with these tools."""
        link = (0, model, schemas)
        known = self._known.find(link)
        if known is not None:
            return known
        tokens = _PER_REQUEST + (utf8_bytes(schemas) + _PER_TOOLSET if schemas else 0)
        digest = chained(b"", (model, schemas))
        return self._known.add(link, Node(self._known.new_id(), tokens, 0, len(schemas), digest))

    def _step(self, model: str, parent: Node, message: Any, position: int) -> Node:
        """The node one message further; counted where it is met for the first time."""
        key = key_of(message, position)
        link = (parent.id, *key)
        known = self._known.find(link)
        if known is not None:
            return known
        plain = plain_of(message, position)
        text, unseen = words_of(plain, position)
        tokens = self._text_bound(model, text)[0] + _PER_MESSAGE
        life = cache_life(plain)
        node = Node(
            self._known.new_id(),
            tokens=parent.tokens + (0 if unseen else tokens),
            unseen=parent.unseen + unseen,
            characters=len(text),
            digest=chained(parent.digest, key),
            message=snapshot(message),
            kinds=parent.kinds | part_kinds(plain),
            cache_life=parent.cache_life if life is None else dearest_life((parent.cache_life, life)),
        )
        return self._known.add(link, node)

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


class _Walked(NamedTuple):
    """What `learn` needs of a prompt that was read."""

    model: str
    node: Node
    reported: Node | None
    """The deepest node on its path that a provider had reported."""
    messages: int


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
