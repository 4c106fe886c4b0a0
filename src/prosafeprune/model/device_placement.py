"""Device placement: the model on one device or, if too large for one GPU, spread over all GPUs layer by layer."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from prosafeprune.errors import InputError, first_line
from prosafeprune.model.model_files import shard_files
from prosafeprune.model.shard_header import read_shard_header
from prosafeprune.model.source import quantisation_of, read_config
from prosafeprune.parallel.launch import ALL_GPUS, local_rank

ROOM = 0.85
"""The share of a GPU's free memory that weights may take. The rest is for activations and the KV cache."""
FLOATS = {"F64", "F32", "F16", "BF16"}

DeviceMap = dict[str, torch.device]
"""The device of each part of a model, by the part's name; the empty name is the whole model."""


def choose_device(device: str) -> torch.device:
    """Return the named device or, for ``auto``, the first available of: CUDA GPU, Apple GPU, CPU.

    For ``all`` it is the first GPU. Each process that torchrun started has its own GPU.

    Raises:
        InputError: it cannot be used.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    rank = local_rank()
    if rank is not None and (device == ALL_GPUS or device.startswith("cuda:")):
        held = "takes all GPUs" if device == ALL_GPUS else "is one GPU"
        raise InputError(f"--device {device}: {held}, and there are several processes. Use cuda, or no torchrun.")
    if device == ALL_GPUS:
        _require_several_gpus()
        device = "cuda:0"
    try:
        chosen = torch.device(f"cuda:{rank}" if rank is not None and device == "cuda" else device)
        tried = torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"--device {device}: cannot be used here ({first_line(error)}). Try cpu or auto.") from error
    return tried.device if chosen.type == "cuda" else chosen  # with the index of the GPU


def avoid_cudnn_attention(device: torch.device) -> None:
    """Keep attention on a CUDA GPU, in this process, from cuDNN, which torch prefers on some when there is a mask.

    It builds a plan for every new shape, so each decoded token of each batch would wait for one; and with torch 2.11 on
    Hopper GPUs, its gradients are NaN at some lengths (pytorch issue 196678).
    """
    if device.type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)


def device_name(device: torch.device) -> str:
    """Return the device's type, with the name of the GPU."""
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type


def place_weights(
    device: str,
    chosen: torch.device,
    folder: Path,
    name: str,
    dtype: torch.dtype,
    make_meta: Callable[[], Any],
    *,
    is_copied: bool = False,
) -> DeviceMap | None:
    """Return a device map as transformers takes it; None leaves the model on the CPU.

    With ``all`` the model is spread over all GPUs; with ``auto`` if it does not fit one GPU and there are several.

    Args:
        chosen: the device it stands for, or the first of several.
        folder: the checkpoint.
        dtype: the dtype it will run in.
        make_meta: makes the model on the meta device.
        is_copied: whether it is quantised as it is loaded.

    Raises:
        InputError: it does not fit all GPUs together, or it is quantised and ``all`` was asked for.
    """
    if chosen.type == "cpu":
        return {"": chosen} if is_copied else None
    is_quantised = is_copied or quantisation_of(read_config(folder, name)) is not None
    if device == ALL_GPUS and is_quantised:
        raise InputError(f"--device {ALL_GPUS}: {name} is quantised, and a quantised model runs on one GPU. Use cuda.")
    may_spread = chosen.type == "cuda" and device == "auto" and not is_quantised and local_rank() is None
    if device == ALL_GPUS or (may_spread and torch.cuda.device_count() > 1 and not _fits(folder, dtype, chosen)):
        return spread(make_meta().to(dtype), device, name)
    return {"": chosen}


def spread(meta: Any, device: str, name: str) -> DeviceMap:
    """Return a device map of a meta-device model over all GPUs that keeps each decoder layer on one GPU.

    GPUs get about equal shares, within their memory.

    Raises:
        InputError: it does not fit.
    """
    from accelerate.utils import get_balanced_memory, infer_auto_device_map

    meta.tie_weights()  # a change of dtype may have untied them
    room = {
        number: int(ROOM * free_on_gpu(torch.device("cuda", number))) for number in range(torch.cuda.device_count())
    }
    whole = sorted({*(meta._no_split_modules or ()), *_layer_classes(meta)})
    balanced = get_balanced_memory(meta, max_memory=dict(room), no_split_module_classes=whole)
    for limits in (balanced, room):  # if GPUs differ, an equal share may be too much for one
        placed = infer_auto_device_map(meta, max_memory=dict(limits), no_split_module_classes=whole)
        if set(placed.values()) <= set(room):
            # Devices rather than numbers: accelerate uses the first of them for the model's inputs.
            return {part: torch.device("cuda", number) for part, number in placed.items()}
    needed = sum(parameter.numel() * parameter.itemsize for parameter in meta.parameters())
    raise InputError(
        f"--device {device}: {name} takes {needed / 1e9:.1f} GB, and {len(room)} GPUs have room for "
        f"{sum(room.values()) / 1e9:.1f} GB of weights, layer by layer. Use a smaller --dtype or model, or cpu."
    )


def weight_bytes(folder: Path, dtype: torch.dtype) -> int:
    """Return the bytes of a checkpoint's weights in memory in a dtype. Raises InputError when one cannot be read."""
    tensors = [entry for file in shard_files(folder) for entry in read_shard_header(file).tensors.values()]
    return sum(
        math.prod(entry.shape) * dtype.itemsize if entry.dtype in FLOATS else entry.end - entry.start
        for entry in tensors
    )


def _fits(folder: Path, dtype: torch.dtype, device: torch.device) -> bool:
    return weight_bytes(folder, dtype) <= ROOM * free_on_gpu(device)


def free_on_gpu(device: torch.device) -> int:
    """Return the free bytes of a GPU."""
    torch.cuda.empty_cache()  # left by earlier models
    return int(torch.cuda.mem_get_info(device)[0])


def _layer_classes(meta: Any) -> set[str]:
    """Return the classes of the entries of the model's module lists: its layers, known to transformers or not."""
    lists = (module for module in meta.modules() if isinstance(module, torch.nn.ModuleList))
    return {type(layer).__name__ for layers in lists for layer in layers if len(layers) > 1}


def _require_several_gpus() -> None:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count < 2:
        found = "there is one GPU" if count else "there is no GPU"
        raise InputError(f"--device {ALL_GPUS}: {found}, and all needs several. Use auto.")
