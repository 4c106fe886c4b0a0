"""Subspaces, the overlap operator and the pruned weight: Eqs. 1 to 3 of the paper."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from prosafeprune.errors import InputError


def basis(activations: torch.Tensor, rank: int) -> torch.Tensor:
    """Return ``U (d_out, rank)``, the top left singular vectors of ``A (d_out, n)`` (section 3.2, truncated SVD).

    Raises:
        InputError: ``A`` has no ``rank`` independent directions: too few prompts, or too small a submodule.
    """
    d_out, count = activations.shape
    if rank > min(d_out, count):
        raise InputError(
            f"Rank {rank} needs at least {rank} prompts in each class and {rank} outputs; here {count} and {d_out}."
        )
    left, values, _ = torch.linalg.svd(activations, full_matrices=False)
    if values[rank - 1] <= torch.finfo(values.dtype).eps * max(d_out, count) * values[0]:
        raise InputError(
            f"The activations have fewer than {rank} independent directions. Use a smaller rank or other prompts."
        )
    return left[:, :rank]


@dataclass(frozen=True)
class OverlapOperator:
    """``Omega = left right^T`` (Eq. 1), kept as two factors of shape ``(d_out, rank)``, never as ``d_out x d_out``."""

    left: torch.Tensor
    right: torch.Tensor

    def __call__(self, weight: torch.Tensor) -> torch.Tensor:
        """Return ``Omega W`` for ``W (d_out, d_in)`` (Eq. 2)."""
        return self.left @ (self.right.T @ weight)


def overlap_operator(
    benign_basis: torch.Tensor, harmful_basis: torch.Tensor, pseudo_harmful_basis: torch.Tensor
) -> OverlapOperator:
    """Return ``Omega = (I - Pi_s) Pi_u Pi_p`` (Eq. 1) from three bases ``(d_out, r)``, where ``Pi = U U^T``.

    Read from the right: keep the pseudo-harmful directions, of these the part that is harmful, of that the part that is
    not benign.
    """
    harmful_part = harmful_basis @ (harmful_basis.T @ pseudo_harmful_basis)
    left = harmful_part - benign_basis @ (benign_basis.T @ harmful_part)
    return OverlapOperator(left, pseudo_harmful_basis)


@dataclass(frozen=True)
class LowRankChange:
    """``W' - W`` as the product ``B A`` of two thin matrices, which is what a LoRA adapter holds."""

    b: torch.Tensor
    """``(d_out, rank)``."""
    a: torch.Tensor
    """``(rank, d_in)``."""

    def added_to(self, weight: torch.Tensor) -> torch.Tensor:
        """Return ``W' = W + B A``."""
        return weight + self.b @ self.a


def low_rank_change(weight: torch.Tensor, operator: OverlapOperator, strength: float) -> LowRankChange:
    """Return ``-strength Omega W`` (Eq. 3) as ``B = -strength left`` and ``A = right^T W``."""
    return LowRankChange(-strength * operator.left, operator.right.T @ weight)


def pruned_weight(weight: torch.Tensor, operator: OverlapOperator, strength: float) -> torch.Tensor:
    """Return ``W' = (I - strength Omega) W`` (Eq. 3); ``strength`` is the paper's lambda, in [0, 1]."""
    return low_rank_change(weight, operator, strength).added_to(weight)
