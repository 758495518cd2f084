"""The package's file tree, from the first line of each module: what ARCHITECTURE.md shows and a test compares.

Usage: `python scripts/file_tree.py` prints it; `--write` puts it into ARCHITECTURE.md.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "ARCHITECTURE.md"
BEGIN, END = "<!-- tree: written by scripts/file_tree.py -->\n```\n", "```\n<!-- end of tree -->\n"
WIDTH = 118


def tree() -> str:
    """One line per module, folders indented; modules with nothing to say (empty `__init__`) are left out."""
    lines = ["tokenguard/"]
    _list(ROOT / "tokenguard", 1, lines)
    return "\n".join(lines) + "\n"


def _list(folder: Path, depth: int, lines: list[str]) -> None:
    modules = sorted(folder.glob("*.py"), key=lambda one: (one.stem != "__init__", one.stem))
    said = ((path.name, _saying(path)) for path in modules)
    lines.extend(_fitting(f"{'  ' * depth}{name:<{26 - 2 * depth}}{saying}") for name, saying in said if saying)
    for inner in sorted(one for one in folder.iterdir() if one.is_dir() and any(one.rglob("*.py"))):
        if not inner.name.startswith(("_", ".")):
            lines.append(f"{'  ' * depth}{inner.name}/")
            _list(inner, depth + 1, lines)


def _saying(path: Path) -> str:
    """The first sentence of the module's docstring, as far as it stands in the first line."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0].partition(". ")[0].rstrip(".:")


def _fitting(line: str) -> str:
    """The line, cut between words where it is too long."""
    return line if len(line) <= WIDTH else line[: line.rfind(" ", 0, WIDTH)] + " …"


def written() -> str:
    """The tree as the page has it; empty where the page has none."""
    _, found, rest = PAGE.read_text().partition(BEGIN)
    return rest.partition(END)[0] if found else ""


if __name__ == "__main__":
    if "--write" in sys.argv:
        page = PAGE.read_text()
        head, _, rest = page.partition(BEGIN)
        PAGE.write_text(head + BEGIN + tree() + END + rest.partition(END)[2])
    else:
        print(tree(), end="")
