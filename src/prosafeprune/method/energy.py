"""What an edit removes: Theorem 3.2's bound, the actual energy, the overlap with the harmful subspace (D.3)."""

from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, svds

from prosafeprune.method.overlap_operator import OverlapOperator
from prosafeprune.method.subspaces import where_factored


def stable_rank(weight: torch.Tensor) -> float:
    """Return ``sr(W) = ||W||_F^2 / ||W||_2^2`` of ``W (d_out, d_in)`` (D.1); the spectral norm by Lanczos iteration."""
    # The iteration takes hundreds of products: seconds for a large matrix on a CPU, milliseconds on a GPU.
    matrix = weight.numpy() if weight.device.type == "cpu" else products_on_device(weight)
    # A seeded start makes the iteration repeatable; a random one is almost surely not orthogonal to the answer.
    start = np.random.default_rng(0).standard_normal(min(matrix.shape)).astype(matrix.dtype)
    spectral_norm = float(svds(matrix, k=1, v0=start, return_singular_vectors=False)[0])
    norm = float(torch.linalg.matrix_norm(weight))
    return (norm / spectral_norm) ** 2


def products_on_device(weight: torch.Tensor) -> Any:
    """Return ``W (d_out, d_in)`` as a SciPy operator whose products are computed on the weight's device."""

    def product(matrix: torch.Tensor, vector: np.ndarray) -> np.ndarray:
        found: np.ndarray = (matrix @ torch.from_numpy(vector.ravel()).to(matrix)).cpu().numpy()
        return found

    dtype = torch.empty(0, dtype=weight.dtype).numpy().dtype
    return LinearOperator(
        tuple(weight.shape), partial(product, weight), rmatvec=partial(product, weight.T), dtype=dtype
    )


def energy_bound(operator: OverlapOperator, weight_stable_rank: float) -> float:
    """Return ``r max(1, ||Omega||_2)^2 / sr(W)``: Theorem 3.2, extended to operators of norm above 1.

    The paper's operator is a contraction, so its bound is ``r / sr(W)``; with a fitted projection it may not be.

    Args:
        operator: ``Omega``, of rank at most ``r``.
        weight_stable_rank: ``sr(W)``.
    """
    factors = (where_factored(factor) for factor in (operator.left, operator.right))
    left, right = (torch.linalg.qr(factor, mode="r").R for factor in factors)
    norm = float(torch.linalg.matrix_norm(left @ right.T, ord=2))
    return int(operator.right.shape[1]) * max(1.0, norm) ** 2 / weight_stable_rank


def relative_energy(operator: OverlapOperator, weight: torch.Tensor) -> float:
    """Return ``||Omega W||_F^2 / ||W||_F^2`` (Theorem 3.2) without forming ``Omega W``."""
    projected = operator.right.T @ weight
    energy = torch.trace((operator.left.T @ operator.left) @ (projected @ projected.T))
    return float(energy) / float(torch.linalg.matrix_norm(weight)) ** 2


def harmful_overlap(operator: OverlapOperator, harmful_basis: torch.Tensor) -> float:
    """Return ``||Omega U_u||_F^2 / ||U_u||_F^2`` for the harmful basis ``U_u (d_out, r)`` (D.3)."""
    rank = int(harmful_basis.shape[1])
    return float(torch.linalg.matrix_norm(operator(harmful_basis))) ** 2 / rank
