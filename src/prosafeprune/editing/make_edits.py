"""From pooled activations to the edit of every submodule in a plan (section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from prosafeprune.activations.pooled_inputs import PooledInputs
from prosafeprune.editing.edits import EditMeasures, PruningEdit
from prosafeprune.editing.expert_coverage import edited_together, require_enough_prompts
from prosafeprune.method.energy import energy_bound, harmful_overlap, relative_energy, stable_rank
from prosafeprune.method.fitted_projection import fitted_projection
from prosafeprune.method.overlap_operator import OverlapOperator, overlap_operator
from prosafeprune.method.plan import Plan, Projection
from prosafeprune.method.subspaces import TooFewDirections, basis
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.submodule import Submodule
from prosafeprune.progress import Advance
from prosafeprune.prompts.prompt_set import PromptClass

ByClass = Mapping[PromptClass, torch.Tensor]


def make_edits(
    anatomy: Anatomy,
    plan: Plan,
    inputs: PooledInputs,
    class_rows: Mapping[PromptClass, Sequence[int]],
    advance: Advance,
) -> list[PruningEdit]:
    """Return the edit of every submodule in the planned layers, except experts that too few prompts reach.

    For those experts see :mod:`prosafeprune.editing.expert_coverage`.

    Args:
        anatomy: the submodules of the model that the inputs were collected from.
        plan: layers, rank, strength and projection.
        inputs: pooled inputs of the planned layers.
        class_rows: rows of the inputs that belong to each prompt class.
        advance: called after each submodule.

    Raises:
        TooFewDirections: the activations of a submodule outside experts span fewer dimensions than the rank.
    """
    edits: list[PruningEdit] = []
    for layer in plan.layers:
        for group in edited_together(anatomy.of_layer(layer)):
            try:
                require_enough_prompts(group, inputs, class_rows, plan.rank)
                edits += [_make_edit(submodule, plan, inputs, class_rows) for submodule in group]
            except TooFewDirections:
                if group[0].expert is None:
                    raise
            advance(len(group))
    return edits


def class_bases(
    submodule: Submodule,
    weight: torch.Tensor,
    rank: int,
    inputs: PooledInputs,
    class_rows: Mapping[PromptClass, Sequence[int]],
) -> dict[PromptClass, torch.Tensor]:
    """Return each class's basis ``(d_out, rank)`` in the outputs of a submodule with weight ``W (d_out, d_in)``.

    If ``d_out`` is smaller than the rank, as in some K and V projections, the basis spans the complete output space.

    Raises:
        TooFewDirections: a class has fewer independent directions than the rank.
    """
    return _bases(_class_outputs(submodule, weight, inputs, class_rows), rank)


def _make_edit(
    submodule: Submodule, plan: Plan, inputs: PooledInputs, class_rows: Mapping[PromptClass, Sequence[int]]
) -> PruningEdit:
    weight = submodule.weight()
    outputs = _class_outputs(submodule, weight, inputs, class_rows)
    bases = _bases(outputs, plan.rank)
    benign, harmful, pseudo = PromptClass.BENIGN, PromptClass.HARMFUL, PromptClass.PSEUDO_HARMFUL
    operator = overlap_operator(bases[benign], bases[harmful], bases[pseudo])
    if plan.projection is not Projection.ORTHOGONAL:
        classes = (outputs[benign], outputs[harmful], outputs[pseudo])
        right = fitted_projection(*classes, bases[pseudo], plan.fitted_share)
        operator = OverlapOperator(operator.left, right)
    weight_stable_rank = stable_rank(weight)
    measures = EditMeasures(
        submodule=submodule.name,
        kind=submodule.kind,
        layer=submodule.layer,
        stable_rank=weight_stable_rank,
        energy_bound=energy_bound(operator, weight_stable_rank),
        energy=relative_energy(operator, weight),
        harmful_overlap=harmful_overlap(operator, bases[harmful]),
    )
    return PruningEdit(submodule, operator, plan.strength_of(submodule.layer), measures)


def _class_outputs(
    submodule: Submodule, weight: torch.Tensor, inputs: PooledInputs, class_rows: Mapping[PromptClass, Sequence[int]]
) -> dict[PromptClass, torch.Tensor]:
    return {name: inputs.outputs(submodule, weight, rows) for name, rows in class_rows.items()}


def _bases(outputs: ByClass, rank: int) -> dict[PromptClass, torch.Tensor]:
    return {name: basis(activations, min(rank, activations.shape[0])) for name, activations in outputs.items()}
