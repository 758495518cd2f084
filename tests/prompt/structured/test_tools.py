"""Tools as text: shorter than their JSON, and nothing of them lost."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tokenguard as tg

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = {
    "type": "object",
    "properties": {"path": {"type": "string", "description": "Where it\nis"}, "mode": {"enum": ["text", "raw bytes"]}},
    "required": ["path"],
}
TEXT = 'read: Read a file.\n{\npath:string //Where it is\nmode?:"text"|"raw bytes"\n}'


def bench() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        spec = importlib.util.spec_from_file_location("bench_schemas", ROOT / "benchmarks" / "schemas.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    return module


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "function": {"name": "read", "description": "Read a file.", "parameters": SCHEMA}},
        {"name": "read", "description": "Read  a\nfile.", "parameters": SCHEMA},
        {"name": "read", "description": "Read a file.", "inputSchema": SCHEMA, "annotations": {"title": "x"}},
        {"name": "read", "description": "Read a file.", "input_schema": SCHEMA},
    ],
    ids=["OpenAI", "bare", "MCP", "Anthropic"],
)
def test_a_tool_of_any_dialect_is_the_same_text(tool: dict[str, Any]) -> None:
    assert tg.tools_as_text([tool]) == TEXT


def test_tools_follow_each_other_and_one_line_is_shorter() -> None:
    tools = [{"name": "read", "parameters": SCHEMA}, {"name": "stop", "description": "End it."}, {"name": "ping"}]

    assert tg.tools_as_text(tools, style="line") == (
        "read{path(Where it is),mode?:text|raw bytes}\nstop: End it.\nping{}"
    )


def test_an_argument_that_contains_itself_is_defined_behind_its_tool() -> None:
    schema = {
        "properties": {"tree": {"$ref": "#/$defs/Tree"}},
        "$defs": {"Tree": {"type": "object", "properties": {"below": {"$ref": "#/$defs/Tree"}}}},
    }

    assert tg.tools_as_text([{"name": "plant", "parameters": schema}], style="line") == (
        "plant{tree?:Tree}\nTree={below?:Tree}"
    )


@pytest.mark.parametrize("tool", [{}, {"name": ""}, {"type": "web_search"}])
def test_a_tool_without_a_name_is_refused(tool: dict[str, Any]) -> None:
    with pytest.raises(tg.SetupError, match="a tool without a name"):
        tg.tools_as_text([tool])


@pytest.mark.parametrize("style", ["typescript", "line"])
def test_recorded_tools_keep_every_name_and_take_two_thirds_at_most(style: Any) -> None:
    module = bench()
    if not module.folder().is_dir():
        pytest.skip("The recorded tools are not here: shared/data/schemas beside the checkout.")

    for source, tools in module.tool_sets(module.folder()):
        text = tg.tools_as_text(tools, style=style)
        missing = [name for name in module.names(tools) if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)]
        whole = module.tokens(module.json.dumps(tools))

        assert missing == [], source
        assert module.tokens(text) < (0.85 if len(tools) < 5 else 0.70) * whole, source


def test_the_six_models_meet_their_bars() -> None:
    rows = bench().schema_rows()

    assert sum(rows["ours, TypeScript-like"].values()) <= 505
    assert sum(rows["ours, one line"].values()) <= 340
    assert 1_300 < sum(rows["pydantic, compact"].values()) < 1_450
