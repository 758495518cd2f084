"""Bytes of the KV cache: per token, per block, per sequence, and how many sequences a budget holds.

vLLM cuts the cache into blocks of tokens. Layers that look back equally far form groups of one size, a block belongs to
one group, and a sequence needs blocks in each of them (`get_kv_cache_groups` in vllm/v1/core/kv_cache_utils.py). Groups
are filled up to one size, so a model with 10 full and 52 windowed layers pays for 70.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenguard.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenguard.hardware.shape import ModelShape

__all__ = ["KvLayout", "kv_bytes_per_token", "kv_layout"]

_NUMBER_BYTES: Final = {"auto": 2, "bfloat16": 2, "float16": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}
_NEARLY_EQUAL: Final = 1.5
"""Kinds of layers whose counts differ by less form groups of the larger count instead of the smaller (vLLM)."""


@dataclass(frozen=True, slots=True)
class KvLayout:
    """How the cache of some layers lies on one GPU.

    Attributes:
        block_tokens: Tokens of a block.
        block_bytes: Of one block of one group on one GPU, its filled-up layers included.
        windows: Per group, how far its layers look back; None: over everything. (groups,)
    """

    block_tokens: int
    block_bytes: int
    windows: tuple[int | None, ...]

    def blocks_of(self, context: int, batched_tokens: int) -> int:
        """Blocks that one sequence needs at its longest.

        A windowed group keeps the window and the tokens of the step that is running, and one block that is partly out
        of sight (`SlidingWindowSpec.max_memory_usage_bytes`).

        Args:
            context: Tokens of the sequence, >= 1.
            batched_tokens: Tokens of one step, over all sequences.
        """
        needed = 0
        for window in self.windows:
            if window is None:
                needed += -(-context // self.block_tokens)
            else:
                needed += -(-min(window - 1 + batched_tokens, context) // self.block_tokens) + 1
        return needed

    def bytes_of(self, context: int, batched_tokens: int) -> int:
        """Bytes of those blocks on one GPU."""
        return self.blocks_of(context, batched_tokens) * self.block_bytes


def kv_bytes_per_token(shape: ModelShape, kv_dtype: str = "auto") -> int:
    """Bytes that one token adds to the cache of the whole model, while no window has slid.

    `layers × 2 × KV heads × head size × bytes`; with latent attention `layers × (kv_rank + rope_size) × bytes`.

    Args:
        shape: Of the model.
        kv_dtype: As vLLM's `--kv-cache-dtype`: `auto` (16 bit) or `fp8`.
    """
    return shape.layers * _layer_bytes(shape, kv_dtype, 1)


def kv_layout(
    shape: ModelShape, layers: range, *, kv_dtype: str = "auto", tensor_parallel: int = 1, block_tokens: int = 16
) -> KvLayout:
    """How the cache of a pipeline stage lies on each of its GPUs.

    Args:
        shape: Of the model.
        layers: Those of the stage, by index.
        kv_dtype: As vLLM's `--kv-cache-dtype`.
        tensor_parallel: GPUs that share the KV heads. With more GPUs than heads each has one; a latent cache is whole
            on every GPU.
        block_tokens: As vLLM's `--block-size`: 16 on GPUs, 128 on CPUs.
    """
    size, windows = _groups([shape.windows[layer] for layer in layers])
    return KvLayout(block_tokens, size * block_tokens * _layer_bytes(shape, kv_dtype, tensor_parallel), windows)


def _groups(windows: Sequence[int | None]) -> tuple[int, tuple[int | None, ...]]:
    """Layers of each group, and the window of each."""
    kinds = Counter(windows)
    fewest, most = min(kinds.values()), max(kinds.values())
    size = most if most < _NEARLY_EQUAL * fewest else fewest
    return size, tuple(window for window, count in kinds.items() for _ in range(-(-count // size)))


def _layer_bytes(shape: ModelShape, kv_dtype: str, tensor_parallel: int) -> int:
    """Bytes of one token in one layer on one GPU."""
    number = _NUMBER_BYTES.get(kv_dtype)
    if number is None:
        raise SettingsError(
            f"kv_dtype={kv_dtype!r} has no formula here: give one of {', '.join(_NUMBER_BYTES)}.", kv_dtype=kv_dtype
        )
    if shape.latent is not None:
        return (shape.latent.kv_rank + shape.latent.rope_size) * number
    return 2 * -(-shape.kv_heads // tensor_parallel) * shape.head_size * number
