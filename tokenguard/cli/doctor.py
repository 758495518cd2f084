"""`tokenguard doctor`: is everything here that a guarded call needs, and which setting is in force from where."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from tokenguard.cli.options import FINDING, Database, Json
from tokenguard.cli.terminal import document, output
from tokenguard.errors import TokenguardError
from tokenguard.reports.tables import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Check", "doctor"]

_DISTRIBUTION = "tokenguard-llm"
_IMPORT_NAME = "tokenguard"
_LIBRARIES = ("litellm", "sqlalchemy", "alembic", "genai-prices", "tiktoken", "pydantic", "typer", "rich")
_OLD_PRICES_DAYS = 120


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. A `finding` is something to repair, a `note` something to know."""

    about: str
    verdict: Literal["ok", "note", "finding"]
    says: str

    def json(self) -> dict[str, str]:
        """As JSON values."""
        return {"about": self.about, "verdict": self.verdict, "says": self.says}


def doctor(as_json: Json = False, database: Database = None) -> None:
    """Check versions, ledger, price data, tokenizers and settings. Exit code 1 where something is to be repaired."""
    checks = [*_versions(), _import_name(), *_settings(database), _ledger(database), *_prices(), *_tokenizers()]
    findings = sum(check.verdict == "finding" for check in checks)
    if as_json:
        document({"ok": not findings, "checks": [check.json() for check in checks]})
    else:
        _print(checks, findings)
    raise typer.Exit(FINDING if findings else 0)


def _print(checks: list[Check], findings: int) -> None:
    console = output()
    styles = {"ok": "green", "note": "yellow", "finding": "bold red"}
    for check in checks:
        console.print(f"{check.verdict:<8}", style=styles[check.verdict], end="")
        console.print(f"{check.about:<15}{visible(check.says, 400)}", soft_wrap=True)
    word = "finding" if findings == 1 else "findings"
    console.print(f"\n{findings} {word}." if findings else "\nNothing to repair.")


def _versions() -> Iterator[Check]:
    yield Check("python", "ok", f"{platform.python_version()} ({sys.platform}, {platform.machine()})")
    for name in (_DISTRIBUTION, *_LIBRARIES):
        try:
            yield Check(name, "ok", metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Check(name, "finding", f"is not installed; pip install {_DISTRIBUTION} brings it")


def _import_name() -> Check:
    """PyPI has a stranger's package that also imports as `tokenguard`; installed together, one hides the other."""
    import tokenguard  # noqa: PLC0415  # where it was really found

    here = Path(tokenguard.__file__).parent
    strangers = sorted(set(metadata.packages_distributions().get(_IMPORT_NAME, ())) - {_DISTRIBUTION})
    if strangers:
        names = " ".join(strangers)
        says = (
            f"is also claimed by {names}, which overwrites files of this package: pip uninstall {names}, then reinstall"
        )
        return Check("import name", "finding", f"{says} {_DISTRIBUTION}")
    return Check("import name", "ok", f"`import {_IMPORT_NAME}` is {here}")


def _settings(database: str | None) -> Iterator[Check]:
    """Every setting that somebody set, and who did."""
    from tokenguard.config.settings import FILE_NAME, find_project_file, load_settings  # noqa: PLC0415  # pydantic

    try:
        in_force = load_settings({"database": database}, environ=os.environ, directory=Path.cwd())
    except TokenguardError as wrong:
        yield Check("settings", "finding", wrong.sentence)
        return
    path = find_project_file(FILE_NAME, Path.cwd())
    given = in_force.model_fields_set
    for name in sorted(given):
        value = getattr(in_force, name)
        if name == "database" and value is not None and "://" in value:
            value = "(a database URL)"  # It may hold a password.
        source = "option" if name == "database" and database else None
        source = source or (f"TOKENGUARD_{name.upper()}" if os.environ.get(f"TOKENGUARD_{name.upper()}") else str(path))
        yield Check("setting", "ok", f"{name} = {value!r} (from {source})")
    if not given:
        yield Check("settings", "ok", f"none set: defaults are in force (no {FILE_NAME}, no TOKENGUARD_… variable)")
    if os.environ.get("TOKENGUARD_RUN"):
        yield Check("setting", "note", "TOKENGUARD_RUN is set: calls made from here join the run of a parent process")


def _ledger(database: str | None) -> Check:
    from tokenguard.cli.ledgers import database_in_force  # noqa: PLC0415
    from tokenguard.core.clock import SystemClock  # noqa: PLC0415
    from tokenguard.core.ids import RandomIds  # noqa: PLC0415
    from tokenguard.ledger.address import Address  # noqa: PLC0415  # SQLAlchemy
    from tokenguard.ledger.schema import SCHEMA_VERSION  # noqa: PLC0415
    from tokenguard.ledger.sql import SqlLedger  # noqa: PLC0415

    try:
        chosen = database_in_force(database)
        address = Address.of(chosen)
        if address.path is not None and not address.path.exists():
            writable = os.access(address.path.parent, os.W_OK)
            says = f"{address.path} is not there yet; the first guarded call makes it"
            return Check(
                "ledger", "ok" if writable else "finding", says if writable else f"{says}, but its folder is read-only"
            )
        ledger = SqlLedger.open(chosen, SystemClock(), RandomIds())
        try:
            runs = len(ledger.runs(1))
            return Check(
                "ledger", "ok", f"{ledger.name} opens, schema {SCHEMA_VERSION}{'' if runs else ', no runs yet'}"
            )
        finally:
            ledger.dispose()
    except TokenguardError as wrong:
        return Check("ledger", "finding", wrong.sentence)


def _prices() -> Iterator[Check]:
    from tokenguard.core.clock import SystemClock  # noqa: PLC0415
    from tokenguard.pricing.book import Book  # noqa: PLC0415  # reads the price data

    now = SystemClock().now()
    try:
        versions = Book(_price_file()).versions
    except TokenguardError as wrong:
        yield Check("prices", "finding", wrong.sentence)
        return
    for version in versions:
        if version in ("", "none"):
            yield Check("price file", "ok", "none; public prices are in force (docs/prices.md)")
            continue
        built = _installed_on(version.partition(" ")[0])
        age = None if built is None else int((now.timestamp() - built) // 86_400)
        old = age is not None and age > _OLD_PRICES_DAYS
        advice = "; prices change: upgrade the package" if old else ""
        yield Check("prices", "note" if old else "ok", version + (f", installed {age} days ago{advice}" if age else ""))


def _price_file() -> str | None:
    from tokenguard.config.settings import load_settings  # noqa: PLC0415  # pydantic

    return load_settings({}, environ=os.environ, directory=Path.cwd()).prices


def _installed_on(distribution: str) -> float | None:
    """When a package's files were written, in seconds since 1970: the only date that an installed wheel keeps."""
    try:
        found: Any = metadata.distribution(distribution).locate_file("")
        names = metadata.files(distribution) or []
        stamps = [Path(found, str(name)).stat().st_mtime for name in names if name.name == "METADATA"]
    except (metadata.PackageNotFoundError, OSError):
        return None
    return max(stamps, default=None)


def _tokenizers() -> Iterator[Check]:
    from tokenguard.counting.encodings import CL100K, O200K, load  # noqa: PLC0415  # tiktoken

    for file in (O200K, CL100K):
        if load(file) is None:
            yield Check(
                "tokenizer",
                "note",
                f"{file.name} is not in the installed litellm: prompts are bounded by bytes, about 4 times higher",
            )
        else:
            yield Check("tokenizer", "ok", f"{file.name} (offline, from the installed litellm)")
