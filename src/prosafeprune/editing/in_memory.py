"""Edits put into the weights in memory for a while."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch

from prosafeprune.model.submodule import Submodule


class InPlaceEdit(Protocol):
    """Anything that changes the stored matrix of one submodule; a plan's edits are one kind of it."""

    @property
    def submodule(self) -> Submodule:
        """Whose matrix changes."""
        ...

    def apply(self, stored: torch.Tensor) -> None:
        """Change a stored matrix in place."""
        ...


@contextmanager
def apply_edits(edits: Sequence[InPlaceEdit]) -> Iterator[None]:
    """Edit the model in memory, in the dtype it runs in, for as long as the context; then put every bit back.

    Edits of one matrix come one after the other, each on top of those before it. Copies of the matrices that change
    are kept, of no others.
    """
    kept: dict[tuple[str, int | None], tuple[torch.Tensor, torch.Tensor]] = {}
    try:
        with torch.no_grad():
            for edit in edits:
                submodule = edit.submodule
                key = submodule.parameter_name, submodule.expert
                if key not in kept:  # several submodules may lie in one matrix
                    matrix = submodule.layout.matrix(submodule.stored)
                    kept[key] = matrix, matrix.clone()
                edit.apply(submodule.stored)
        yield
    finally:
        with torch.no_grad():
            for matrix, before in kept.values():
                matrix.copy_(before)
