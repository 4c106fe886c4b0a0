"""How the pseudo-harmful part of an output is picked out, by name; recipes name one without waiting for torch."""

from __future__ import annotations

from enum import StrEnum


class Projection(StrEnum):
    """The last factor of the overlap operator, the one that reads a submodule's output."""

    ORTHOGONAL = "orthogonal"
    """``Pi_p = U_p U_p^T``, the paper's (Eq. 1): whatever lies in the pseudo-harmful subspace is read."""
    OBLIQUE = "oblique"
    """The same for pseudo-harmful outputs, and as little as can be of harmful and benign ones."""
    CONTRASTIVE = "contrastive"
    """The same for pseudo-harmful outputs, the opposite by half for harmful ones, and little of benign ones."""
