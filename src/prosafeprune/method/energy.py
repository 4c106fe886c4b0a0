"""What an edit takes away: Theorem 3.2's bound, the realised energy, the overlap with the harmful subspace (D.3)."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import BaseModel
from scipy.sparse.linalg import svds

from prosafeprune.method.subspaces import OverlapOperator


class EditMeasures(BaseModel):
    """Measures of one edited submodule, as shares of 1."""

    submodule: str
    kind: str
    layer: int
    stable_rank: float
    """``sr(W) = ||W||_F^2 / ||W||_2^2`` (D.1)."""
    energy_bound: float
    """``r / sr(W)``, what Theorem 3.2 allows ``energy`` to be at most; see :func:`energy_bound`."""
    energy: float
    """``||Omega W||_F^2 / ||W||_F^2``: the share of the weight's energy that lies along the operator."""
    harmful_overlap: float
    """``||Omega U_u||_F^2 / ||U_u||_F^2``: the share of the harmful subspace that the operator captures (D.3)."""


def stable_rank(weight: torch.Tensor) -> float:
    """Return ``sr(W) = ||W||_F^2 / ||W||_2^2`` of ``W (d_out, d_in)``; the spectral norm by Lanczos iteration."""
    matrix = weight.cpu().numpy()
    # A seeded start makes the iteration repeatable; a random one is never orthogonal to what is looked for.
    start = np.random.default_rng(0).standard_normal(min(matrix.shape)).astype(matrix.dtype)
    spectral_norm = float(svds(matrix, k=1, v0=start, return_singular_vectors=False)[0])
    norm = float(torch.linalg.matrix_norm(weight))
    return (norm / spectral_norm) ** 2


def energy_bound(operator: OverlapOperator, rank_of_weight: float) -> float:
    """Return ``r max(1, ||Omega||_2)^2 / sr(W)``: Theorem 3.2, for operators that may be no contraction.

    The paper's operator is one, and its bound ``r / sr(W)``; one with an oblique projector need not be.

    Args:
        operator: ``Omega``, of ``r`` columns.
        rank_of_weight: the stable rank ``sr(W)``.
    """
    left, right = (torch.linalg.qr(factor, mode="r").R for factor in (operator.left, operator.right))
    norm = float(torch.linalg.matrix_norm(left @ right.T, ord=2))
    return int(operator.right.shape[1]) * max(1.0, norm) ** 2 / rank_of_weight


def relative_energy(operator: OverlapOperator, weight: torch.Tensor) -> float:
    """Return ``||Omega W||_F^2 / ||W||_F^2`` without forming ``Omega W``."""
    seen = operator.right.T @ weight
    energy = torch.trace((operator.left.T @ operator.left) @ (seen @ seen.T))
    return float(energy) / float(torch.linalg.matrix_norm(weight)) ** 2


def harmful_overlap(operator: OverlapOperator, harmful_basis: torch.Tensor) -> float:
    """Return ``||Omega U_u||_F^2 / ||U_u||_F^2`` for the harmful basis ``U_u (d_out, r)`` (D.3)."""
    rank = int(harmful_basis.shape[1])
    return float(torch.linalg.matrix_norm(operator(harmful_basis))) ** 2 / rank
