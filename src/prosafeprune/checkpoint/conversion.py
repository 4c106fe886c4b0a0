"""A model that cannot run as it is stored, a GGUF file or a quantised checkpoint, as an ordinary checkpoint folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from prosafeprune.model import gguf
from prosafeprune.model.source import ModelSource
from prosafeprune.progress import Reporter

if TYPE_CHECKING:
    import torch

# What needs torch is imported when it is used: inputs are checked before.


def convert_source(source: ModelSource, folder: Path, reporter: Reporter) -> None:
    """Write a model as a 16-bit checkpoint into an existing empty folder.

    Raises:
        InputError: it cannot be read, or the disk is full.
    """
    if source.is_gguf:
        gguf.convert_gguf(source.path, folder, reporter)
    else:
        from prosafeprune.checkpoint.quantised.to_checkpoint import dequantise_checkpoint

        dequantise_checkpoint(source.path, source.name, folder, reporter)


def converted_bytes(source: ModelSource) -> int:
    """Return the disk space that the conversion takes. Raises InputError when the model cannot be read."""
    if source.is_gguf:
        return gguf.converted_bytes(source.path)
    from prosafeprune.checkpoint.quantised.to_checkpoint import dequantised_bytes

    return dequantised_bytes(source.path, source.name)


def converted_dtype(source: ModelSource) -> torch.dtype:
    """Return the dtype of the converted weights."""
    import torch

    from prosafeprune.checkpoint.quantised.to_checkpoint import dequantised_dtype

    return torch.float16 if source.is_gguf else dequantised_dtype(source.path, source.name)
