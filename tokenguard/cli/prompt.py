"""`tokenguard prompt`: what could be better about prompts, and what it costs."""

from __future__ import annotations

import json
import runpy
import tomllib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tokenguard.cli.options import FINDING, Json
from tokenguard.cli.terminal import document, say, show
from tokenguard.core.untrusted import list_of, mapping_of
from tokenguard.errors import SettingsError, Unpriceable

if TYPE_CHECKING:
    from tokenguard.core.price import PriceCard
    from tokenguard.prompt.structured.findings import Finding, Traffic

__all__ = ["app"]

app = typer.Typer(help="Prompts: lint them, with a dollar figure for each finding.", no_args_is_help=True)

_MODEL: Final = "openai/gpt-5-mini"
_ABOUT: Final = "A Python file with StructuredPrompt objects, or JSON or TOML with `messages`."


@app.callback()
def _prompt() -> None:
    """Prompts: lint them, with a dollar figure for each finding."""


@app.command()
def lint(
    file: Annotated[Path, typer.Argument(help=_ABOUT, exists=True, dir_okay=False)],
    *,
    model: Annotated[str, typer.Option("--model", help="Whose prices and tokenizer.")] = _MODEL,
    calls: Annotated[int, typer.Option("--calls", min=1, help="That the dollars are for.")] = 1_000,
    input_tokens: Annotated[int, typer.Option("--input-tokens", min=0, help="What varies in a call.")] = 500,
    output_tokens: Annotated[int, typer.Option("--output-tokens", min=0, help="Of an answer.")] = 150,
    cache_minimum: Annotated[
        int, typer.Option("--cache-minimum", min=1, help="Tokens from which a prefix is cached.")
    ] = 1_024,
    prices: Annotated[
        Path | None, typer.Option("--prices", envvar="TOKENGUARD_PRICES", help="Your own price file (TOML).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what makes prompts dear or their answers unreliable. Exit code 1 where there is anything.

    A Python file is run, as `python FILE` would with another name than `__main__`. Amounts rest on what --json calls
    `assumption`, and on the model's standard prices.
    """
    from tokenguard.counting import Counter  # noqa: PLC0415  # tokenizers are read when a command asks for them
    from tokenguard.prompt.structured.findings import Traffic  # noqa: PLC0415

    traffic = Traffic(calls=calls, input_tokens=input_tokens, output_tokens=output_tokens, cache_minimum=cache_minimum)
    card, count = _card(model, prices), partial(Counter().count, model)
    found = {name: linted(card=card, count=count, traffic=traffic) for name, linted in _prompts(file)}
    if as_json:
        document({"model": model, "calls": calls, "prompts": [_json(name, them) for name, them in found.items()]})
    else:
        _say(found, model, traffic, priced=card is not None)
    if any(found.values()):
        raise typer.Exit(FINDING)


def _prompts(file: Path) -> Iterator[tuple[str, Any]]:
    """What a file holds, by name, each with its lint.

    Raises:
        SettingsError: the file cannot be read, fails, or holds no prompt.
    """
    from tokenguard.prompt.structured.lint import lint_messages, lint_prompt  # noqa: PLC0415
    from tokenguard.prompt.structured.prompts import StructuredPrompt  # noqa: PLC0415

    if file.suffix in (".json", ".toml"):
        yield file.name, partial(lint_messages, _messages(file))
        return
    try:
        names = runpy.run_path(str(file))
    except Exception as error:
        raise SettingsError(
            f"{file} cannot be run: {type(error).__name__}: {error}. Lint a file that can be imported.", path=str(file)
        ) from error
    found: list[StructuredPrompt[Any]] = [one for one in names.values() if isinstance(one, StructuredPrompt)]
    prompts = {id(one): one for one in found}
    if not prompts:
        raise SettingsError(
            f"{file} has no StructuredPrompt at its top level. Give a file that defines one there.", path=str(file)
        )
    for one in prompts.values():
        yield one.prompt_id, partial(lint_prompt, one)


def _messages(file: Path) -> list[Mapping[str, Any]]:
    """The messages of a JSON or TOML file."""
    try:
        text = file.read_text(encoding="utf-8")
        whole: Any = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{file} cannot be read: {error}.", path=str(file)) from error
    messages = [mapping_of(one) for one in list_of(whole) or list_of(mapping_of(whole).get("messages"))]
    if not messages or not all(messages):
        raise SettingsError(
            f'{file} has no messages. Give a list, or {{"messages": [{{"role": …, "content": …}}]}}.', path=str(file)
        )
    return messages


def _card(model: str, prices: Path | None) -> PriceCard | None:
    """The model's price; None where nobody knows one, which is said."""
    from tokenguard.pricing.book import Book  # noqa: PLC0415  # price data is read when a command asks for it

    try:
        return Book(prices).card(model)
    except Unpriceable:
        return None


def _say(found: Mapping[str, tuple[Finding, ...]], model: str, traffic: Traffic, *, priced: bool) -> None:
    from tokenguard.reports.tables import Column, Table, aligned, visible  # noqa: PLC0415

    for name, findings in found.items():
        if not findings:
            say(f"{name}: nothing to say.")
            continue
        say(f"{name}:")
        costs = iter(aligned([one.cost for one in findings if one.cost is not None]))
        rows = tuple((one.code, "?" if one.cost is None else next(costs), visible(one.sentence)) for one in findings)
        show(Table((Column("finding"), Column(f"usd in {traffic.calls:,} calls", right=True), Column("what")), rows))
    say(
        f"{model}, {traffic.input_tokens:,} tokens in and {traffic.output_tokens:,} out besides the prompt; --json "
        "says what each amount assumes."
        if priced
        else f"{model!r} has no known price: no amounts. Give --prices, or one of `tokenguard prices list`."
    )


def _json(name: str, findings: tuple[Finding, ...]) -> dict[str, Any]:
    return {
        "prompt": name,
        "findings": [
            {
                "code": one.code,
                "sentence": one.sentence,
                "usd": None if one.cost is None else one.cost.json(),
                "assumption": one.assumption,
            }
            for one in findings
        ],
    }
