"""The discriminant projection: one direction that tells pseudo-harmful from harmful outputs. Not in the paper.

Eq. 1 removes what pseudo-harmful outputs share with harmful ones, by the length of the output in a subspace. Here the
amount is the value of a linear discriminant, fitted to the calibration prompts, and what is removed is the mean
difference between harmful and benign outputs, the submodule's share of the refusal direction. So a refusal is taken
from outputs that look pseudo-harmful, and added to those that look harmful.
"""

from __future__ import annotations

import torch

from prosafeprune.method.fitted_projection import ridge_regression
from prosafeprune.method.overlap_operator import OverlapOperator


def discriminant_operator(
    benign: torch.Tensor, harmful: torch.Tensor, pseudo_harmful: torch.Tensor, harmful_share: float
) -> OverlapOperator:
    """Return ``Omega = v w^T`` of rank 1, which takes the place of Eq. 1.

    ``v = mean(A_u) - mean(A_s)``; ``w`` minimises ``mean_p (w^T a - 1)^2 + mean_u (w^T a - c)^2 + mean_s (w^T a)^2 +
    ridge |w|^2``, where ``c`` is ``harmful_share`` (:func:`prosafeprune.method.fitted_projection.ridge_regression`).

    Args:
        benign: pooled outputs ``A_s (d_out, n_s)``, one column per prompt.
        harmful: ``A_u (d_out, n_u)``.
        pseudo_harmful: ``A_p (d_out, n_p)``.
        harmful_share: ``c``, below 0 to add the refusal direction to harmful outputs.
    """
    direction = harmful.mean(dim=1, keepdim=True) - benign.mean(dim=1, keepdim=True)
    classes, shares = (benign, harmful, pseudo_harmful), (0.0, harmful_share, 1.0)
    targets = [outputs.new_full((outputs.shape[1], 1), share) for outputs, share in zip(classes, shares, strict=True)]
    return OverlapOperator(direction, ridge_regression(classes, targets))
