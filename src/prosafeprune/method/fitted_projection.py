"""Fitted projectors in place of ``Pi_p``, which spare or strengthen refusals of harmful prompts. Not in the paper.

Harmful and pseudo-harmful outputs share most of their subspaces, so that ``Pi_p`` (Eq. 1) reads harmful prompts nearly
as strongly as pseudo-harmful ones, and pruning takes refusals of both. Here the reading is fitted to the prompts: it
gives ``Pi_p a`` for pseudo-harmful outputs ``a``, a chosen share of it for harmful ones, and nothing for benign ones.
"""

from __future__ import annotations

import torch

from prosafeprune.method.projection import Projection

RIDGE = 1.0
"""Penalty on the reading, in units of the outputs' mean spread about their classes; see docs/method.md."""
OF_HARMFUL = {Projection.OBLIQUE: 0.0, Projection.CONTRASTIVE: -0.5}
"""The share of ``Pi_p a`` that is read of harmful outputs: none, or half of it the other way round. The latter adds to
harmful outputs half of what is taken from pseudo-harmful ones."""


def fitted_projection(
    benign: torch.Tensor,
    harmful: torch.Tensor,
    pseudo_harmful: torch.Tensor,
    pseudo_harmful_basis: torch.Tensor,
    of_harmful: float,
) -> torch.Tensor:
    """Return ``R (d_out, r)`` such that ``M = U_p R^T`` may stand where ``Pi_p = U_p U_p^T`` does in Eq. 1.

    ``M`` makes ``mean_p |M a - Pi_p a|^2 + mean_u |M a - c Pi_p a|^2 + mean_s |M a|^2 + ridge |M|_F^2`` least, where
    ``c`` is ``of_harmful``. With ``S_t = A_t A_t^T / n_t`` that is
    ``R = (S_s + S_u + S_p + ridge I)^-1 (S_p + c S_u) U_p``, found through the Gram matrix of all prompts, so that
    nothing of size ``d_out x d_out`` is made.

    Args:
        benign: pooled outputs ``A_s (d_out, n_s)``, a column a prompt.
        harmful: ``A_u (d_out, n_u)``.
        pseudo_harmful: ``A_p (d_out, n_p)``.
        pseudo_harmful_basis: ``U_p (d_out, r)``.
        of_harmful: ``c``, see :data:`OF_HARMFUL`.
    """
    classes = [outputs / outputs.shape[1] ** 0.5 for outputs in (benign, harmful, pseudo_harmful)]
    together = torch.cat(classes, dim=1)
    wanted = torch.cat(
        [share * (one.T @ pseudo_harmful_basis) for share, one in zip((0.0, of_harmful, 1.0), classes, strict=True)]
    )
    gram = (together.T @ together).double()
    gram.diagonal().add_(RIDGE * _mean_spread(classes, min(together.shape)))
    return together @ torch.linalg.solve(gram, wanted.double()).to(together.dtype)


def _mean_spread(classes: list[torch.Tensor], dimensions: int) -> float:
    """Return the outputs' variance about the mean of their class, all classes together, a dimension of their span."""
    within = sum(float((one - one.mean(dim=1, keepdim=True)).square().sum()) for one in classes)
    return within / dimensions
