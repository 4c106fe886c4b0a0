"""Edits of one submodule's weight, and their application to a model in memory."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from pydantic import BaseModel

from prosafeprune.method.overlap_operator import LowRankChange, OverlapOperator, low_rank_change, pruned_weight
from prosafeprune.model.quantised_copy import quantised_from
from prosafeprune.model.submodule import Submodule


class Edit(Protocol):
    """A change of one submodule's weight."""

    @property
    def submodule(self) -> Submodule:
        """The submodule whose weight changes."""
        ...

    def edited(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the new weight for ``W (d_out, d_in)``, float32, on the weight's device."""
        ...


class EditMeasures(BaseModel):
    """How much one edit removes, as fractions of 1."""

    submodule: str
    kind: str
    layer: int
    stable_rank: float
    """``sr(W) = ||W||_F^2 / ||W||_2^2`` (D.1)."""
    energy_bound: float
    """``r max(1, ||Omega||_2)^2 / sr(W)``, the upper bound of ``energy``: ``r / sr(W)`` for the paper's operator, by
    Theorem 3.2."""
    energy: float
    """``||Omega W||_F^2 / ||W||_F^2``: the fraction of the weight's energy along the operator."""
    harmful_overlap: float
    """``||Omega U_u||_F^2 / ||U_u||_F^2``: the fraction of the harmful subspace that the operator captures (D.3)."""


@dataclass(frozen=True)
class OperatorEdit:
    """Pruning by any operator, for experiments in memory: without measures, no writer accepts it."""

    submodule: Submodule
    operator: OverlapOperator
    strength: float

    def edited(self, weight: torch.Tensor) -> torch.Tensor:
        """Return ``(I - strength Omega) W`` (Eq. 3)."""
        return pruned_weight(weight, self.operator.to(weight.device), self.strength)


@dataclass(frozen=True)
class PruningEdit(OperatorEdit):
    """Pruning by the plan's overlap operator (Eq. 3), with its measures."""

    measures: EditMeasures

    def change(self, weight: torch.Tensor) -> LowRankChange:
        """Return what the edit adds to ``W (d_out, d_in)``, as two factors."""
        return low_rank_change(weight, self.operator.to(weight.device), self.strength)


@dataclass(frozen=True)
class LowRankEdit:
    """A known low-rank change, such as an adapter's, added to the weight."""

    submodule: Submodule
    change: LowRankChange

    def edited(self, weight: torch.Tensor) -> torch.Tensor:
        """Return ``W + B A``."""
        return self.change.added_to(weight)


def apply_edit(edit: Edit, stored: torch.Tensor) -> None:
    """Edit a stored matrix in place: computed in float32, rounded once to the stored dtype."""
    edit.submodule.put(stored, edit.edited(edit.submodule.take(stored)))


@contextmanager
def apply_edits(edits: Sequence[Edit]) -> Iterator[None]:
    """Edit the model in memory, in the dtype it runs in, inside the context; then restore every bit.

    Edits of the same matrix are applied in order, each on top of the previous ones. Only the matrices that change are
    copied. A matrix of a quantised copy gets the edited original, quantised.
    """
    with ExitStack() as stack:
        stack.enter_context(_edited_in_place([edit for edit in edits if edit.submodule.original is None]))
        stack.enter_context(_quantised_again([edit for edit in edits if edit.submodule.original is not None]))
        yield


@contextmanager
def _edited_in_place(edits: Sequence[Edit]) -> Iterator[None]:
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


@contextmanager
def _quantised_again(edits: Sequence[Edit]) -> Iterator[None]:
    of_module: dict[str, list[Edit]] = {}
    for edit in edits:  # several submodules may share one matrix
        of_module.setdefault(edit.submodule.module_name, []).append(edit)
    with ExitStack() as stack:
        for group in of_module.values():
            submodule = group[0].submodule
            assert submodule.original is not None
            with torch.no_grad():
                matrix = submodule.original.read().to(submodule.stored.device)
                for edit in group:
                    apply_edit(edit, matrix)
            stack.enter_context(quantised_from(submodule.module, matrix, submodule.original.dtype))
        yield
