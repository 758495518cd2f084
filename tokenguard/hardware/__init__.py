"""What a model needs of a GPU: shapes from config.json, data sheets, and the memory arithmetic between them.

Nothing here reads a file, imports torch or starts anything; docs/hardware.md states every formula with its source.
"""

from tokenguard.hardware.advice import QuantizationRow, memory_plan, quantization_table
from tokenguard.hardware.gpus import GPUS, Gpu, find_gpu
from tokenguard.hardware.kv import KvLayout, kv_bytes_per_token, kv_layout
from tokenguard.hardware.models import FAMILIES, read_shape
from tokenguard.hardware.overheads import Overheads
from tokenguard.hardware.plan import MemoryPlan, StagePlan
from tokenguard.hardware.quantization import QUANTIZATIONS, Quantization, find_quantization
from tokenguard.hardware.serving import Cpu, Serving
from tokenguard.hardware.shape import Experts, LatentAttention, ModelShape
from tokenguard.hardware.weights import Parameters, checkpoint_bytes, count_parameters, split_layers, stage_bytes

__all__ = [
    "FAMILIES",
    "GPUS",
    "QUANTIZATIONS",
    "Cpu",
    "Experts",
    "Gpu",
    "KvLayout",
    "LatentAttention",
    "MemoryPlan",
    "ModelShape",
    "Overheads",
    "Parameters",
    "Quantization",
    "QuantizationRow",
    "Serving",
    "StagePlan",
    "checkpoint_bytes",
    "count_parameters",
    "find_gpu",
    "find_quantization",
    "kv_bytes_per_token",
    "kv_layout",
    "memory_plan",
    "quantization_table",
    "read_shape",
    "split_layers",
    "stage_bytes",
]
