"""Storage for large tensors: memory while there is room, else a temporary file."""

import math
import shutil
import tempfile

import numpy as np
import torch

from prosafeprune.errors import InputError

KEPT_IN_MEMORY = 2**31
"""Bytes above which a tensor on the CPU goes to a temporary file."""
SHARE_OF_GPU = 8
"""A tensor goes to the CPU if it would take more than an eighth of the GPU's free memory."""


def large_tensor(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, what: str) -> torch.Tensor:
    """Return an uninitialised tensor on ``device`` if it has room, else on the CPU, else in a temporary file.

    Args:
        device: the preferred device.
        what: its content, for the error.

    Raises:
        InputError: the disk has no room for a temporary file.
    """
    size = math.prod(shape) * dtype.itemsize
    if device.type == "cuda" and SHARE_OF_GPU * size <= torch.cuda.mem_get_info(device)[0]:
        return torch.empty(shape, dtype=dtype, device=device)
    if size <= KEPT_IN_MEMORY:
        return torch.empty(shape, dtype=dtype)
    folder = tempfile.gettempdir()
    # Writing to a mapped file on a full disk kills the process.
    if shutil.disk_usage(folder).free < size:
        raise InputError(
            f"{folder}: {size / 1e9:.1f} GB are needed for {what}. Make room, point TMPDIR elsewhere, or use fewer "
            "prompts."
        )
    with tempfile.TemporaryFile() as file:  # unnamed, so nothing is left behind; the mapping keeps it alive
        mapped = np.memmap(file, dtype=np.uint8, mode="w+", shape=(size,))
        return torch.from_numpy(mapped).view(dtype).view(shape)
