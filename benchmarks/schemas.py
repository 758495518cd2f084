"""How many tokens it takes to tell a model the form of its answer, and what tools it has.

Six models of `schemas_models.py`, written by us with the words that stand before them, beside pydantic's JSON schema
and beside BAML's runtime (pinned, in an environment of its own: the first argument is its Python; without it BAML is
left out). Tool definitions of tau-bench, of MCP servers and of BFCL as text, beside `json.dumps` of the same: name,
description and arguments. Every name of a tool, of an argument and every value of an enum must be in the text.

Counted with o200k. Run: `make bench-schemas`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from figures import Figures
from schemas_models import MODELS

from tokenguard.counting import Counter
from tokenguard.prompt.structured.prompts import ASKED
from tokenguard.prompt.structured.pydantics import OutputType
from tokenguard.prompt.structured.tools import tools_as_text
from tokenguard.prompt.structured.writing import write_schema

MODEL = "openai/gpt-4o"
TYPESCRIPT_MAX, LINE_MAX = 505, 340
COUNTER = Counter()


def tokens(text: str) -> int:
    return COUNTER.count(MODEL, text)


def folder() -> Path:
    """Where the recorded schemas are: beside the checkout, or beside the one that a worktree belongs to."""
    places = [parent / "shared" / "data" / "schemas" for parent in Path(__file__).resolve().parents]
    return next((place for place in places if place.is_dir()), places[0])


def schema_rows() -> dict[str, dict[str, int]]:
    """Tokens by writer and model."""
    rows: dict[str, dict[str, int]] = {}
    for name, model in MODELS.items():
        schema, ours = model.model_json_schema(), OutputType(model).schema
        texts = {
            "pydantic, indent 2": json.dumps(schema, indent=2),
            "pydantic, json.dumps": json.dumps(schema),
            "pydantic, compact": json.dumps(schema, separators=(",", ":")),
            "ours, TypeScript-like": f"{ASKED}\n{write_schema(ours, 'typescript')}",
            "ours, one line": f"{ASKED}\n{write_schema(ours, 'line')}",
        }
        for writer, text in texts.items():
            rows.setdefault(writer, {})[name] = tokens(text)
    return rows


def baml_row(python: str) -> dict[str, int]:
    program = Path(__file__).parent / "peers" / "baml_schemas.py"
    done = subprocess.run([python, str(program)], capture_output=True, text=True, check=True, timeout=120)
    return {name: tokens(text) for name, text in json.loads(done.stdout).items()}


def tool_sets(at: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Tools by source, less what a model is not told: answers' schemas and hints for programs."""
    for path in sorted(at.glob("tau_tools_*.json")):
        yield f"tau {path.stem.rpartition('_')[2]}", json.loads(path.read_text(encoding="utf-8"))
    servers = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((at / "mcp_tools").glob("*.json"))]
    yield "MCP servers", [_told(tool) for server in servers for tool in server["tools"]]
    for path in sorted((at / "bfcl_func_doc").glob("*.json")):
        lines = path.read_text(encoding="utf-8").splitlines()
        yield f"BFCL {path.stem}", [_told(json.loads(line)) for line in lines if line.strip()]


def _told(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tool[name] for name in ("name", "description", "parameters", "inputSchema") if name in tool}


def names(value: Any) -> Iterator[str]:
    """Names of tools and arguments and values of enums, anywhere in a definition."""
    if isinstance(value, list):
        for one in value:
            yield from names(one)
    if not isinstance(value, dict):
        return
    if isinstance(value.get("name"), str) and ("parameters" in value or "inputSchema" in value):
        yield value["name"]
    if isinstance(value.get("properties"), dict):
        yield from value["properties"]
    if isinstance(value.get("enum"), list):
        yield from map(str, value["enum"])
    for one in value.values():
        yield from names(one)


def main() -> int:
    figures = Figures("schemas", "Tokens of o200k.")
    rows = schema_rows()
    pythons = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    if pythons:
        rows["BAML 0.226.3"] = baml_row(pythons[0])
    print(f"\n{'':24}{''.join(f'{name:>9}' for name in MODELS)}{'total':>9}")
    for writer, row in rows.items():
        print(f"{writer:24}{''.join(f'{row[name]:9,}' for name in MODELS)}{sum(row.values()):9,}")
    print()
    bars = {"ours, TypeScript-like": TYPESCRIPT_MAX, "ours, one line": LINE_MAX}
    for writer, row in rows.items():
        for name, count in row.items():
            figures.add(f"{writer}: {name}", count, "tokens")
        figures.add(f"{writer}: total", sum(row.values()), "tokens", at_most=bars.get(writer))
    at = folder()
    if not at.is_dir():
        print("The recorded tools are not here: shared/data/schemas beside the checkout.")
    for source, tools in tool_sets(at) if at.is_dir() else ():
        whole = tokens(json.dumps(tools))
        for style in ("typescript", "line"):
            text = tools_as_text(tools, style=style)
            figures.add(f"{source} ({len(tools)} tools), {style}: saved", 100 * (1 - tokens(text) / whole), "%")
            missing = [name for name in names(tools) if name not in text]
            figures.add(f"{source}, {style}: names that are missing", len(missing), "names", at_most=0)
    return figures.finish()


if __name__ == "__main__":
    sys.exit(main())
