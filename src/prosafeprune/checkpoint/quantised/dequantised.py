"""A matrix in floating point, made from the tensors that a quantised checkpoint stores for it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from prosafeprune.checkpoint.quantised.stored_numbers import read_number
from prosafeprune.checkpoint.safetensors_file import StoredTensor
from prosafeprune.errors import InputError

Tensors = Mapping[str, StoredTensor]
"""A checkpoint's tensors, by name."""
Settings = Mapping[str, Any]
"""A checkpoint's ``quantization_config``."""
Parts = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class DequantisedMatrix:
    """A matrix of the 16-bit checkpoint."""

    shape: tuple[int, ...]
    parts: Tensors
    """The tensors it is made from, by their role; the first holds its numbers, and decides its shard."""
    compute: Callable[[Parts], torch.Tensor]
    """Computes the matrix in float32 from the parts."""

    @property
    def stored(self) -> StoredTensor:
        """The tensor that holds its numbers."""
        return next(iter(self.parts.values()))

    def read(self) -> torch.Tensor:
        """Return the matrix in float32."""
        return self.compute({role: read_number(part) for role, part in self.parts.items()}).reshape(self.shape)


@dataclass
class CheckpointLayout:
    """What a checkpoint's tensors are, in one format."""

    matrices: dict[str, DequantisedMatrix] = field(default_factory=dict)
    """Dequantised matrices by their names in the 16-bit checkpoint."""
    dropped: set[str] = field(default_factory=set)
    """Tensors that have no use in 16 bits, such as scales of activations."""

    @property
    def used(self) -> set[StoredTensor]:
        """Every tensor that becomes part of a matrix."""
        return {part for matrix in self.matrices.values() for part in matrix.parts.values()}


def named(tensors: Tensors, ending: str) -> Iterator[tuple[str, StoredTensor]]:
    """Yield the tensors whose names end so, each with the name before that ending."""
    for name, tensor in tensors.items():
        if name.endswith(ending):
            yield name.removesuffix(ending), tensor


def part(tensors: Tensors, name: str) -> StoredTensor:
    """Return a tensor that another one needs. Raises InputError when it is missing."""
    if name not in tensors:
        raise InputError(f"{name}: is missing from the quantised checkpoint. Fetch the model again.")
    return tensors[name]


def parts(tensors: Tensors, **names: str) -> dict[str, StoredTensor]:
    """Return tensors by role; those that do not exist are left out."""
    return {role: tensors[name] for role, name in names.items() if name in tensors}


def require_shape(fits: bool, name: str) -> None:
    """Raise InputError unless the tensors of a matrix fit each other."""
    if not fits:
        raise InputError(f"{name}: its scales do not fit its shape. Fetch the model again.")


def spread(scale: torch.Tensor, shape: tuple[int, ...], block: tuple[int, int]) -> torch.Tensor:
    """Return scales of blocks for each entry of a matrix; the last block of rows or columns may be cut off.

    Args:
        scale: ``(..., ceil(rows / block[0]), ceil(columns / block[1]))``.
        shape: ``(..., rows, columns)``.
        block: rows and columns of a block.
    """
    rows, columns = shape[-2:]
    # A foreign file may name blocks of any size.
    wide = scale.repeat_interleave(min(block[1], columns), -1)[..., :columns]
    return wide.repeat_interleave(min(block[0], rows), -2)[..., :rows, :]


def group_of_inputs(parts: Parts, inputs: int, groups: int) -> torch.Tensor:
    """Return the group of each input: as stored, or one group after the other. Raises ValueError when there is none."""
    if "order" not in parts:
        if inputs % groups:
            raise ValueError("groups of different sizes")
        return torch.arange(inputs) // (inputs // groups)
    order = parts["order"].long()
    if len(order) != inputs or not bool(((order >= 0) & (order < groups)).all()):
        raise ValueError("an input without a group")
    return order
