"""Shared by test_subspaces and its neighbours."""

from __future__ import annotations

import torch

from prosafeprune.method.overlap_operator import OverlapOperator


def random_matrix(rows: int, columns: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def projector(u: torch.Tensor) -> torch.Tensor:
    return u @ u.T


def dense(operator: OverlapOperator) -> torch.Tensor:
    return operator.left @ operator.right.T
