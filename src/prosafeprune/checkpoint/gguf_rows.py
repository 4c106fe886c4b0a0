"""Where a submodule's matrix is in a GGUF file: which rows of which tensor.

llama.cpp's converter renames tensors, splits or fuses some, and reorders the rows of others (Llama's q and k). As for
safetensors (:mod:`prosafeprune.checkpoint.names`), no table is used: a matrix is found by its rows' values in a tensor
of its layer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from prosafeprune.errors import InputError
from prosafeprune.model.submodule import Submodule


@dataclass(frozen=True)
class GgufRows:
    """Rows of a GGUF's tensor, seen as one matrix ``(rows, d_in)``, experts one below the other."""

    name: str
    rows: np.ndarray
    """For each row of the submodule's matrix, its index in the tensor."""


def dequantise_rows(data: np.ndarray, kind: Any) -> np.ndarray:
    """Return data as stored of a ``GGMLQuantizationType`` as float32 ``(rows, d_in)``."""
    from gguf.quants import dequantize

    values = dequantize(data, kind)
    return np.array(values.reshape(-1, values.shape[-1]), dtype=np.float32)  # not a view of the mapped file


class GgufRowFinder:
    """Finds submodules in the tensors of a GGUF, whose values the model in memory must still have."""

    def __init__(self, tensors: Mapping[str, Any]) -> None:
        self._tensors = tensors
        self._layer = -1
        self._values: dict[str, np.ndarray] = {}

    def find(self, submodule: Submodule) -> GgufRows:
        """Return where a submodule's matrix is.

        Raises:
            InputError: no tensor, or more than one, holds its rows; or two of these are equal, and in another order.
        """
        weight = submodule.weight().cpu().numpy() + 0.0  # no negative zeros, which compare equal and have other bytes
        found = [
            GgufRows(name, rows)
            for name, values in self._of_layer(submodule).items()
            if (rows := _rows_of(weight, values)) is not None
        ]
        if len(found) != 1:
            raise InputError(
                f"{submodule.name}: {'no' if not found else 'more than one'} tensor of the GGUF holds this matrix, so "
                "it cannot be written back. Leave out --format gguf."
            )
        return found[0]

    def _of_layer(self, submodule: Submodule) -> Mapping[str, np.ndarray]:
        """Return the matrices of a layer as they are in memory: rounded to float16, then to the dtype it runs in."""
        layer, dtype = submodule.layer, submodule.stored.dtype
        if layer != self._layer:
            self._layer = layer
            self._values = {
                name: as_loaded(dequantise_rows(one.data, one.tensor_type), dtype).float().numpy() + 0.0
                for name, one in self._tensors.items()
                if name.startswith(f"blk.{layer}.") and len(one.shape) > 1
            }
        return self._values


def as_loaded(values: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """Return values as the converted model has them in memory: through float16, in ``dtype``."""
    return torch.from_numpy(values).half().to(dtype)


def _rows_of(weight: np.ndarray, values: np.ndarray) -> np.ndarray | None:
    """Return the indices in ``values`` of the rows of ``weight``: consecutive if possible, else in any order."""
    count, width = weight.shape
    if values.shape[1] != width or len(values) < count:
        return None
    firsts = np.flatnonzero((values[: len(values) - count + 1] == weight[0]).all(1))
    for first in firsts:
        if np.array_equal(values[first : first + count], weight):
            return np.arange(first, first + count)
    index = {row.tobytes(): number for number, row in enumerate(values)}
    rows = [index.get(row.tobytes()) for row in weight]
    if len(index) < len(values) or None in rows or len(set(rows)) < count:
        return None
    return np.array(rows)
