"""Subspaces of pooled activations (section 3.2)."""

import scipy.linalg
import torch

from prosafeprune.errors import InputError


class TooFewDirections(InputError):
    """The activations span fewer dimensions than the rank requires."""


def basis(activations: torch.Tensor, rank: int) -> torch.Tensor:
    """Return ``U (d_out, rank)``, the top left singular vectors of ``A (d_out, n)``.

    By Theorem 3.1 (Eckart-Young) this truncated SVD spans the rank-``rank`` subspace that loses least of ``A`` in
    Frobenius norm. ``A`` is not centred, as in the paper.

    Raises:
        TooFewDirections: ``A`` has fewer than ``rank`` independent directions.
    """
    d_out, count = activations.shape
    if rank > min(d_out, count):
        raise TooFewDirections(
            f"Rank {rank} needs at least {rank} prompts in each class and {rank} outputs; got {count} and {d_out}."
        )
    left = independent_directions(activations)
    if left.shape[1] < rank:
        raise TooFewDirections(
            f"The activations have fewer than {rank} independent directions. Use a smaller rank or other prompts."
        )
    return left[:, :rank]


def independent_directions(activations: torch.Tensor) -> torch.Tensor:
    """Return the left singular vectors of ``A (d_out, n)`` above rounding error, strongest first."""
    left: torch.Tensor
    left, values = _left_svd(activations)
    count = int((values > torch.finfo(values.dtype).eps * max(activations.shape) * values[0]).sum())
    return left[:, :count]


def _left_svd(activations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the left singular vectors ``(d_out, k)`` and singular values ``(k,)`` of ``A (d_out, n)``."""
    if activations.device.type == "cuda" and activations.shape[0] > activations.shape[1]:
        return svd_by_qr(activations)  # as LAPACK does for such shapes
    if (elsewhere := where_factored(activations)) is not activations:
        left, values = _left_svd(elsewhere)
        return left.to(activations.device), values.to(activations.device)
    try:
        left, values, _ = torch.linalg.svd(activations, full_matrices=False)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # exported, not declared
        # Divide and conquer fails on some matrices with many near-equal singular values; QR iteration does not.
        found, sizes, _ = scipy.linalg.svd(
            activations.double().cpu().numpy(), full_matrices=False, lapack_driver="gesvd"
        )
        left, values = (torch.from_numpy(array).to(activations) for array in (found, sizes))
    return left, values


def svd_by_qr(activations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what :func:`_left_svd` does, for ``d_out > n``: the SVD of the small factor of ``A = Q R``."""
    orthonormal, small = torch.linalg.qr(activations)
    left, values = _left_svd(small)
    return orthonormal @ left, values


def subspace_overlap(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return ``Overlap(r)``, the mean cosine of the principal angles between two bases ``(d, r)`` (D.1)."""
    return float(torch.linalg.svdvals(where_factored(one.T @ other)).clamp(max=1).mean())


def where_factored(matrix: torch.Tensor) -> torch.Tensor:
    """Return the matrix on its device if it can be factored there, in any dtype, else on the CPU."""
    return matrix.cpu() if matrix.device.type == "mps" else matrix
