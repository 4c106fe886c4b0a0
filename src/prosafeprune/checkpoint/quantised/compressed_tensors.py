"""The formats of the compressed-tensors library (llm-compressor, vLLM): FP8, INT8, packed 4-bit integers, NVFP4."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from prosafeprune.checkpoint.quantised.dequantised import (
    CheckpointLayout,
    DequantisedMatrix,
    Parts,
    Settings,
    Tensors,
    group_of_inputs,
    named,
    part,
    parts,
    require_shape,
    spread,
)
from prosafeprune.checkpoint.quantised.stored_numbers import powers_of_two, read_number, unpack_fp4, unpack_words
from prosafeprune.checkpoint.safetensors_file import StoredTensor
from prosafeprune.errors import InputError

READ = {
    "dense",
    "naive-quantized",
    "float-quantized",
    "int-quantized",
    "pack-quantized",
    "nvfp4-pack-quantized",
    "mxfp4-pack-quantized",
}
OF_ACTIVATIONS = (
    ".input_scale",
    ".input_zero_point",
    ".input_global_scale",
    ".output_scale",
    ".output_zero_point",
    ".k_scale",
    ".v_scale",
    ".q_scale",
)
FP4_GROUPS = {16, 32}


def compressed_tensors(tensors: Tensors, settings: Settings) -> CheckpointLayout:
    """Return the layout of ``quant_method: compressed-tensors``: ``w = (q - zero point) * scale``.

    Raises:
        InputError: weights that are sparse, rotated or in a format other than those above.
    """
    groups = [group for group in (settings.get("config_groups") or {}).values() if isinstance(group, dict)]
    stated = {
        str(scheme["format"]) for scheme in [settings, *groups] if scheme.get("format") not in (None, "mixed-precision")
    }
    sparsity = settings.get("sparsity_config") or {}
    if unknown := sorted(stated - READ):
        raise InputError(f"compressed-tensors in the format {unknown[0]} cannot be read")
    if sparsity.get("format", "dense") != "dense":
        raise InputError(f"compressed-tensors with sparse weights ({sparsity['format']}) cannot be read")
    if settings.get("transform_config"):
        raise InputError("compressed-tensors with rotated weights (transform_config) cannot be read")
    found = CheckpointLayout(dropped={name for name in tensors if name.endswith(OF_ACTIVATIONS)})
    block = next(_blocks(groups), None)
    for name, scale in named(tensors, ".weight_scale"):
        of = parts(
            tensors,
            numbers=f"{name}.weight",
            packed=f"{name}.weight_packed",
            zero=f"{name}.weight_zero_point",
            order=f"{name}.weight_g_idx",
            total=f"{name}.weight_global_scale",
        )
        if "numbers" not in of and "packed" not in of:
            part(tensors, f"{name}.weight_packed")
        of["scale"] = scale
        if "packed" not in of:
            matrix = _plain(of, block, name)
        elif of["packed"].dtype == "U8":
            matrix = _four_bit_floats(of, name)
        else:
            matrix = _packed(of, part(tensors, f"{name}.weight_shape"), name)
            found.dropped.add(f"{name}.weight_shape")
        found.matrices[f"{name}.weight"] = matrix
    return found


def _blocks(groups: list[dict[str, Any]]) -> Iterator[tuple[int, int]]:
    for group in groups:
        structure = (group.get("weights") or {}).get("block_structure")
        if isinstance(structure, list | tuple) and len(structure) == 2:
            yield int(structure[0]), int(structure[1])


def _plain(of: dict[str, StoredTensor], block: tuple[int, int] | None, name: str) -> DequantisedMatrix:
    """One number per byte: FP8 or INT8 with a scale per matrix, row, group of columns or block."""
    shape = of["numbers"].shape
    if "order" in of:
        rows = of["scale"].shape[0]
        require_shape(len(shape) == len(of["scale"].shape) == 2 and rows == shape[0], name)
        return DequantisedMatrix(shape, of, _from_ordered)
    step = _step(shape, of["scale"].shape, block)
    require_shape(len(shape) == 2 and step is not None, name)
    assert step is not None
    return DequantisedMatrix(shape, of, partial(_from_plain, step=step))


def _step(shape: tuple[int, ...], scale: tuple[int, ...], block: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return the rows and columns that share a scale; None when the shapes do not fit."""
    rows, columns = shape[0], shape[-1]
    if len(scale) < 2:
        scale = (*scale, 1) if scale else (1, 1)
    if block is not None and scale == (-(-rows // block[0]), -(-columns // block[1])):
        return block
    if scale[0] in (1, rows) and columns % scale[1] == 0:
        return rows // scale[0], columns // scale[1]
    return None


def _from_plain(parts: Parts, step: tuple[int, int]) -> torch.Tensor:
    numbers, shape = parts["numbers"].float(), tuple(parts["numbers"].shape)

    def wide(values: torch.Tensor) -> torch.Tensor:
        values = values.float()
        return spread(values if values.ndim == 2 else values.reshape(-1, 1), shape, step)

    return (numbers - wide(parts["zero"]) if "zero" in parts else numbers) * wide(parts["scale"])


def _from_ordered(parts: Parts) -> torch.Tensor:
    zero = parts["zero"].float() if "zero" in parts else torch.zeros_like(parts["scale"], dtype=torch.float32)
    return _in_groups(parts, parts["numbers"].float(), zero)


def _in_groups(parts: Parts, numbers: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
    """Dequantise by groups of columns; a -1 among the stored groups means that these were never set."""
    if "order" in parts and bool((parts["order"] == -1).any()):
        parts = {name: stored for name, stored in parts.items() if name != "order"}
    scale = parts["scale"].float()
    group = group_of_inputs(parts, numbers.shape[1], scale.shape[1])
    return (numbers - zero[:, group]) * scale[:, group]


def _packed(of: dict[str, StoredTensor], stored_shape: StoredTensor, name: str) -> DequantisedMatrix:
    """Integers of 4 or 8 bits in 32-bit words, with an offset of half their range; zero points too, by columns."""
    rows, columns = (int(size) for size in read_number(stored_shape).tolist())
    packed, scale = of["packed"].shape, of["scale"].shape
    bits = next((width for width in (4, 8) if packed == (rows, -(-columns * width // 32))), None)
    require_shape(bits is not None and scale[0] == rows and (columns % scale[1] == 0 or "order" in of), name)
    assert bits is not None
    return DequantisedMatrix((rows, columns), of, partial(_from_packed, bits=bits, shape=(rows, columns)))


def _from_packed(parts: Parts, bits: int, shape: tuple[int, int]) -> torch.Tensor:
    rows, columns = shape
    numbers = unpack_words(parts["packed"], bits)[:, :columns].float()
    zero = torch.full_like(parts["scale"], 2 ** (bits - 1), dtype=torch.float32)
    if "zero" in parts:
        zero = unpack_words(parts["zero"].T, bits).T[:rows].float()
    return _in_groups(parts, numbers, zero)


def _four_bit_floats(of: dict[str, StoredTensor], name: str) -> DequantisedMatrix:
    """Return NVFP4, whose scales are FP8 times one number for the matrix, or MXFP4, whose scales are powers of two."""
    rows, half = of["packed"].shape
    groups = of["scale"].shape[-1]
    require_shape(of["scale"].shape == (rows, groups) and 2 * half // groups in FP4_GROUPS, name)
    return DequantisedMatrix((rows, 2 * half), of, _from_four_bit_floats)


def _from_four_bit_floats(parts: Parts) -> torch.Tensor:
    scale, values = parts["scale"], unpack_fp4(parts["packed"])
    scale = powers_of_two(scale) if scale.dtype == torch.uint8 else scale.float()
    if "total" in parts:
        scale = scale / parts["total"].float()
    return values * scale.repeat_interleave(values.shape[1] // scale.shape[1], 1)
