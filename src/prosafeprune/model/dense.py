"""Matrices as plain numbers, whether the model holds them so or quantised."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D


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
    """Return a module's matrix as stored, or dequantised: the one that bitsandbytes' layers multiply with."""
    weight: Any = module.weight
    if not is_quantised(module):
        return torch.Tensor.detach(weight)
    from peft.utils.integrations import dequantize_module_weight

    return torch.Tensor.detach(dequantize_module_weight(module))
