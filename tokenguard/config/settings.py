"""Settings from arguments, the environment and `tokenguard.toml`, in that order. Unknown keys are errors."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, InstanceOf, ValidationError, field_validator

from tokenguard.core.account import Scope, scope_key
from tokenguard.core.budget import Budget
from tokenguard.core.folding import Folding, LevelName, Recovery
from tokenguard.core.ladder import Ladder, Loops
from tokenguard.core.untrusted import mapping_of
from tokenguard.errors import BadAmount, SettingsError

__all__ = ["FILE_NAME", "Settings", "find_project_file", "load_settings"]

FILE_NAME = "tokenguard.toml"
_PREFIX = "TOKENGUARD_"
_BRANCHES = ("_", "json-or-python", "bool")
"""How pydantic names the branches of a union, which no file contains."""
_NOT_SETTINGS = frozenset({"TOKENGUARD_RUN"})
"""Variables with our prefix that are not settings: the run that a parent process hands down."""


class _BudgetTable(BaseModel):
    """`[budget]`, `[unattributed]` and `[budgets."acme/search"]`: the arguments of `Budget`, money as strings."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    usd: str | int | None = None
    tokens: int | None = None
    calls: int | None = None
    steps: int | None = None
    per: str = "run"
    tz: str = "UTC"
    warn_at: list[float] = [0.5, 0.8]
    reserve_final: str | int | None = None
    allowance: bool | str | int | None = None

    def budget(self) -> Budget:
        """The value."""
        return Budget(**self.model_dump())


class _LoopsTable(BaseModel):
    """`[loops]`: the arguments of `Loops`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steer_at: int | Literal[False] = 3
    block_at: int | Literal[False] = 4
    stop_at: int | Literal[False] = 6
    window: int = 10
    off: tuple[str, ...] = ()
    blocked: Literal["message", "raise"] = "message"
    similar_by: str | None = None
    similar_at: float = 0.9

    def loops(self) -> Loops:
        """The value; TOML has no null, so a rung is switched off by `false`."""
        counts = {"steer_at": self.steer_at, "block_at": self.block_at, "stop_at": self.stop_at}
        return Loops(
            **{name: None if count is False else count for name, count in counts.items()},
            window=self.window,
            off=self.off,
            blocked=self.blocked,
            similar_by=self.similar_by,
            similar_at=self.similar_at,
        )


class _LadderTable(BaseModel):
    """`[ladder]`: the arguments of `Ladder`, but for its loops, which are a table of their own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steer_at: float | None = None
    shrink_at: float | None = None
    shrink_to: int | None = None
    reroute_at: float | None = None
    reroute_to: str | dict[str, Any] | None = None

    def ladder(self) -> Ladder:
        """The value."""
        return Ladder(**self.model_dump())


class _PromptTable(BaseModel):
    """`[prompt]`: the arguments of `Folding`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: LevelName = "compact"
    recovery: Recovery = "off"
    recovery_days: int = 7
    shield: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    keep_results: int = 5
    trim_above: int = 20_000
    learned: str | None = None
    holdout: float = 0.0

    def folding(self) -> Folding:
        """The value."""
        return Folding(**self.model_dump())


class Settings(BaseModel):
    """What a guard needs to know. Every field has the name and meaning of `Guard`'s argument."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    database: str | None = None
    spool: str | None = None
    scope: str = ""
    mode: Literal["enforce", "observe"] = "enforce"
    strict: bool = False
    busy: Literal["wait", "raise"] = "wait"
    on_ledger_down: Literal["refuse", "allowance"] = "refuse"
    durability: Literal["normal", "full"] = "normal"
    prices: str | None = None
    loops: bool | InstanceOf[Loops] | _LoopsTable | None = None
    ladder: InstanceOf[Ladder] | _LadderTable | None = None
    prompt: LevelName | InstanceOf[Folding] | _PromptTable = "compact"
    baggage_hosts: tuple[str, ...] = ()
    trust_baggage: bool = False
    budget: _BudgetTable | None = None
    unattributed: _BudgetTable | None = None
    budgets: dict[str, list[_BudgetTable]] = {}

    @field_validator("budgets", mode="before")
    @classmethod
    def _lists(cls, given: Any) -> Any:
        """One table of a scope is a list of one."""
        if not isinstance(given, Mapping):
            return given
        tables = cast("Mapping[str, Any]", given)
        return {scope: cast("Any", [one] if isinstance(one, Mapping) else one) for scope, one in tables.items()}

    def scopes(self) -> tuple[Scope, ...]:
        """The scopes that the file gives budgets, outside those of the guard itself.

        Raises:
            BadAmount: a budget cannot be meant.
            SettingsError: a scope has no name, or its budget no cap or no period.
        """
        return tuple(_scope_of(text, tables) for text, tables in self.budgets.items())

    def rungs(self) -> Ladder:
        """The ladder of the guard; `loops` goes over what the ladder says of repetition.

        Raises:
            BadAmount: a rung cannot be meant.
        """
        ladder = self.ladder.ladder() if isinstance(self.ladder, _LadderTable) else self.ladder or Ladder()
        if self.loops is None:
            return ladder
        match self.loops:
            case True:
                return replace(ladder, loops=ladder.loops or Loops())
            case False:
                return replace(ladder, loops=None)
            case Loops():
                return replace(ladder, loops=self.loops)
            case table:
                return replace(ladder, loops=table.loops())

    def folding(self) -> Folding:
        """What is done to prompts.

        Raises:
            BadAmount: a level or what goes with it cannot be meant.
        """
        if isinstance(self.prompt, _PromptTable):
            return self.prompt.folding()
        return self.prompt if isinstance(self.prompt, Folding) else Folding(self.prompt)

    @field_validator("baggage_hosts", mode="before")
    @classmethod
    def _list_of_hosts(cls, hosts: Any) -> Any:
        """An environment variable holds them with commas between."""
        return tuple(hosts.split(",")) if isinstance(hosts, str) else hosts


