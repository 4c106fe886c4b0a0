"""Quantised checkpoints, or single matrices of them, dequantised."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from prosafeprune.checkpoint.quantised.formats import find_layout
from prosafeprune.checkpoint.quantised.to_checkpoint import dequantise_checkpoint
from prosafeprune.progress import SilentReporter


def dequantised(folder: Path, output: Path) -> Path:
    """Write the checkpoint in ``folder`` in 16 bits, or as its config says, and return where."""
    output.mkdir()
    dequantise_checkpoint(folder, "tiny", output, SilentReporter())
    return output


def matrix(folder: Path, stored: dict[str, torch.Tensor], settings: dict[str, Any]) -> torch.Tensor:
    """Return the only matrix of a checkpoint, dequantised."""
    folder.mkdir(exist_ok=True)
    save_file(
        {f"model.layers.0.x.{name}": one.contiguous() for name, one in stored.items()}, folder / "model.safetensors"
    )
    config = {"model_type": "llama", "dtype": "float32", "quantization_config": settings}
    (folder / "config.json").write_text(json.dumps(config))
    [found] = find_layout(folder, "tiny")[1].matrices.values()
    return found.read()
