"""Parameters and bytes of a model: exactly, by part, whole or on one GPU of a parallel group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tokenguard.errors import SettingsError
from tokenguard.hardware.matrices import (
    PARTS,
    Matrix,
    Part,
    embedding,
    final_norm,
    layer_matrices,
    output_layer,
    vision,
)

if TYPE_CHECKING:
    from tokenguard.hardware.quantization import Quantization
    from tokenguard.hardware.shape import ModelShape

__all__ = ["Parameters", "checkpoint_bytes", "count_parameters", "split_layers", "stage_bytes"]


@dataclass(frozen=True, slots=True)
class Parameters:
    """How many numbers a model has.

    Attributes:
        parts: By part, in a fixed order, without those of size 0.
        total: All of them; a tied output layer counts once.
        active: Of them, those that one token meets: all but the routed experts it is not sent to.
        multiplied: Of the active ones, those that are multiplied: a row is looked up in the embedding table, not the
            whole table read. This is OpenAI's way to count gpt-oss.
    """

    parts: dict[Part, int]
    total: int
    active: int
    multiplied: int


def count_parameters(shape: ModelShape) -> Parameters:
    """Parameters of a model, exact for text models; an image encoder is counted nearly."""
    experts = shape.experts
    found = dict.fromkeys(PARTS, 0)
    active = 0
    for matrix in _matrices(shape, range(shape.layers), first=True, last=True):
        found[matrix.part] += matrix.parameters
        met = experts.per_token if experts and matrix.routed else 1
        active += matrix.parameters * met // (experts.count if experts and matrix.routed else 1)
    table = 0 if shape.tied else found["embeddings"]
    parts: dict[Part, int] = {part: count for part, count in found.items() if count}
    return Parameters(parts, sum(found.values()), active, active - table)


def _matrices(shape: ModelShape, layers: range, *, first: bool, last: bool) -> Iterator[Matrix]:
    """The matrices of some layers, with the embeddings before them and the output layer behind them."""
    if first:
        yield embedding(shape)
        if shape.vision_parameters:
            yield vision(shape)
    for layer in layers:
        yield from layer_matrices(shape, sparse=shape.is_sparse(layer))
    if last:
        yield final_norm(shape)
        if not shape.tied:
            yield output_layer(shape)
        elif not first:
            # The last stage of a pipeline multiplies with the table that the first one looks up in.
            yield replace(output_layer(shape), part="embeddings")


def checkpoint_bytes(shape: ModelShape, quantization: Quantization) -> dict[Part, int]:
    """Bytes of the weights in a checkpoint, by part: its safetensors without their headers."""
    return _bytes(_matrices(shape, range(shape.layers), first=True, last=True), quantization)


def stage_bytes(
    shape: ModelShape, quantization: Quantization, layers: range, tensor_parallel: int = 1
) -> dict[Part, int]:
    """Bytes of the weights on one GPU, by part.

    Args:
        shape: Of the model.
        quantization: In which format it is served.
        layers: Those of the GPU's pipeline stage, by index, in order.
        tensor_parallel: GPUs that share each matrix of the stage, >= 1.
    """
    first, last = layers.start == 0, layers.stop == shape.layers
    whole = _matrices(shape, layers, first=first, last=last)
    return _bytes((quantization.loaded(one.on_one_of(tensor_parallel)) for one in whole), quantization)


def _bytes(matrices: Iterator[Matrix], quantization: Quantization) -> dict[Part, int]:
    found = dict.fromkeys(PARTS, 0)
    for matrix in matrices:
        found[matrix.part] += quantization.matrix_bytes(matrix)
    return {part: size for part, size in found.items() if size}


def split_layers(layers: int, pipeline_parallel: int) -> tuple[range, ...]:
    """Which layers each pipeline stage has, as vLLM splits them (`get_pp_indices`).

    What is left over goes to the stages before the last one, from the back: the last has the output layer too.

    Raises:
        SettingsError: There are more stages than layers.
    """
    if pipeline_parallel > layers:
        raise SettingsError(
            f"pipeline_parallel={pipeline_parallel} needs a layer for each stage, and the model has {layers}: give at "
            f"most {layers}.",
            pipeline_parallel=pipeline_parallel,
            layers=layers,
        )
    counts = [layers // pipeline_parallel] * pipeline_parallel
    for back in range(2, layers % pipeline_parallel + 2):
        counts[-back] += 1
    stops = [sum(counts[: stage + 1]) for stage in range(pipeline_parallel)]
    return tuple(range(stop - count, stop) for stop, count in zip(stops, counts, strict=True))
