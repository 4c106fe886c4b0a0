"""Fitted projections in place of ``Pi_p``, which spare or strengthen refusals of harmful prompts. Not in the paper.

Harmful and pseudo-harmful outputs share most of their subspaces, so ``Pi_p`` (Eq. 1) responds to harmful prompts
almost as strongly as to pseudo-harmful ones, and pruning removes refusals of both. Here the projection is fitted to the
calibration prompts: it returns ``Pi_p a`` for pseudo-harmful outputs ``a``, a chosen share of it for harmful ones, and
nothing for benign ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from prosafeprune.method.subspaces import where_factored

RIDGE = 1.0
"""Penalty on the projection, in units of the outputs' mean within-class variance; see docs/method.md."""


@dataclass(frozen=True)
class FittedProjection:
    """A projection for every harmful share ``c``: ``R = R_p + c R_u``, by the linearity of the regression."""

    read_as_pseudo_harmful: torch.Tensor
    """The factor ``R_p (d_out, r)`` that reads pseudo-harmful outputs."""
    read_as_harmful: torch.Tensor
    """The factor ``R_u (d_out, r)`` that reads harmful outputs."""

    def of_share(self, harmful_share: float) -> torch.Tensor:
        """Return ``R (d_out, r)`` such that ``M = U_p R^T`` takes the place of ``Pi_p = U_p U_p^T`` in Eq. 1."""
        return self.read_as_pseudo_harmful + harmful_share * self.read_as_harmful


def fit_projection(
    benign: torch.Tensor, harmful: torch.Tensor, pseudo_harmful: torch.Tensor, pseudo_harmful_basis: torch.Tensor
) -> FittedProjection:
    """Return the projection whose ``M`` minimises, for a harmful share ``c``, the sum of the errors of all classes.

    These are ``mean_p |M a - Pi_p a|^2 + mean_u |M a - c Pi_p a|^2 + mean_s |M a|^2 + ridge |M|_F^2``. With
    ``S_t = A_t A_t^T / n_t`` the solution is ``R = (S_s + S_u + S_p + ridge I)^-1 (S_p + c S_u) U_p``, computed through
    the Gram matrix of all prompts, so that nothing of size ``d_out x d_out`` is formed.

    Args:
        benign: pooled outputs ``A_s (d_out, n_s)``, one column per prompt.
        harmful: ``A_u (d_out, n_u)``.
        pseudo_harmful: ``A_p (d_out, n_p)``.
        pseudo_harmful_basis: ``U_p (d_out, r)``.
    """
    classes, rank = (benign, harmful, pseudo_harmful), pseudo_harmful_basis.shape[1]
    read = [outputs.T @ pseudo_harmful_basis for outputs in classes]
    nothing = [torch.zeros_like(target) for target in read]
    targets = [
        torch.cat([nothing[0], nothing[0]], dim=1),
        torch.cat([nothing[1], read[1]], dim=1),
        torch.cat([read[2], nothing[2]], dim=1),
    ]
    both = ridge_regression(classes, targets)
    return FittedProjection(both[:, :rank], both[:, rank:])


def ridge_regression(classes: Sequence[torch.Tensor], targets: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return ``R (d_out, k)`` that minimises ``sum_t mean_t |R^T a - target|^2 + ridge |R|_F^2``.

    Solved through the Gram matrix of all prompts, so that nothing of size ``d_out x d_out`` is formed.

    Args:
        classes: the outputs of each class, ``A_t (d_out, n_t)``.
        targets: for each class what to return for its outputs, ``(n_t, k)``.
    """
    # Divided by the root of their number, classes of any size weigh the same.
    scaled = [outputs / outputs.shape[1] ** 0.5 for outputs in classes]
    wanted = torch.cat([target / len(target) ** 0.5 for target in targets])
    stacked = torch.cat(scaled, dim=1)
    gram = where_factored(stacked.T @ stacked).double()
    gram.diagonal().add_(RIDGE * _within_class_variance(scaled, min(stacked.shape)))
    solution: torch.Tensor = torch.linalg.solve(gram, where_factored(wanted).double())
    return stacked @ solution.to(stacked.dtype).to(stacked.device)


def _within_class_variance(classes: list[torch.Tensor], dimensions: int) -> float:
    """Return the outputs' variance about their class means, summed over classes, per dimension of their span."""
    within = sum(float((outputs - outputs.mean(dim=1, keepdim=True)).square().sum()) for outputs in classes)
    return within / dimensions
