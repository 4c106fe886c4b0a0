"""The layouts of bitsandbytes, read without the library: 4 bits (NF4, FP4) and LLM.int8()."""

import json
from functools import partial
from typing import Any

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
)
from prosafeprune.checkpoint.quantised.stored_numbers import read_number
from prosafeprune.checkpoint.safetensors_file import StoredTensor
from prosafeprune.errors import InputError

STATE = ".weight.quant_state.bitsandbytes__"


def bitsandbytes(tensors: Tensors, settings: Settings) -> CheckpointLayout:
    """Return the layout of ``quant_method: bitsandbytes``.

    Raises:
        InputError: an int8 matrix in a layout other than rows.
    """
    found = CheckpointLayout()
    for kind in ("nf4", "fp4"):
        for name, state in named(tensors, f"{STATE}{kind}"):
            found.matrices[f"{name}.weight"] = _four_bits(tensors, name, _read_state(state, name))
            found.dropped.add(f"{name}{STATE}{kind}")
    for name, scale in named(tensors, ".SCB"):
        weight = part(tensors, f"{name}.weight")
        require_shape(len(weight.shape) == 2 and scale.shape == weight.shape[:1], name)
        found.matrices[f"{name}.weight"] = DequantisedMatrix(weight.shape, {"numbers": weight, "scale": scale}, _int8)
        layout = tensors.get(f"{name}.weight_format")
        if layout is not None:
            if bool(read_number(layout).any()):
                raise InputError(f"bitsandbytes in int8 with a tiled layout ({name}) cannot be read")
            found.dropped.add(f"{name}.weight_format")
    return found


def _int8(parts: Parts) -> torch.Tensor:
    return parts["numbers"].float() * (parts["scale"].float() / 127).unsqueeze(1)


def _read_state(stored: StoredTensor, name: str) -> dict[str, Any]:
    try:
        state = json.loads(bytes(read_number(stored).tolist()))
        shape, size = tuple(map(int, state["shape"])), int(state["blocksize"])
        nested = (float(state["nested_offset"]), int(state["nested_blocksize"])) if "nested_offset" in state else None
        if min(shape) < 1 or size < 1 or (nested is not None and nested[1] < 1):
            raise ValueError("sizes below 1")
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(f"{name}: its quantisation state cannot be read. Fetch the model again.") from error
    return {"shape": shape, "size": size, "nested": nested}


def _four_bits(tensors: Tensors, name: str, state: dict[str, Any]) -> DequantisedMatrix:
    """A table of 16 values times the largest magnitude of each block, which may be quantised in blocks again."""
    roles = {"numbers": "weight", "largest": "weight.absmax", "values": "weight.quant_map"}
    if state["nested"] is not None:
        roles |= {"nested": "weight.nested_absmax", "nested_values": "weight.nested_quant_map"}
    of = {role: part(tensors, f"{name}.{suffix}") for role, suffix in roles.items()}
    count = torch.Size(state["shape"]).numel()
    blocks = -(-count // state["size"])
    packed = of["numbers"].end - of["numbers"].start
    require_shape(packed == -(-count // 2) and of["largest"].shape[0] == blocks, name)
    if state["nested"] is not None:
        require_shape(of["nested"].shape[0] == -(-blocks // state["nested"][1]), name)
    return DequantisedMatrix(state["shape"], of, partial(_from_four_bits, state=state, count=count))


def _from_four_bits(parts: Parts, state: dict[str, Any], count: int) -> torch.Tensor:
    # bnb_4bit_quant_storage may have stored the bytes as numbers of another dtype.
    numbers, largest = parts["numbers"].flatten().view(torch.uint8), parts["largest"]
    if state["nested"] is not None:
        offset, size = state["nested"]
        outer = parts["nested"].float().repeat_interleave(min(size, len(largest)))[: len(largest)]
        largest = parts["nested_values"].float()[largest.int()] * outer + offset
    digits = torch.stack([numbers >> 4, numbers & 15], 1).flatten()[:count].int()
    return parts["values"].float()[digits] * largest.float().repeat_interleave(min(state["size"], count))[:count]
