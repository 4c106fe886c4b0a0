"""The formats that can be dequantised, and what a checkpoint's tensors are in its format."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prosafeprune.checkpoint.quantised.bitsandbytes import bitsandbytes
from prosafeprune.checkpoint.quantised.compressed_tensors import compressed_tensors
from prosafeprune.checkpoint.quantised.dequantised import CheckpointLayout, Settings, Tensors
from prosafeprune.checkpoint.quantised.float8 import fine_grained_fp8, mxfp4
from prosafeprune.checkpoint.quantised.integers import awq, gptq, mlx
from prosafeprune.checkpoint.safetensors_file import DTYPES, stored_tensors
from prosafeprune.errors import InputError
from prosafeprune.model.source import quantisation_of, quantisation_settings, read_config

FORMATS: Mapping[str, Callable[[Tensors, Settings], CheckpointLayout]] = {
    "fp8": fine_grained_fp8,
    "compressed-tensors": compressed_tensors,
    "mxfp4": mxfp4,
    "gptq": gptq,
    "awq": awq,
    "bitsandbytes": bitsandbytes,
    "mlx": mlx,
}
"""Formats by ``quant_method``; MLX names none."""
COPIED = {*DTYPES, "I64", "BOOL"}
"""Dtypes of tensors that are not quantised."""
MLX_MODELS = {"llama", "mistral", "qwen2", "qwen3", "phi3", "smollm3", "olmo2"}
"""Models whose tensors MLX keeps as they are; it renames, stacks or shifts those of others."""


def find_layout(folder: Path, name: str) -> tuple[Tensors, CheckpointLayout]:
    """Return the tensors of a quantised checkpoint, and which matrices they make.

    Only headers and a few small tensors are read.

    Raises:
        InputError: the format cannot be read, or the checkpoint does not have it.
    """
    config, tensors = read_config(folder, name), stored_tensors(folder)
    method = quantisation_of(config)
    if method is None or method not in FORMATS:
        raise _cannot_read(name, f"its weights are quantised by {method}")
    if method == "mlx" and config.get("model_type") not in MLX_MODELS:
        raise _cannot_read(name, f"its weights are quantised by MLX, which changes those of {config.get('model_type')}")
    try:
        layout = FORMATS[method](tensors, quantisation_settings(config))
    except InputError as error:
        reason = str(error)
        raise (InputError(f"{name}: {reason}") if reason.endswith(".") else _cannot_read(name, reason)) from error
    # Shapes and numbers of a foreign file.
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise InputError(
            f"{name}: its tensors do not have the layout of {method}. Fetch it again, or give the unquantised model."
        ) from error
    if not layout.matrices:
        raise InputError(
            f"{name}: its config.json says {method}, and no tensor is quantised so. Fetch the model again."
        )
    _require_nothing_else(tensors, layout, name)
    return tensors, layout


def copied_tensors(tensors: Tensors, layout: CheckpointLayout) -> Tensors:
    """Return the tensors that are not quantised, and belong to no matrix that is."""
    used = layout.used
    return {key: tensor for key, tensor in tensors.items() if key not in layout.dropped and tensor not in used}


def _require_nothing_else(tensors: Tensors, layout: CheckpointLayout, name: str) -> None:
    copied = copied_tensors(tensors, layout)
    odd = [key for key, tensor in copied.items() if tensor.dtype not in COPIED]
    if odd:
        raise _cannot_read(name, f"{min(odd)} is stored as {copied[min(odd)].dtype} without scales")
    if twice := sorted(copied.keys() & layout.matrices.keys()):
        raise _cannot_read(name, f"{twice[0]} is stored both quantised and not")


def _cannot_read(name: str, reason: str) -> InputError:
    known: list[Any] = sorted(FORMATS)
    return InputError(f"{name}: {reason}. Give the unquantised model; formats that can be read: {', '.join(known)}.")
