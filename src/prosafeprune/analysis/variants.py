"""A plan or a part of it, as sweeps measure it in memory."""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict

from prosafeprune.editing.edits import AblationEdit, Edit, PruningEdit
from prosafeprune.editing.make_edits import class_bases
from prosafeprune.editing.operator_cache import OperatorCache
from prosafeprune.method.overlap_operator import harmful_operator
from prosafeprune.method.plan import Plan
from prosafeprune.prompts import PromptClass
from prosafeprune.search.optuna_study import describe_plan


class Variant(BaseModel):
    """A plan, possibly restricted to some submodules or with a part of its operator left out.

    It can be measured but not written: checkpoints are written from a plan, which has no such fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: Plan
    kinds: tuple[str, ...] | None = None
    """The kinds of submodules to prune (table 2); None for all."""
    harmful_only: bool = False
    """Whether to leave ``Pi_p`` out of Eq. 1, which removes the entire harmful subspace (table 3). Weakens safety."""


def variant_edits(variant: Variant, plans: OperatorCache) -> list[Edit]:
    """Return a variant's edits; the model must have the weights that the inputs were collected with.

    Raises:
        InputError: a class has fewer independent directions than the plan's rank.
    """
    edits = plans.of(variant.plan)
    if variant.kinds is not None:
        edits = [edit for edit in edits if edit.submodule.kind in variant.kinds]
    return [_harmful_only(edit, variant.plan, plans) for edit in edits] if variant.harmful_only else [*edits]


def describe_variant(variant: Variant) -> str:
    """Return a variant in a few words."""
    parts = [describe_plan(variant.plan)]
    if variant.kinds is not None:
        parts.append(f"{' '.join(variant.kinds)} alone")
    if variant.harmful_only:
        parts.append("without Pi_p")
    return ", ".join(parts)


def _harmful_only(edit: PruningEdit, plan: Plan, plans: OperatorCache) -> AblationEdit:
    submodule, inputs = edit.submodule, plans.inputs[plan.pooling]
    with torch.inference_mode():
        weight = submodule.weight()
        bases = class_bases(submodule, weight, plan.rank, inputs, plans.class_rows)
        operator = harmful_operator(bases[PromptClass.BENIGN], bases[PromptClass.HARMFUL])
    return AblationEdit(submodule, operator, edit.strength)
