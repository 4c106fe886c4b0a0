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
    """``r / sr(W)``, what Theorem 3.2 allows ``energy`` to be at most."""
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


def relative_energy(operator: OverlapOperator, weight: torch.Tensor) -> float:
    """Return ``||Omega W||_F^2 / ||W||_F^2`` without forming ``Omega W``."""
    seen = operator.right.T @ weight
    energy = torch.trace((operator.left.T @ operator.left) @ (seen @ seen.T))
    return float(energy) / float(torch.linalg.matrix_norm(weight)) ** 2


def harmful_overlap(operator: OverlapOperator, harmful_basis: torch.Tensor) -> float:
    """Return ``||Omega U_u||_F^2 / ||U_u||_F^2`` for the harmful basis ``U_u (d_out, r)`` (D.3)."""
    rank = int(harmful_basis.shape[1])
    return float(torch.linalg.matrix_norm(operator(harmful_basis))) ** 2 / rank
