"""Tool definitions as text, for models whose chat template is ours: self-hosted ones, and agents that parse text.

With `tools=` a provider writes the definitions into the prompt itself, and nothing here applies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tokenguard.core.untrusted import mapping_of
from tokenguard.errors import SetupError
from tokenguard.prompt.structured.shapes import Record, Ref, Schema, read_schema
from tokenguard.prompt.structured.writing import Style, Writer

__all__ = ["tools_as_text"]

_SCHEMAS: Final = ("parameters", "inputSchema", "input_schema", "args_schema")
"""Where OpenAI, MCP, Anthropic and others keep the arguments."""


def tools_as_text(tools: Sequence[Mapping[str, Any]], *, style: Style = "typescript") -> str:
    """Tools as a model reads them: name, what it does, and its arguments in the notation of schemas.

    Every name of a tool and of an argument, every value of an enum, every limit and every description is in it.

    Args:
        tools: In the shape of OpenAI (with or without `function` around it), of MCP servers or of Anthropic.
        style: As of `StructuredPrompt`.

    Raises:
        SetupError: a tool has no name.
    """
    return "\n".join(_tool(one, style) for one in tools)


def _tool(tool: Mapping[str, Any], style: Style) -> str:
    inside = mapping_of(tool.get("function")) or tool
    name = inside.get("name")
    if not isinstance(name, str) or not name:
        raise SetupError(f"a tool without a name cannot be called: its keys are {', '.join(map(str, inside))}.")
    description = inside.get("description")
    about = " ".join(description.split()) if isinstance(description, str) else ""
    schema = read_schema(next(filter(None, (mapping_of(inside.get(key)) for key in _SCHEMAS)), mapping_of(None)))
    # A schema without any names: the tool takes nothing.
    root = schema.root if isinstance(schema.root, Record | Ref) else Record(())
    text = Writer(Schema(root, schema.named, {}), style).document()
    return f"{name}{text}" if not about else f"{name}: {about}\n{text}" if text != "{}" else f"{name}: {about}"
