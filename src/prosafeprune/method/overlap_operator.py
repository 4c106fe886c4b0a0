"""The overlap operator and the pruned weight: Eqs. 1 to 3 of the paper."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class OverlapOperator:
    """``Omega = left right^T`` (Eq. 1), stored as two factors ``(d_out, rank)`` and never as ``d_out x d_out``."""

    left: torch.Tensor
    right: torch.Tensor

    def __call__(self, weight: torch.Tensor) -> torch.Tensor:
        """Return ``Omega W`` for ``W (d_out, d_in)`` (Eq. 2)."""
        return self.left @ (self.right.T @ weight)

    def to(self, device: torch.device) -> OverlapOperator:
        """Return the operator with its factors on ``device``."""
        return OverlapOperator(self.left.to(device), self.right.to(device))


@dataclass(frozen=True)
class LowRankChange:
    """``W' - W`` as the product ``B A``, the two factors of a LoRA adapter."""

    b: torch.Tensor
    """The left factor ``(d_out, rank)``."""
    a: torch.Tensor
    """The right factor ``(rank, d_in)``."""

    def added_to(self, weight: torch.Tensor) -> torch.Tensor:
        """Return ``W' = W + B A`` on the weight's device."""
        return weight + (self.b @ self.a).to(weight.device)


def overlap_operator(
    benign_basis: torch.Tensor, harmful_basis: torch.Tensor, pseudo_harmful_basis: torch.Tensor
) -> OverlapOperator:
    """Return ``Omega = (I - Pi_s) Pi_u Pi_p`` (Eq. 1) from three bases ``(d_out, r)``, where ``Pi = U U^T``.

    Read from the right: project onto the pseudo-harmful subspace, then onto the harmful one, then remove the benign
    component.
    """
    harmful_part = harmful_basis @ (harmful_basis.T @ pseudo_harmful_basis)
    return OverlapOperator(_outside(benign_basis, harmful_part), pseudo_harmful_basis)


def harmful_operator(benign_basis: torch.Tensor, harmful_basis: torch.Tensor) -> OverlapOperator:
    """Return ``(I - Pi_s) Pi_u``, the ablation of Eq. 1 without ``Pi_p`` (section 5.1, Table 3). It weakens safety."""
    return OverlapOperator(_outside(benign_basis, harmful_basis), harmful_basis)


def low_rank_change(weight: torch.Tensor, operator: OverlapOperator, strength: float) -> LowRankChange:
    """Return ``W' - W = -strength Omega W`` (Eq. 3) as ``B = -strength left`` and ``A = right^T W``."""
    return LowRankChange(-strength * operator.left, operator.right.T @ weight)


def pruned_weight(weight: torch.Tensor, operator: OverlapOperator, strength: float) -> torch.Tensor:
    """Return ``W' = (I - strength Omega) W`` (Eq. 3) for ``W (d_out, d_in)``; ``strength`` is the paper's lambda."""
    return low_rank_change(weight, operator, strength).added_to(weight)


def _outside(basis: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Return ``(I - U U^T) V``."""
    return vectors - basis @ (basis.T @ vectors)
