"""Weight matrices in floating point, whether the model stores them so or quantised."""

from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

ROWS_AT_ONCE = 1024
"""Rows of the identity matrix that a quantised layer is run on at a time."""


def matrix_shape(module: nn.Module) -> tuple[int, int]:
    """Return ``(d_out, d_in)`` of an ``nn.Linear`` or ``Conv1D``; the stored tensor of a quantised one is packed."""
    if isinstance(module, Conv1D):
        return int(module.nf), int(module.nx)
    linear: Any = module
    return int(linear.out_features), int(linear.in_features)


def is_quantised(stored: torch.Tensor) -> bool:
    """Return whether a matrix is stored in a form that cannot be edited in place."""
    return not stored.dtype.is_floating_point


def dense_weight(module: nn.Module) -> torch.Tensor:
    """Return the stored matrix of a linear module or, when it is quantised, the ``(d_out, d_in)`` it multiplies with.

    The latter by running the module on the identity matrix: on some CPUs bitsandbytes repacks matrices at their first
    run, after which its own dequantisation, and PEFT's, return wrong numbers.
    """
    linear: Any = module
    weight: torch.Tensor = linear.weight
    if not is_quantised(weight):
        return weight.detach()
    bias, linear.bias = linear.bias, None
    try:
        with torch.no_grad():
            identity = torch.eye(matrix_shape(module)[1], device=weight.device)
            return torch.cat([linear(rows) for rows in identity.split(ROWS_AT_ONCE)]).T
    finally:
        linear.bias = bias
