"""Edits applied to the weights in memory, and undone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from prosafeprune.editing.edits import Edit


def apply_edit(edit: Edit, stored: torch.Tensor) -> None:
    """Edit a stored matrix in place: computed in float32, rounded once to the stored dtype."""
    edit.submodule.put(stored, edit.edited(edit.submodule.take(stored)))


@contextmanager
def apply_edits(edits: Sequence[Edit]) -> Iterator[None]:
    """Edit the model in memory, in the dtype it runs in, inside the context; then restore every bit.

    Edits of the same matrix are applied in order, each on top of the previous ones. Only the matrices that change are
    copied.
    """
    originals: dict[tuple[str, int | None], tuple[torch.Tensor, torch.Tensor]] = {}
    try:
        with torch.no_grad():
            for edit in edits:
                submodule = edit.submodule
                key = submodule.parameter_name, submodule.expert
                if key not in originals:  # several submodules may share one matrix
                    matrix = submodule.layout.matrix(submodule.stored)
                    originals[key] = matrix, matrix.clone()
                apply_edit(edit, submodule.stored)
        yield
    finally:
        with torch.no_grad():
            for matrix, original in originals.values():
                matrix.copy_(original)
