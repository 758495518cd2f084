"""Which tokenizer a model uses, and where its file comes from."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tokenguard.counting.encodings import CL100K, O200K, BpeFile, encoding_name, load, token_count


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o", "o200k_base"),
        ("gpt-4o-mini-2024-07-18", "o200k_base"),
        ("openai/gpt-5-mini", "o200k_base"),
        ("gpt-5.2", "o200k_base"),
        ("azure/gpt-4.1", "o200k_base"),
        ("openai/responses/o3", "o200k_base"),
        ("o1-preview", "o200k_base"),
        ("o4-mini", "o200k_base"),
        ("chatgpt-4o-latest", "o200k_base"),
        ("openrouter/openai/gpt-5", "o200k_base"),
        ("litellm_proxy/gpt-4o", "o200k_base"),
        ("ft:gpt-4o-mini-2024-07-18:acme::id", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-4-0613", "cl100k_base"),
        ("gpt-3.5-turbo-0125", "cl100k_base"),
        ("azure/gpt-35-turbo-16k", "cl100k_base"),
        ("text-embedding-3-large", "cl100k_base"),
        ("text-embedding-ada-002", "cl100k_base"),
        ("ft:gpt-3.5-turbo-0125:acme::id", "cl100k_base"),
    ],
)
def test_an_openai_model_has_its_tokenizer(model: str, name: str) -> None:
    assert encoding_name(model) == name


@pytest.mark.parametrize(
    "model",
    [
        "anthropic/claude-sonnet-4-5",
        "gemini/gemini-3-pro",
        "groq/llama-3.3-70b",
        "hosted_vllm/gpt-4o",
        "ollama/gpt-oss:20b",
        "azure/my-deployment",
        "gpt-4omni",
        "gpt-6",
        "o3000",
        "o11",
        "",
    ],
)
def test_a_name_that_proves_nothing_has_none(model: str) -> None:
    assert encoding_name(model) is None


@pytest.mark.parametrize("file", [O200K, CL100K])
def test_the_file_is_the_one_that_tiktoken_would_fetch(file: BpeFile) -> None:
    url = f"https://openaipublic.blob.core.windows.net/encodings/{file.name}.tiktoken"

    assert hashlib.sha1(url.encode()).hexdigest() == file.file
    assert load(file) is not None


def test_known_counts_are_exact() -> None:
    assert token_count("gpt-4o", "antidisestablishmentarianism") == 6
    assert token_count("gpt-4", "antidisestablishmentarianism") == 6
    assert token_count("gpt-4o", "你好世界") == 2
    assert token_count("gpt-4", "你好世界") == 5


def test_a_long_text_counts_as_the_tokenizer_counts_it() -> None:
    encoding = load(O200K)
    text = "The agent reads a file, then it calls search with 42 results.\n" * 3_000

    assert encoding is not None
    assert token_count("gpt-4o", text) == len(encoding.encode_ordinary(text))


@pytest.mark.parametrize(
    "file",
    [
        BpeFile("gone", "no-such-file", "", ""),
        BpeFile("changed", O200K.file, "0" * 64, O200K.pattern),
    ],
)
def test_a_missing_or_changed_file_is_no_tokenizer(file: BpeFile) -> None:
    assert load(file) is None


def test_without_litellms_files_everything_is_bounded_by_bytes(tmp_path: Path) -> None:
    (tmp_path / "litellm").mkdir()
    (tmp_path / "litellm" / "__init__.py").write_text("")
    code = (
        "from tokenguard.counting import Counter\n"
        "counter = Counter()\n"
        "text = 'x' * 30\n"
        "print(counter.warm('gpt-4o'), counter.count('gpt-4o', text), counter.bound_text('gpt-4o', text).tokens)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == ["bytes", "10", "110"]


def test_counting_loads_neither_litellm_nor_the_network() -> None:
    code = (
        "import sys\n"
        "from tokenguard.counting import Counter\n"
        "assert 'tiktoken' not in sys.modules\n"
        "Counter().count('gpt-4o', 'hello')\n"
        "assert 'tiktoken' in sys.modules\n"
        "print([name for name in ('litellm', 'requests', 'httpx', 'numpy') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
