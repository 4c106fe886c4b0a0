"""What a sweep measures: a plan, all of it or a part of it, in memory alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict

from prosafeprune.method.activations import PooledInputs
from prosafeprune.method.plan import Edit, Plan, class_bases, prune_in_place
from prosafeprune.method.pooling import Pooling
from prosafeprune.method.subspaces import OverlapOperator
from prosafeprune.model.anatomy import Anatomy, Submodule
from prosafeprune.prompts import PromptClass
from prosafeprune.search.editing import InPlaceEdit
from prosafeprune.search.edits import PlanEdits


class Variant(BaseModel):
    """A plan, perhaps restricted to some submodules or with a part of its operator left out.

    It can be measured and not written: a checkpoint is made from a plan, which has none of this.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: Plan
    kinds: tuple[str, ...] | None = None
    """The kinds of submodules that are pruned (table 2); None for all."""
    harmful_only: bool = False
    """Whether ``Pi_p`` is left out of Eq. 1, so that the whole harmful subspace goes (table 3). It weakens safety."""


@dataclass(frozen=True)
class AblatedEdit:
    """The edit of one submodule by an operator that is not the paper's. It is no ``Edit``: no writer takes it."""

    submodule: Submodule
    operator: OverlapOperator
    strength: float

    def apply(self, stored: torch.Tensor) -> None:
        """Prune a stored matrix in place."""
        prune_in_place(self.submodule, stored, self.operator, self.strength)


class VariantEdits:
    """Makes the edits of variants for a model whose weights are the source's whenever it is asked."""

    def __init__(
        self,
        anatomy: Anatomy,
        inputs: Mapping[Pooling, PooledInputs],
        class_rows: Mapping[PromptClass, Sequence[int]],
    ) -> None:
        self.inputs, self.class_rows = inputs, class_rows
        self._of_plans = PlanEdits(anatomy, inputs, class_rows)

    def of(self, variant: Variant) -> list[InPlaceEdit]:
        """Return the variant's edits.

        Raises:
            InputError: a class has fewer independent directions than the plan's rank.
        """
        edits = self._of_plans.of(variant.plan)
        if variant.kinds is not None:
            edits = [edit for edit in edits if edit.submodule.kind in variant.kinds]
        return [self._harmful_only(edit, variant.plan) for edit in edits] if variant.harmful_only else [*edits]

    def _harmful_only(self, edit: Edit, plan: Plan) -> AblatedEdit:
        submodule = edit.submodule
        with torch.inference_mode():
            weight = submodule.take(submodule.module.weight)
            bases = class_bases(submodule, weight, plan.rank, self.inputs[plan.pooling], self.class_rows)
            operator = harmful_operator(bases[PromptClass.BENIGN], bases[PromptClass.HARMFUL])
        return AblatedEdit(submodule, operator, edit.strength)


def harmful_operator(benign_basis: torch.Tensor, harmful_basis: torch.Tensor) -> OverlapOperator:
    """Return ``(I - Pi_s) Pi_u``, Eq. 1 without ``Pi_p``, from two bases ``(d_out, r)`` (section 5.1, table 3)."""
    return OverlapOperator(harmful_basis - benign_basis @ (benign_basis.T @ harmful_basis), harmful_basis)
