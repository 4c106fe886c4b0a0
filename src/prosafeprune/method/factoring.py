"""The device for factorisations: Apple's GPUs have no float64, and torch has no factorisations for them."""

from __future__ import annotations

import torch


def where_factored(matrix: torch.Tensor) -> torch.Tensor:
    """Return the matrix on its device if it can be factored there, in any dtype, else on the CPU."""
    return matrix.cpu() if matrix.device.type == "mps" else matrix
