"""docs/guarantees.md names a test for each promise; and the promise about text that no other test holds."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import tokenguard as tg
from tokenguard.backends.scripted import ScriptedBackend, ScriptedCall, ScriptedReply

ROOT = Path(__file__).resolve().parent.parent
PROMPT, ANSWER, ARGUMENT, RESULT, KEY = (f"canary-{name}" for name in ("prompt", "answer", "argument", "result", "key"))


def named_tests() -> Iterator[tuple[str, str]]:
    """(file, test) for every test that the page names; `…` is the file named before."""
    path = ""
    for found in re.finditer(r"`(tests/[^:`]+|…)::(test_\w+)`", (ROOT / "docs" / "guarantees.md").read_text()):
        path = path if found[1] == "…" else found[1]
        yield path, found[2]


@pytest.mark.parametrize(("path", "name"), sorted(set(named_tests())))
def test_a_promise_names_a_test_that_exists(path: str, name: str) -> None:
    assert f"def {name}(" in (ROOT / path).read_text()


def test_a_page_of_promises_names_many_tests() -> None:
    assert len(set(named_tests())) >= 30


def test_neither_prompts_nor_answers_nor_keys_reach_the_ledger(tmp_path: Path) -> None:
    refused = RuntimeError(f"the provider quotes {PROMPT} and {KEY}")
    replies = [ScriptedReply(ANSWER, tool_calls=[ScriptedCall("read", f'{{"path": "{ARGUMENT}"}}')])] * 7
    backend = ScriptedBackend([*replies, ScriptedReply(error=refused), ScriptedReply(ANSWER)])
    messages = [{"role": "system", "content": PROMPT}, {"role": "user", "content": PROMPT}]

    with tg.Guard(database=tmp_path / "spend.db", backend=backend) as guard:
        read = guard.tool(lambda path: f"{path} {RESULT}")
        for _ in range(8):
            with suppress(tg.SpendStopped, RuntimeError), guard.run("private"):
                for _ in range(7):
                    guard.completion("openai/gpt-4o", messages, api_key=KEY)
                    read(ARGUMENT)

    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"private" in written
    assert [one for one in (PROMPT, ANSWER, ARGUMENT, RESULT, KEY) if one.encode() in written] == []
