"""`tokenguard fold`: what would be sent for a recorded prompt, stage by stage, beside what came."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer
from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from tokenguard.cli.options import Json
from tokenguard.cli.terminal import document, output, say, show
from tokenguard.core.folding import Folding
from tokenguard.core.money import Money
from tokenguard.core.untrusted import list_of, mapping_of
from tokenguard.errors import SettingsError, Unpriceable
from tokenguard.prompt.places import places
from tokenguard.reports.tables import Column, Table

if TYPE_CHECKING:
    from tokenguard.core.ports import PriceBook
    from tokenguard.prompt.economy import Advice
    from tokenguard.prompt.report import FoldReport

__all__ = ["fold"]

_LINES: Final = 24
"""So many lines of a result are shown on each side, unless all are asked for."""
_KINDS: Final = {
    "promotion": "Filling the prefix up",
    "keep_alive": "Keeping the cache alive",
    "switch": "Switching the model",
}
_HOLDERS: Final = ("messages", "input", "history", "traj")


def fold(
    file: Annotated[
        str, typer.Argument(help="JSON: a list of messages, or an object that holds one; '-' reads stdin.")
    ],
    *,
    model: Annotated[str, typer.Option("--model", help="Whose tokens and prices count.")],
    level: Annotated[str, typer.Option("--level", help="compact, lossless, safe or gated.")] = "lossless",
    whole: Annotated[bool, typer.Option("--full", help="Show changed results whole.")] = False,
    prices: Annotated[
        Path | None, typer.Option("--prices", envvar="TOKENGUARD_PRICES", help="Your own price file (TOML).")
    ] = None,
    calls: Annotated[int, typer.Option("--calls", min=1, help="Calls to come while the cache lives.")] = 20,
    pause_s: Annotated[int | None, typer.Option("--pause", min=1, help="Seconds until the next call.")] = None,
    switch_to: Annotated[str | None, typer.Option("--switch-to", help="Another model to go on with.")] = None,
    as_json: Json = False,
) -> None:
    """Show what folding would make of a prompt, and what its cache could save. Nothing is sent or stored."""
    messages = _read(file)
    book = _book(prices)
    report = _folded(messages, model, level, book)
    advice = _advice(messages, model, book, calls=calls, pause_s=pause_s, switch_to=switch_to)
    if as_json:
        document({**_json(report), "advice": [_told(one) for one in advice]})
        return
    _say(report)
    for one in advice:
        say(f"{_KINDS[one.kind]} {'pays' if one.pays else 'does not pay'}: {one.sentence}")
    for change in _changed(messages, report):
        output().print(_beside(*change, whole=whole))


def _read(file: str) -> list[Any]:
    """The messages in a file.

    Raises:
        SettingsError: it cannot be read, is no JSON, or holds no messages.
    """
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        read = json.loads(text)
    except (OSError, UnicodeDecodeError, ValueError) as wrong:
        raise SettingsError(f"{file} cannot be read as JSON: {wrong}.", path=file) from None
    for name in _HOLDERS:
        read = mapping_of(read).get(name, read)
    messages = list(list_of(read))
    if not messages or not all(mapping_of(one) for one in messages):
        raise SettingsError(
            f'{file} holds no messages: give a list such as [{{"role": "tool", "content": "…"}}], or an object '
            f"with one under {', '.join(_HOLDERS)}.",
            path=file,
        )
    return messages


def _book(prices: Path | None) -> PriceBook:
    from tokenguard.pricing.policy import Prices  # noqa: PLC0415

    return Prices.of(prices)


def _advice(
    messages: list[Any], model: str, book: PriceBook, *, calls: int, pause_s: int | None, switch_to: str | None
) -> tuple[Advice, ...]:
    """Of a model without a price nothing is said, unless somebody asked."""
    from tokenguard.calls.cache_advice import cache_advice  # noqa: PLC0415
    from tokenguard.core.clock import SystemClock  # noqa: PLC0415
    from tokenguard.counting.counter import Counter  # noqa: PLC0415

    try:
        return cache_advice(
            messages,
            model=model,
            counter=Counter(),
            prices=book,
            at=SystemClock().now(),
            calls=calls,
            pause_s=pause_s,
            switch_to=switch_to,
        )
    except Unpriceable:
        if pause_s is None and switch_to is None:
            return ()
        raise


def _told(advice: Advice) -> dict[str, Any]:
    return {
        "kind": advice.kind,
        "pays": advice.pays,
        "saved_usd": _usd(advice.saved_pico),
        "sentence": advice.sentence,
    }


def _folded(messages: list[Any], model: str, level: str, book: PriceBook) -> FoldReport:
    from tokenguard.calls.folds import fold_report  # noqa: PLC0415  # the parts of a call take half a second to load
    from tokenguard.core.clock import SystemClock  # noqa: PLC0415
    from tokenguard.counting.counter import Counter  # noqa: PLC0415
    from tokenguard.prompt.folder import Folder  # noqa: PLC0415

    recovery: Any = "shell" if level in ("safe", "gated") else "off"
    folding, clock, counter = Folding(cast("Any", level), recovery=recovery), SystemClock(), Counter()
    folder = Folder(folding, counter.count, clock.monotonic) if folding.level else None
    return fold_report(messages, model=model, folder=folder, counter=counter, prices=book, at=clock.now())


def _say(report: FoldReport) -> None:
    if not report.stages:
        say(f"{report.level}: nothing to fold in {report.tokens_before:,} tokens.")
        return
    columns = (
        Column("stage"),
        Column("results", right=True),
        Column("tokens", right=True),
        Column("folded", right=True),
        Column("saved", right=True),
        Column("ms", right=True),
    )
    rows = [
        (
            one.stage,
            f"{one.results:,}",
            f"{one.tokens_before:,}",
            f"{one.tokens_after:,}",
            _percent(one.tokens_saved, one.tokens_before),
            f"{one.elapsed_us / 1000:.1f}",
        )
        for one in report.stages
    ]
    total = (
        "prompt",
        "",
        f"{report.tokens_before:,}",
        f"{report.tokens_after:,}",
        _percent(report.tokens_saved, report.tokens_before),
        "",
    )
    show(Table(columns, tuple(rows), total))
    if report.usd_first_pico is None or report.usd_again_pico is None:
        say(f"{report.model} has no price, so nothing is said about dollars.")
        return
    first, again = Money.from_pico(report.usd_first_pico), Money.from_pico(report.usd_again_pico)
    say(f"{first} less when it is sent first, {again} less in each later call that its cache holds it for.")


def _changed(messages: list[Any], report: FoldReport) -> list[tuple[str, str, str]]:
    """(title, what came, what would be sent) of each result that was changed."""
    sent = {(one.message, one.path): one.text for one in places(report.messages)}
    found: list[tuple[str, str, str]] = []
    for place in places(messages):
        text = sent.get((place.message, place.path))
        if text is not None and text != place.text:
            found.append((f"message {place.message} {place.tool}".rstrip(), place.text, text))
    return found


def _beside(title: str, before: str, after: str, *, whole: bool) -> RichTable:
    table = RichTable(title=_plain(title), box=box.SIMPLE_HEAD, title_justify="left", expand=True)
    table.add_column("as it came", ratio=1, overflow="fold")
    table.add_column("as it would be sent", ratio=1, overflow="fold")
    table.add_row(Text(_shown(before, whole=whole)), Text(_shown(after, whole=whole)))
    return table


def _shown(text: str, *, whole: bool) -> str:
    lines = _plain(text).split("\n")
    if whole or len(lines) <= _LINES:
        return "\n".join(line if whole else line[:2_000] for line in lines)
    return "\n".join([*[line[:2_000] for line in lines[:_LINES]], f"… {len(lines) - _LINES:,} more lines (--full)"])


def _plain(text: str) -> str:
    """Nothing in a tool's text moves the cursor."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else ""


def _json(report: FoldReport) -> dict[str, Any]:
    return {
        "model": report.model,
        "level": report.level,
        "tokens_before": report.tokens_before,
        "tokens_after": report.tokens_after,
        "stages": [{**asdict(one), "tokens_saved": one.tokens_saved} for one in report.stages],
        "usd_first": _usd(report.usd_first_pico),
        "usd_again": _usd(report.usd_again_pico),
        "messages": report.messages,
    }


def _usd(pico: int | None) -> str | None:
    return None if pico is None else str(Money.from_pico(pico).usd)
