"""`tokenguard backend`: own hardware, before anything is started on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokenguard.cli.options import Json
from tokenguard.cli.terminal import document, say, show
from tokenguard.errors import SettingsError
from tokenguard.reports.tables import Column, Table

if TYPE_CHECKING:
    from tokenguard.hardware import Cpu, MemoryPlan, QuantizationRow, Serving

__all__ = ["app"]

app = typer.Typer(help="Own hardware: does a model fit, in which format, for how many at once.", no_args_is_help=True)

_GIB = 1 << 30


@app.callback()
def _backend() -> None:
    """Own hardware: does a model fit, in which format, for how many at once."""


@app.command()
def plan(
    model: Annotated[Path, typer.Argument(help="A model's folder, or its config.json.")],
    *,
    gpu: Annotated[str | None, typer.Option("--gpu", help="Its name, such as H100 or L40S.")] = None,
    cpu_cache_gib: Annotated[
        int | None, typer.Option("--cpu-cache-gib", min=1, help="On a CPU, with a KV cache of so many GiB.")
    ] = None,
    quantization: Annotated[str | None, typer.Option("--quantization", help="fp8, int8, awq, gptq, nvfp4 …")] = None,
    tensor_parallel: Annotated[int, typer.Option("--tensor-parallel", min=1, help="GPUs per layer.")] = 1,
    pipeline_parallel: Annotated[int, typer.Option("--pipeline-parallel", min=1, help="Stages of layers.")] = 1,
    context: Annotated[int | None, typer.Option("--context", min=1, help="The longest sequence, in tokens.")] = None,
    kv_dtype: Annotated[str, typer.Option("--kv-dtype", help="auto or fp8.")] = "auto",
    as_json: Json = False,
) -> None:
    """Show whether a model fits, by vLLM's own arithmetic. Nothing is started; exit code 1: it does not fit."""
    from tokenguard.hardware import Cpu, Serving, memory_plan, quantization_table, read_shape  # noqa: PLC0415

    if (gpu is None) == (cpu_cache_gib is None):
        raise SettingsError("say where: --gpu NAME, or --cpu-cache-gib N for a machine without one.")
    serving = Serving(
        quantization,
        tensor_parallel=tensor_parallel,
        pipeline_parallel=pipeline_parallel,
        context=context,
        kv_dtype=kv_dtype,
    )
    where: str | Cpu = gpu if gpu is not None else Cpu((cpu_cache_gib or 0) * _GIB)
    shape = read_shape(_config(model))
    found, table = memory_plan(shape, where, serving), quantization_table(shape, where, serving)
    if as_json:
        document({**found.json(), "quantizations": [row.json() for row in table]})
    else:
        _say(found, table, serving)
    if not found.fits:
        raise typer.Exit(1)


def _config(model: Path) -> str:
    """The text of a model's config.json.

    Raises:
        SettingsError: it cannot be read.
    """
    path = model / "config.json" if model.is_dir() else model
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as wrong:
        raise SettingsError(f"{path} cannot be read: {wrong}. Name a model's folder or its config.json.") from None


def _say(found: MemoryPlan, table: tuple[QuantizationRow, ...], serving: Serving) -> None:
    show(Table((Column("memory"), Column("")), found.rows()))
    columns = (
        Column("format"),
        Column("kernel"),
        Column("weights", right=True),
        Column("less than 16 bit", right=True),
        Column("fits"),
        Column("KV tokens", right=True),
        Column("sequences", right=True),
    )
    rows = [
        (
            row.quantization,
            row.kernel,
            f"{row.weights_bytes / _GIB:,.1f} GiB",
            f"{row.saved_share:.0%}",
            "yes" if row.fits else "no",
            f"{row.kv_tokens:,}",
            f"{row.sequences:,}",
        )
        for row in table
    ]
    say("")
    show(Table(columns, tuple(rows)))
    say(f"Formats side by side on {serving.devices} × {found.machine}, sequences of {found.context:,} tokens.")