def load_settings(arguments: Mapping[str, Any], *, environ: Mapping[str, str], directory: Path) -> Settings:
    """Merge the three sources; `None` among the arguments means not given.

    Raises:
        SettingsError: an unknown key, a value that cannot be meant, or a file that is not TOML; the sentence names
        the source.
    """
    merged: dict[str, Any] = {}
    for source, values in _sources(arguments, environ, directory):
        _check_names(values, source)
        if values.get("ladder") is not None:
            merged.pop("loops", None)  # The stronger source's ladder says what it thinks of repetition.
        merged.update(values)
        try:
            settings = Settings(**merged)
            _check_budgets(settings)
        except ValidationError as wrong:
            # The last of a union's errors is that of its table; the names of its branches are ours.
            first = wrong.errors()[-1]
            where = ".".join(str(part) for part in first["loc"] if not str(part).startswith(_BRANCHES))
            raise SettingsError(f"{source}: {where} = {first.get('input')!r}: {first['msg']}.", path=source) from None
        except (BadAmount, SettingsError) as wrong:
            raise SettingsError(f"{source}: {wrong.sentence}", path=source) from None
    return Settings(**merged)


def _check_budgets(settings: Settings) -> None:
    """Build what the tables say, so that what cannot be meant names its source."""
    settings.scopes()
    settings.rungs()
    settings.folding()
    for table in (settings.budget, settings.unattributed):
        if table is not None:
            table.budget()


def _scope_of(text: str, tables: Sequence[_BudgetTable]) -> Scope:
    key = scope_key(text)
    where = f'[budgets."{text}"]'
    if key is None or key.startswith(("run:", "step:")):
        raise SettingsError(f"{where} names no scope: write a path such as acme/search, or agent:acme/search/writer.")
    budgets = tuple(table.budget() for table in tables)
    if any(not one.caps() for one in budgets):
        raise SettingsError(f"{where} caps nothing: give usd, tokens, calls or steps.")
    if any(one.per == "run" for one in budgets):
        raise SettingsError(f'{where} needs a period, because a scope outlives its runs: per = "day", say.')
    return Scope(key, key.partition(":")[2], budgets)


def find_project_file(name: str, directory: Path) -> Path | None:
    """The nearest file of that name in a directory or above it."""
    for folder in (directory, *directory.parents):
        if (folder / name).is_file():
            return folder / name
    return None


def _sources(
    arguments: Mapping[str, Any], environ: Mapping[str, str], directory: Path
) -> list[tuple[str, dict[str, Any]]]:
    """(name, values) from the weakest source to the strongest."""
    found: list[tuple[str, dict[str, Any]]] = []
    path = find_project_file(FILE_NAME, directory)
    if path is not None:
        found.append((str(path), _read(path)))
    given = {name: value for name, value in environ.items() if name.startswith(_PREFIX) and name not in _NOT_SETTINGS}
    found.append(("environment", {name.removeprefix(_PREFIX).lower(): value for name, value in given.items() if value}))
    found.append(("arguments", {name: value for name, value in arguments.items() if value is not None}))
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as wrong:
        raise SettingsError(f"{path} cannot be read as TOML: {wrong}.", path=str(path)) from None
    # Prices and aliases may live in the same file; the price book reads them itself.
    settings = {name: value for name, value in document.items() if name not in ("prices", "alias")}
    if isinstance(document.get("prices"), str):
        settings["prices"] = str(path.parent / document["prices"])
    elif mapping_of(document.get("prices")) or mapping_of(document.get("alias")):
        settings["prices"] = str(path)
    loops = mapping_of(document.get("loops"))
    if isinstance(folder := loops.get("similar_by"), str) and folder:
        settings["loops"] = {**loops, "similar_by": str(path.parent / Path(folder).expanduser())}
    return settings


def _check_names(values: Mapping[str, Any], source: str) -> None:
    for name in values:
        if name not in Settings.model_fields:
            close = difflib.get_close_matches(name, Settings.model_fields, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(sorted(Settings.model_fields))}."
            shown = f"{_PREFIX}{name.upper()}" if source == "environment" else name
            raise SettingsError(f"{source}: {shown!r} is not a setting of tokenguard.{hint}", path=source)
