"""Paths as a tree: a folder once, what is in it below, one blank deeper. In the order in which they came."""

from __future__ import annotations

from typing import Final

__all__ = ["read_tree", "tree"]

_RAW: Final = "\\"
"""Before a line that stands as it came and would else be read as part of the tree."""


def tree(lines: list[str]) -> list[str]:
    """The tree of some lines; what is no path in it stands between its branches as it came.

    A folder ends in `/`; one that was a line itself ends in `/.`.
    """
    out: list[str] = []
    open_: list[str] = []
    for at, line in enumerate(lines):
        folders, name = _split(line)
        if not name:
            open_ = []
            out.append(_raw(line))
            continue
        depth, known = _shared(open_, folders)
        del open_[depth:]
        if known < len(folders):
            # Several folders on one line are one level.
            rest = "".join(folders[known:])
            out.append(" " * depth + rest)
            open_.append(rest)
            depth += 1
        nxt = lines[at + 1] if at + 1 < len(lines) else ""
        if nxt.startswith(f"{line}/") and _split(nxt)[1]:
            out.append(f"{' ' * depth}{name}/.")
            open_.append(f"{name}/")
        else:
            out.append(" " * depth + name)
    return out


def read_tree(lines: list[str]) -> list[str]:
    """The lines that a tree was made of."""
    found: list[str] = []
    open_: list[str] = []
    for line in lines:
        if line.startswith(_RAW):
            open_ = []
            found.append(line[1:])
            continue
        name = line.lstrip(" ")
        depth = len(line) - len(name)
        del open_[depth:]
        before = "".join(open_)
        if name.endswith("/."):
            found.append(before + name[:-2])
            open_.append(name[:-1])
        elif name.endswith("/"):
            open_.append(name)
        else:
            found.append(before + name)
    return found


def _split(line: str) -> tuple[list[str], str]:
    """The folders of a path, each with its slash, and its name; no name where the line is no path of this form."""
    if not line or line.endswith(("/", "/.")) or line != line.strip() or line.startswith(_RAW) or "/ " in line:
        return [], ""
    *folders, name = line.split("/")
    return [f"{folder}/" for folder in folders], name


def _shared(open_: list[str], folders: list[str]) -> tuple[int, int]:
    """How many open levels a path is below, and how many folders they are."""
    known = 0
    for depth, level in enumerate(open_):
        parts = level.count("/")
        if "".join(folders[known : known + parts]) != level:
            return depth, known
        known += parts
    return len(open_), known


def _raw(line: str) -> str:
    return _RAW + line
