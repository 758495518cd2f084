"""BAML: what its runtime writes for `{{ ctx.output_format }}` of the six models, as JSON. Sends nothing."""

from __future__ import annotations

import json
from pathlib import Path

from baml_py import BamlRuntime

SOURCE = Path(__file__).parent / "schemas.baml"
NAMES = ("Ticket", "Invoice", "Resume", "Plan", "Review", "Node")


def main() -> None:
    runtime = BamlRuntime.from_files(str(SOURCE.parent), {str(SOURCE): SOURCE.read_text(encoding="utf-8")}, {})
    found = {}
    for name in NAMES:
        context = runtime.create_context_manager()
        request = runtime.build_request_sync(f"Ask{name}", {}, context, None, None, {}, False)  # noqa: FBT003  # BAML has no names
        content = request.body.json()["messages"][0]["content"]
        found[name] = content if isinstance(content, str) else content[0]["text"]
    print(json.dumps(found))


main()
