"""Which layers look back over the whole context, and which over a window only."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from tokenguard.core.untrusted import list_of
from tokenguard.errors import SettingsError
from tokenguard.hardware.fields import Fields

__all__ = ["Windows", "alternating", "everywhere", "late", "nowhere", "read_windows"]

Windows: TypeAlias = Callable[[Fields, int], bool]
"""Whether a layer, by its index, has the window of the config."""


def nowhere(_: Fields, __: int) -> bool:
    """No layer (Llama)."""
    return False


def everywhere(_: Fields, __: int) -> bool:
    """All layers, where the config has a window at all (Mistral, Phi-3)."""
    return True


def late(fields: Fields, layer: int) -> bool:
    """Layers from `max_window_layers` on, and only with `use_sliding_window` (Qwen)."""
    return bool(fields.get("use_sliding_window")) and layer >= fields.count("max_window_layers", 0)


def alternating(period: int) -> Windows:
    """All but every `period`-th layer (Gemma, gpt-oss); a config may name another period."""

    def in_window(fields: Fields, layer: int) -> bool:
        return (layer + 1) % fields.count("sliding_window_pattern", period) != 0

    return in_window


def read_windows(fields: Fields, layers: int, pattern: Windows) -> tuple[int | None, ...]:
    """Tokens that each layer looks back, and None for all of them: (layers,).

    Args:
        fields: Of the config; its `layer_types` go before the pattern.
        layers: How many there are.
        pattern: That of the family.
    """
    if fields.get("sliding_window") is None:
        return (None,) * layers
    window = fields.count("sliding_window")
    kinds = list_of(fields.get("layer_types"))
    if not kinds:
        return tuple(window if pattern(fields, layer) else None for layer in range(layers))
    if len(kinds) != layers:
        raise SettingsError(
            f"config.json: layer_types names {len(kinds)} layers and num_hidden_layers {layers}; "
            "one of the two is wrong.",
            layers=layers,
        )
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)
