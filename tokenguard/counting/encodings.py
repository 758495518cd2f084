"""The door to tiktoken: which tokenizer a model uses, and how many tokens a text has in it.

LiteLLM's wheel carries OpenAI's BPE files under the names that tiktoken's cache would give them (SHA-1 of their URL).
They are read from there, so nothing is ever fetched. `tiktoken.load` is not used: it copies what it reads elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

from tokenguard.core.forks import renew_in_children

if TYPE_CHECKING:
    import tiktoken

__all__ = ["CL100K", "O200K", "BpeFile", "encoding_name", "load", "proxy_count", "token_count", "utf8_bytes"]


class _Loading:
    """One thread reads a vocabulary; those that need it meanwhile wait instead of reading it again."""

    def __init__(self) -> None:
        self.renew_lock()
        renew_in_children(self)

    def renew_lock(self) -> None:
        """In a forked child: see `core.forks`."""
        self.lock = Lock()


_LOADING: Final = _Loading()


@dataclass(frozen=True, slots=True)
class BpeFile:
    """One of OpenAI's vocabularies as LiteLLM ships it."""

    name: str
    file: str
    """SHA-1 of the URL it was published at, which is its file name."""
    sha256: str
    """Of the content; a file that differs is not this vocabulary."""
    pattern: str
    """How text is cut before merging, from tiktoken_ext/openai_public.py."""


O200K: Final = BpeFile(
    "o200k_base",
    "fb374d419588a4632f3f557e76b4b70aebbca790",
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"""
    r"""|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"""
    r"""|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+""",
)
CL100K: Final = BpeFile(
    "cl100k_base",
    "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
    "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"""
    r"""|\s++$|\s*[\r\n]|\s+(?!\S)|\s""",
)

_O200K_MODELS: Final = re.compile(
    r"(chatgpt-4o|gpt-4o|gpt-4\.[15]|gpt-5|o1|o3|o4|gpt-oss|codex-mini|computer-use-preview)(?![a-z0-9])"
)
_CL100K_MODELS: Final = re.compile(
    r"(gpt-4|gpt-4-\w.*|gpt-3\.5.*|gpt-35-.*|text-embedding-3-.*|text-embedding-ada-002.*|davinci-002|babbage-002)(?![a-z0-9.])"
)
# A name alone proves nothing: `hosted_vllm/gpt-4o` is whatever its owner called so. These doors lead to OpenAI's own.
_OPENAI_DOORS: Final = frozenset(
    {
        "",
        "azure",
        "azure_ai",
        "github",
        "github_copilot",
        "litellm_proxy",
        "litellm_proxy/azure",
        "litellm_proxy/openai",
        "openai",
        "openai/responses",
        "openrouter/openai",
        "text-completion-openai",
        "vercel_ai_gateway/openai",
    }
)
# Merging one long run of letters takes n log n steps, and a run of a million blanks overflows the pattern's stack
# (tiktoken 0.14, measured). Cutting bounds both; a cut costs a token at most, so it keeps a bound a bound.
_PIECE_CHARACTERS: Final = 32_768


def encoding_name(model: str) -> str | None:
    """`o200k_base` or `cl100k_base` where the model's tokenizer is known, else None.

    Args:
        model: As LiteLLM takes it: `azure/gpt-4o`, `ft:gpt-4o-mini-2024-07-18:org::id`, `openrouter/openai/gpt-5`.
    """
    file = _file_for(model)
    return None if file is None else file.name


@lru_cache(maxsize=4096)
def _file_for(model: str) -> BpeFile | None:
    """The vocabulary of a model."""
    door, _, name = model.lower().rpartition("/")
    if door not in _OPENAI_DOORS:
        return None
    name = name.removeprefix("ft:")
    if _O200K_MODELS.match(name):
        return O200K
    return CL100K if _CL100K_MODELS.match(name) else None


def token_count(model: str, text: str) -> int | None:
    """Tokens of a text in the model's own tokenizer; None where it is not known or its file is not there.

    Texts that look like special tokens (`<|endoftext|>`) are counted as the plain text they are. Exact up to 32,768
    characters; longer texts are cut at blanks where there are any, which adds a token per cut at most.
    """
    file = _file_for(model)
    encoding = load(file) if file is not None else None
    return None if encoding is None else _count(encoding, text)


def proxy_count(text: str) -> int | None:
    """Tokens of a text in o200k, as a yardstick for models whose tokenizer is not public."""
    encoding = load(O200K)
    return None if encoding is None else _count(encoding, text)


def utf8_bytes(text: str) -> int:
    """Length in UTF-8. Byte-level tokenizers never make more tokens than this. Lone surrogates count 3."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _count(encoding: tiktoken.Encoding, text: str) -> int:
    if len(text) <= _PIECE_CHARACTERS:
        return len(encoding.encode_ordinary(text))
    tokens = start = 0
    while start < len(text):
        end = start + _PIECE_CHARACTERS
        # Tokens begin with their blank, so a cut before one is where the tokenizer cuts as well.
        blank = text.rfind(" ", end - 1024, end) if end < len(text) else -1
        end = blank if blank > start else end
        tokens += len(encoding.encode_ordinary(text[start:end]))
        start = end
    return tokens


def load(file: BpeFile) -> tiktoken.Encoding | None:
    """The tokenizer built from its file (0.2-0.4 s, once a process); None where the file is missing or another's."""
    # Fifty threads that start together would else build it fifty times, each slower than the one before.
    with _LOADING.lock:
        return _load(file)


@lru_cache(maxsize=4)
def _load(file: BpeFile) -> tiktoken.Encoding | None:
    raw = _read(file)
    if raw is None:
        return None
    import tiktoken  # noqa: PLC0415 - importing tokenguard must not load it

    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in raw.splitlines() if line)}
    return tiktoken.Encoding(file.name, pat_str=file.pattern, mergeable_ranks=ranks, special_tokens={})


def _read(file: BpeFile) -> bytes | None:
    """The file's content from the installed LiteLLM, found without importing it."""
    spec = importlib.util.find_spec("litellm")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, "litellm_core_utils", "tokenizers", file.file)
        try:
            raw = path.read_bytes()
        except OSError:
            continue
        if hashlib.sha256(raw).hexdigest() == file.sha256:
            return raw
    return None
