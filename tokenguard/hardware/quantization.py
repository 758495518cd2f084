"""Formats of weights: how many bytes a matrix takes in each, with scales and zero points, and what stays in 16 bit.

Only matrices of decoder layers are quantized. Embeddings, the output layer, norms, biases, routers and image encoders
stay in 16 bit, as in the public checkpoints of every method here and as vLLM does it itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from tokenguard.core.untrusted import mapping_of
from tokenguard.errors import SettingsError
from tokenguard.hardware.fields import Fields

if TYPE_CHECKING:
    from tokenguard.hardware.matrices import Matrix, Part

__all__ = ["QUANTIZATIONS", "Quantization", "find_quantization", "read_quantization"]

_LINEAR: Final[frozenset[Part]] = frozenset({"attention", "mlp", "experts", "shared_experts"})
_EXPERTS: Final[frozenset[Part]] = frozenset({"experts"})
_BYTE: Final = 8


@dataclass(frozen=True, slots=True)
class Quantization:
    """One format.

    Attributes:
        name: As users write it.
        number_format: What the GPU needs a kernel for: `16bit`, `fp8`, `int8`, `int4`, `nvfp4` or `mxfp4`.
        bits: Per quantized weight.
        group: Inputs that share a scale; None: all inputs of an output do; 0: there are no scales.
        block: Outputs that share a scale.
        scale_bytes: Per scale.
        zero_bits: Per zero point, of which there is one beside each scale; 0: symmetric.
        inputs_multiple: Kernels fill the inputs up to a multiple of this when they load a matrix.
        parts: What is quantized; the rest is 16 bit.
    """

    name: str
    number_format: str
    bits: int
    group: int | None = None
    block: int = 1
    scale_bytes: int = 0
    zero_bits: int = 0
    inputs_multiple: int = 1
    parts: frozenset[Part] = _LINEAR

    def loaded(self, matrix: Matrix) -> Matrix:
        """The matrix as it lies on a GPU."""
        if matrix.part not in self.parts:
            return matrix
        return replace(matrix, inputs=-(-matrix.inputs // self.inputs_multiple) * self.inputs_multiple)

    def matrix_bytes(self, matrix: Matrix) -> int:
        """Bytes of a matrix, all copies, in this format or in 16 bit where it stays out."""
        if matrix.part not in self.parts:
            return 2 * matrix.parameters
        weights = -(-matrix.inputs * matrix.outputs * self.bits // _BYTE)
        if self.group == 0:
            return weights * matrix.copies
        groups = 1 if self.group is None else -(-matrix.inputs // self.group)
        scales = groups * -(-matrix.outputs // self.block)
        return (weights + scales * self.scale_bytes + -(-scales * self.zero_bits // _BYTE)) * matrix.copies


QUANTIZATIONS: Final[Mapping[str, Quantization]] = {
    one.name: one
    for one in (
        Quantization("16bit", "16bit", 16, group=0),
        # vLLM's fp8: one float32 scale per output channel; per tensor it is less still.
        Quantization("fp8", "fp8", 8, scale_bytes=4),
        # DeepSeek-V3 and Qwen3 FP8: a float32 scale per 128 × 128 block (`weight_block_size`).
        Quantization("fp8_block", "fp8", 8, group=128, block=128, scale_bytes=4),
        # vLLM's int8_per_channel_weight_only.
        Quantization("int8", "int8", 8, scale_bytes=4),
        # AutoAWQ and GPTQ: a 16-bit scale and a 4-bit zero point per group of 128 inputs.
        Quantization("awq", "int4", 4, group=128, scale_bytes=2, zero_bits=4),
        Quantization("gptq", "int4", 4, group=128, scale_bytes=2, zero_bits=4),
        # NVIDIA ModelOpt: an fp8 scale per 16 inputs, and a float32 one per tensor that does not count.
        Quantization("nvfp4", "nvfp4", 4, group=16, scale_bytes=1),
        # OCP Microscaling: an 8-bit exponent per 32 inputs. gpt-oss has only its experts in it, as vLLM's mxfp4 method.
        # On an H100 vLLM 0.11 was measured with gpt-oss at 13.47 and 64.38 GiB: its widths of 2,880 filled up to 3,072.
        Quantization("mxfp4", "mxfp4", 4, group=32, scale_bytes=1, inputs_multiple=256, parts=_EXPERTS),
    )
}
"""The formats by name, in the order in which tables show them."""

_ALIASES: Final = {
    "none": "16bit",
    "bf16": "16bit",
    "bfloat16": "16bit",
    "fp16": "16bit",
    "float16": "16bit",
    "int8_per_channel_weight_only": "int8",
    "awq_marlin": "awq",
    "gptq_marlin": "gptq",
    "modelopt": "fp8",
    "modelopt_fp4": "nvfp4",
}


def find_quantization(name: str) -> Quantization:
    """The format that a name means, vLLM's own names included.

    Raises:
        SettingsError: The name is not known; the sentence lists those that are.
    """
    key = name.lower().replace("-", "_")
    found = QUANTIZATIONS.get(_ALIASES.get(key, key))
    if found is None:
        raise SettingsError(
            f"quantization {name!r} is not known: give one of {', '.join(QUANTIZATIONS)}.", quantization=name
        )
    return found


def read_quantization(config: Mapping[str, Any]) -> Quantization | None:
    """How a checkpoint is quantized, from the `quantization_config` of its config.json; None where it is not.

    Lists of modules that stay in 16 bit are not read: embeddings, output layer and routers do so in every case.

    Raises:
        SettingsError: The method, or its number of bits, has no formula here.
    """
    stored = mapping_of(config.get("quantization_config"))
    if not stored:
        return None
    method = str(stored.get("quant_method", "")).lower()
    bits = stored.get("bits", 4)
    if method in ("awq", "gptq") and bits in (4, 8):
        return replace(
            QUANTIZATIONS[method],
            number_format=f"int{int(bits)}",
            bits=int(bits),
            group=_group(stored, 128),
            zero_bits=int(bits),
        )
    if method == "fp8":
        return QUANTIZATIONS["fp8_block" if stored.get("weight_block_size") else "fp8"]
    if method == "mxfp4":
        return QUANTIZATIONS["mxfp4"]
    if method == "modelopt" and str(stored.get("quant_algo")) in ("FP8", "NVFP4"):
        return QUANTIZATIONS[str(stored["quant_algo"]).lower()]
    if method == "compressed-tensors":
        return _compressed(stored)
    raise SettingsError(
        f"quantization_config: method {method!r} (bits {bits}) has no formula here; known are awq, gptq, fp8, mxfp4, "
        "modelopt and compressed-tensors. Plan with the 16-bit checkpoint and quantization=.",
        quantization=method,
    )


def _compressed(stored: Mapping[str, Any]) -> Quantization:
    """The first group of compressed-tensors (llm-compressor): its bits, type and strategy."""
    groups = list(mapping_of(stored.get("config_groups")).values())
    weights = mapping_of(mapping_of(groups[0] if groups else None).get("weights"))
    bits, kind = weights.get("num_bits"), weights.get("type")
    match bits, kind:
        case 8, "float":
            return QUANTIZATIONS["fp8_block" if weights.get("strategy") == "block" else "fp8"]
        case 8, "int":
            return QUANTIZATIONS["int8"]
        case 4, "float":
            return QUANTIZATIONS["nvfp4"]
        case 4, "int":
            zeros = 0 if weights.get("symmetric", True) else 4
            return replace(QUANTIZATIONS["gptq"], group=_group(weights, None), zero_bits=zeros)
        case _:
            raise SettingsError(
                f"quantization_config: compressed-tensors with {bits} bits of type {kind!r} has no formula here; known "
                "are 8 and 4 bits, float and int. Plan with the 16-bit checkpoint and quantization=.",
                quantization="compressed-tensors",
            )


def _group(stored: Mapping[str, Any], default: int | None) -> int | None:
    """Inputs that share a scale; None: all of an output. AutoGPTQ writes that as -1."""
    size = stored.get("group_size", default)
    return None if size in (None, -1) else Fields(stored, "quantization_config.").count("group_size", default)
