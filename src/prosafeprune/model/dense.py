"""Matrices as plain numbers, whether the model holds them so or quantised."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

ROWS_AT_ONCE = 1024
"""Rows of the identity that a quantised layer is run on at a time."""


def matrix_shape(module: nn.Module) -> tuple[int, int]:
    """Return ``(d_out, d_in)`` of an ``nn.Linear`` or ``Conv1D``; the stored tensor of a quantised one is packed."""
    if isinstance(module, Conv1D):
        return int(module.nf), int(module.nx)
    linear: Any = module
    return int(linear.out_features), int(linear.in_features)


def is_quantised(module: nn.Module) -> bool:
    """Tell whether a module holds its matrix in a form that cannot be edited in place."""
    weight: Any = module.weight
    return not weight.dtype.is_floating_point


def dense_weight(module: nn.Module) -> torch.Tensor:
    """Return a module's matrix as stored or, when it is quantised, the ``(d_out, d_in)`` that it multiplies with.

    The latter by running it on the identity: bitsandbytes packs matrices anew for some CPUs at the first run, after
    which its own dequantisation, and PEFT's, return other numbers.
    """
    if not is_quantised(module):
        weight: torch.Tensor = module.weight
        return weight.detach()
    d_in = matrix_shape(module)[1]
    bias, module.bias = module.bias, None
    try:
        with torch.no_grad():
            identity = torch.eye(d_in, device=module.weight.device)
            return torch.cat([module(rows) for rows in identity.split(ROWS_AT_ONCE)]).T
    finally:
        module.bias = bias
