"""STYLE.md as tests: what a machine can see, a reviewer need not look for."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tokenguard import errors

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tokenguard"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "_migrations" not in path.parts)
FOLDERS = ("adapters", "benchmarks", "docs", "examples", "migrations", "scripts", "tests", "tokenguard", ".ci")
TEXTS = sorted(
    path
    for place in (*(ROOT.joinpath(name) for name in FOLDERS), ROOT)
    for path in (place.glob("*") if place == ROOT else place.rglob("*"))
    if path.is_file()
    and "__pycache__" not in path.parts
    and path.suffix in {".py", ".md", ".toml", ".mako", ".out", ".yml", ".cfg", ""}
    and path.name not in {"LICENSE", ".gitignore"}
    and not path.name.startswith(".coverage")
)
LINES_MAX = 400
FUNCTION_LINES_MAX = 60
ADR_LINES_MAX = 60
# In these a float would be money that is nearly right.
MONEY = ("core/money.py", "core/price.py", "core/verdict.py", "core/account.py", "core/usage.py", "pricing/", "ledger/")
# Shares, seconds and tokens per second are no money.
NO_MONEY = re.compile(r"(^|_)(share|shares|spaced|warn_at|s|ms|tps|ratio|percent)$")
ENTRIES = {"tokenguard/cli/main.py", "tokenguard/__main__.py"}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), _name(path))


def _public(node: ast.AST) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Public classes and functions, and the public methods of public classes."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from _public(child)


def _is_overload(node: ast.AST) -> bool:
    return any("overload" in ast.unparse(one) for one in getattr(node, "decorator_list", ()))


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_tells_one_story_in_at_most_400_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES_MAX


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_function_fits_a_screen(path: Path) -> None:
    functions = [one for one in ast.walk(_tree(path)) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]

    long = [one.name for one in functions if (one.end_lineno or 0) - one.lineno >= FUNCTION_LINES_MAX]

    assert long == []


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_says_what_it_is_and_what_is_public_in_it(path: Path) -> None:
    tree = _tree(path)
    assigned = {ast.unparse(one) for node in tree.body if isinstance(node, ast.Assign) for one in node.targets}

    assert not tree.body or ast.get_docstring(tree)
    assert "__all__" in assigned or path.stem in ("__init__", "__main__") or not list(_public(tree))


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_every_public_name_is_documented(path: Path) -> None:
    silent = [one.name for one in _public(_tree(path)) if not ast.get_docstring(one) and not _is_overload(one)]

    assert silent == []


@pytest.mark.parametrize(
    "path", [one for one in MODULES if "core/" in _name(one) or "ledger/" in _name(one)], ids=_name
)
def test_a_whole_number_of_money_says_its_unit(path: Path) -> None:
    fields = [one for one in ast.walk(_tree(path)) if isinstance(one, ast.AnnAssign | ast.arg)]
    named = [(one.arg if isinstance(one, ast.arg) else ast.unparse(one.target), one.annotation) for one in fields]
    money = re.compile(r"(^|_)(usd|cost|price|fee|spend|money)(_|$)")

    bare = [name for name, kind in named if kind and ast.unparse(kind) in ("int", "int | None") and money.search(name)]

    assert [name for name in bare if "pico" not in name and "max" not in name] == []


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_duration_says_its_unit(path: Path) -> None:
    fields = [one for one in ast.walk(_tree(path)) if isinstance(one, ast.AnnAssign)]
    names = [
        ast.unparse(one.target) for one in fields if ast.unparse(one.annotation) in ("int", "float", "float | None")
    ]
    duration = re.compile(r"(^|_)(wait|delay|duration|latency|interval|timeout|ttft|ttl|pace)$")

    assert [name for name in names if duration.search(name)] == []


@pytest.mark.parametrize("path", [one for one in MODULES if any(part in _name(one) for part in MONEY)], ids=_name)
def test_no_float_comes_near_money(path: Path) -> None:
    assert list(_floats(_tree(path), ())) == []


def _floats(node: ast.AST, owners: tuple[str, ...]) -> Iterator[str]:
    """Float literals and types, except where they belong to something that is no money or are asked about."""
    if isinstance(node, ast.Compare) or (isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance"):
        return  # asking whether something is a float is how floats are refused
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        owners = (*owners, node.name)
    elif isinstance(node, ast.AnnAssign | ast.Assign | ast.arg | ast.keyword):
        owners = (*owners, _owner(node))
    literal = isinstance(node, ast.Constant) and isinstance(node.value, float)
    no_money = any(NO_MONEY.search(one.lower()) for one in owners)
    if (literal or (isinstance(node, ast.Name) and node.id == "float")) and not no_money:
        yield f"line {getattr(node, 'lineno', 0)}: a float in {'.'.join(owners) or 'the module'}"
    if isinstance(node, ast.arguments):
        given = [*zip(reversed([*node.posonlyargs, *node.args]), reversed(node.defaults), strict=False)]
        given += [(arg, value) for arg, value in zip(node.kwonlyargs, node.kw_defaults, strict=True) if value]
        for arg, value in given:
            yield from _floats(value, (*owners, arg.arg))
        for arg in [*node.posonlyargs, *node.args, *node.kwonlyargs]:
            yield from _floats(arg, owners)
        return
    for child in ast.iter_child_nodes(node):
        yield from _floats(child, owners)


def _owner(node: ast.AnnAssign | ast.Assign | ast.arg | ast.keyword) -> str:
    """The name that a value or type is for."""
    if isinstance(node, ast.arg | ast.keyword):
        return node.arg or ""
    return ast.unparse(node.target if isinstance(node, ast.AnnAssign) else node.targets[0])


def _imports(path: Path) -> set[str]:
    """Modules that a module imports, also by name and at call time; `from a import b` may mean the module a.b."""
    found: set[str] = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            found |= {str(one.value) for one in node.args[:1] if isinstance(one, ast.Constant)}
    return found


def test_no_module_is_an_orphan() -> None:
    used = set().union(*(_imports(path) for path in MODULES))
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in MODULES}
    texts = "".join(path.read_text(encoding="utf-8") for path in MODULES)

    orphans = [
        name
        for name, path in names.items()
        if name not in used
        and path.stem not in ("__init__", "__main__")
        and _name(path) not in ENTRIES
        and not name.startswith("tokenguard.testing")
        and f'"{name}' not in texts
    ]

    assert orphans == []


DOORS = {
    "alembic": "tokenguard/ledger/migrate.py",
    "genai_prices": "tokenguard/pricing/",
    "litellm": "tokenguard/backends/litellm.py",
    "llmlingua": "tokenguard/prompt/learned.py",
    "model2vec": "tokenguard/loops/semantic.py",
    "trafilatura": "tokenguard/prompt/html.py",
    "numpy": "tokenguard/loops/semantic.py",
    "rfc8785": "tokenguard/loops/canonical.py",
    "sqlalchemy": "tokenguard/ledger/",
    "tenacity": "tokenguard/backends/retry.py",
    "tiktoken": "tokenguard/counting/encodings.py",
}


@pytest.mark.parametrize(("library", "door"), DOORS.items())
def test_a_library_has_one_door_for_dynamic_imports_too(library: str, door: str) -> None:
    users = [_name(path) for path in MODULES if any(one.split(".")[0] == library for one in _imports(path))]

    assert [user for user in users if not user.startswith(door)] == []


def test_the_file_tree_in_the_architecture_is_the_one_on_disk() -> None:
    spec = importlib.util.spec_from_file_location("file_tree", ROOT / "scripts" / "file_tree.py")
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    assert script.written() == script.tree(), "run: python scripts/file_tree.py --write"


@pytest.mark.parametrize("path", [one for one in TEXTS if one.name != "uv.lock"], ids=_name)
def test_a_text_names_no_stranger_no_machine_and_no_open_end(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    # The plain name belongs to somebody else on the package index: an extra of it would install their code.
    stranger = "tokenguard" + "["
    machine = re.compile("/(?:work|root|home/[a-z]+)" + "/[a-z.]")
    open_end = re.compile(r"\b(?:TO" + "DO|FIX" + r"ME|XX" + r"X)\b(?!\(#\d+\))")

    assert stranger not in text.replace("tokenguard" + '["', "")
    assert not machine.search(text)
    assert not open_end.search(text) or path.name in ("STYLE.md", "test_tidy.py")


@pytest.mark.parametrize("path", [one for one in TEXTS if one.suffix == ".py"], ids=_name)
def test_a_pragma_names_its_code(path: Path) -> None:
    bare = re.compile(r"#\s*(?:type:\s*ignore(?!\[)|noqa(?!: [A-Z]+\d)|pyright:\s*ignore(?!\[)|pragma:\s*no cover$)")
    lines = path.read_text(encoding="utf-8").splitlines()

    assert [number for number, line in enumerate(lines, 1) if bare.search(line) and "re.compile" not in line] == []


def test_the_changelog_has_the_form_that_tools_read() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (.+)$", text, re.MULTILINE)
    kinds = re.findall(r"^### (.+)$", text, re.MULTILINE)
    entries = re.findall(r"^- (.+(?:\n  .+)*)$", text, re.MULTILINE)

    assert versions[0] == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", one) for one in versions[1:])
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert [entry for entry in entries if not entry.endswith(".")] == []


def test_every_error_code_has_its_section_and_every_section_its_code() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    sections = re.findall(r"^##+ ([a-z_]+)$", text, re.MULTILINE)
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    codes = {one.code for one in classes if issubclass(one, errors.TokenguardError)}

    assert set(sections) == codes
    assert len(sections) == len(set(sections))


def test_every_decision_is_listed_and_has_its_four_parts() -> None:
    folder = ROOT / "docs" / "adr"
    pages = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("[0-9]*.md")}
    listed = re.findall(r"\(([0-9]{4}-[a-z-]+\.md)\)", (folder / "README.md").read_text(encoding="utf-8"))

    assert sorted(listed) == sorted(pages)
    for name, text in pages.items():
        assert len(text.splitlines()) <= ADR_LINES_MAX, name
        heads = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert [head for head in ("Context", "Decision", "Consequences", "Rejected") if head not in heads] == [], name


def test_links_between_our_pages_lead_somewhere() -> None:
    pages = [path for path in TEXTS if path.suffix == ".md"]

    broken = [
        f"{_name(page)}: {target}"
        for page in pages
        for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]

    assert broken == []
