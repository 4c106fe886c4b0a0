"""The sizes of a model that is not loaded, from config and headers: of a quantised one or a GGUF, as it will run."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch

from prosafeprune.checkpoint.conversion import converted_dtype
from prosafeprune.checkpoint.quantised.to_checkpoint import dequantised_entries
from prosafeprune.model.gguf import gguf_config, gguf_shapes
from prosafeprune.model.gguf_file import gguf_parts
from prosafeprune.model.loading import stored_dtype
from prosafeprune.model.model_files import shard_files
from prosafeprune.model.source import ModelSource, early_config
from prosafeprune.setup.model_size import ModelShape
from prosafeprune.setup.path_costs import Conversion
from prosafeprune.setup.run_memory import LIBRARY_BYTES

DEQUANTISING_BYTES = 23
"""Bytes for each number of a matrix while it is dequantised: the most that benchmarks/dequantising.py measured."""


@dataclass(frozen=True)
class SourceShape:
    """The sizes of a model as it will run."""

    shape: ModelShape
    dtype: torch.dtype
    """The dtype of most of these weights on disk."""
    conversion: Conversion | None = None
    """What making an ordinary checkpoint of it takes; None for one."""

    @classmethod
    def of(cls, source: ModelSource) -> SourceShape:
        """Return the sizes of a model. Raises InputError when its headers cannot be read."""
        config = early_config(str(source.path), None) or {}
        if source.is_gguf:
            shape = ModelShape.of_tensors(gguf_shapes(source.path), gguf_config(source.path))
            files = sum(part.stat().st_size for part in gguf_parts(source.path))
            return cls(shape, converted_dtype(source), Conversion(files, gguf_memory(shape, files), is_gguf=True))
        if source.quantisation is None:
            return cls(ModelShape.of_folder(source.path, config), stored_dtype(source.path))
        entries = dequantised_entries(source.path, source.name)
        shape = ModelShape.of_tensors({entry.name: (entry.shape, entry.size) for entry in entries}, config)
        largest = max(prod(entry.shape) for entry in entries if entry.is_dequantised)
        files = sum(file.stat().st_size for file in shard_files(source.path))
        return cls(shape, converted_dtype(source), Conversion(files, dequantising_memory(largest)))


def dequantising_memory(largest: int) -> float:
    """Return the bytes that dequantising a checkpoint takes, given the numbers of the largest matrix stored as one."""
    return LIBRARY_BYTES + DEQUANTISING_BYTES * largest


def gguf_memory(shape: ModelShape, files: float) -> float:
    """Return the bytes that converting a GGUF takes: all of it in 16 bits, and the pages of the mapped files."""
    return LIBRARY_BYTES + shape.size.weight_bytes + files
