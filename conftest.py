"""README, docs and docstrings are tests: Sybil runs every python block and every `>>>` example in them."""

from __future__ import annotations

import contextlib
import os
import tempfile
import tomllib
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser
from sybil.parsers.rest import DocTestParser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sybil import Example

# Set before any test imports LiteLLM, which would fetch its price map while it is imported.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
# What tests leave unbooked on purpose belongs to nobody's own ledger.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="tokenguard-state-")

settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("nightly", max_examples=5_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="module")
def in_a_folder_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run a document where the ledger that it opens by default is thrown away."""
    folder = tmp_path_factory.mktemp("document")
    with contextlib.chdir(folder):
        yield folder


def _read_toml(example: Example) -> None:
    """A toml block must be one that Python can read."""
    tomllib.loads(example.parsed)


_markdown = Sybil(
    parsers=[PythonCodeBlockParser(), CodeBlockParser(language="toml", evaluator=_read_toml), SkipParser()],
    patterns=["README.md", "docs/*.md", "docs/**/*.md"],
    fixtures=["in_a_folder_of_its_own"],
)
_docstrings = Sybil(parsers=[DocTestParser()], patterns=["tokenguard/*.py", "tokenguard/**/*.py"])

pytest_collect_file = (_markdown + _docstrings).pytest()
