"""8-bit and 4-bit floats with scales of blocks: FP8 (DeepSeek, Qwen3, Mistral) and MXFP4 (gpt-oss)."""

import math

import torch

from prosafeprune.checkpoint.quantised.dequantised import (
    CheckpointLayout,
    DequantisedMatrix,
    Parts,
    Settings,
    Tensors,
    named,
    part,
    require_shape,
    spread,
)
from prosafeprune.checkpoint.quantised.stored_numbers import powers_of_two, unpack_fp4
from prosafeprune.checkpoint.safetensors_file import StoredTensor

SCALES_OF_ACTIVATIONS = (".activation_scale", ".input_scale")


def fine_grained_fp8(tensors: Tensors, settings: Settings) -> CheckpointLayout:
    """Return the layout of ``quant_method: fp8``: ``w = weight * weight_scale_inv`` of its block, or of the matrix."""
    found = CheckpointLayout(dropped={name for name in tensors if name.endswith(SCALES_OF_ACTIVATIONS)})
    rows, columns = settings.get("weight_block_size") or (0, 0)
    for name, scale in named(tensors, "_scale_inv"):
        weight = part(tensors, name)
        block = (int(rows), int(columns)) if math.prod(scale.shape) > 1 else (0, 0)
        require_shape(_fits(weight, scale, block), name)

        def compute(parts: Parts, block: tuple[int, int] = block) -> torch.Tensor:
            weight, scale = parts["weight"].float(), _scales(parts["scale"])
            return weight * (spread(scale, tuple(weight.shape), block) if block[0] else scale.reshape(()))

        found.matrices[name] = DequantisedMatrix(weight.shape, {"weight": weight, "scale": scale}, compute)
    return found


def mxfp4(tensors: Tensors, settings: Settings) -> CheckpointLayout:
    """Return the layout of ``quant_method: mxfp4``: blocks of 32 4-bit floats along the inputs share a power of two.

    gpt-oss stores an expert's matrix as ``(outputs, inputs)`` in blocks, and unquantised as ``(inputs, outputs)``.
    """
    found = CheckpointLayout()
    for name, blocks in named(tensors, "_blocks"):
        scales = part(tensors, f"{name}_scales")
        experts, outputs, groups, half = blocks.shape
        require_shape(scales.shape == (experts, outputs, groups), name)
        shape = (experts, groups * half * 2, outputs)
        found.matrices[name] = DequantisedMatrix(shape, {"blocks": blocks, "scales": scales}, _mxfp4)
    return found


def _mxfp4(parts: Parts) -> torch.Tensor:
    values = unpack_fp4(parts["blocks"]) * powers_of_two(parts["scales"]).unsqueeze(-1)
    return values.flatten(-2).transpose(1, 2)


def _scales(stored: torch.Tensor) -> torch.Tensor:
    return powers_of_two(stored) if stored.dtype == torch.uint8 else stored.float()


def _fits(weight: StoredTensor, scale: StoredTensor, block: tuple[int, int]) -> bool:
    if not weight.dtype.startswith("F8") or len(weight.shape) < 2:
        return False
    if math.prod(scale.shape) == 1:
        return True
    if min(block) < 1:
        return False
    expected = (*weight.shape[:-2], *(-(-size // step) for size, step in zip(weight.shape[-2:], block, strict=True)))
    return scale.shape == expected
