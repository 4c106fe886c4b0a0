"""Edits put into the weights in memory for a while."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch

from prosafeprune.model.anatomy import Submodule


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
    weights = {edit.submodule.module_name: edit.submodule.module.weight for edit in edits}
    kept: dict[str, torch.Tensor] = {}
    try:
        with torch.no_grad():
            for edit in edits:
                name = edit.submodule.module_name
                if name not in kept:  # several submodules may lie in one matrix
                    kept[name] = weights[name].detach().clone()
                edit.apply(weights[name])
        yield
    finally:
        with torch.no_grad():
            for name, before in kept.items():
                weights[name].copy_(before)
