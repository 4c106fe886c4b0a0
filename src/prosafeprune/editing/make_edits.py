"""From pooled activations to the edit of every submodule in a plan (section 3.2), with operators that plans share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from prosafeprune.activations.pooled_inputs import PooledInputs
from prosafeprune.editing.edits import EditMeasures, PruningEdit
from prosafeprune.editing.expert_coverage import edited_together, require_enough_prompts
from prosafeprune.method.energy import energy_bound, harmful_overlap, relative_energy, stable_rank
from prosafeprune.method.fitted_projection import FittedProjection, fit_projection
from prosafeprune.method.overlap_operator import OverlapOperator, overlap_operator
from prosafeprune.method.plan import Plan, Pooling, Projection
from prosafeprune.method.subspaces import TooFewDirections, basis
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.submodule import Submodule
from prosafeprune.progress import Advance, ignore
from prosafeprune.prompts import PromptClass

ByClass = Mapping[PromptClass, torch.Tensor]


@dataclass(frozen=True)
class OperatorParts:
    """What the operators of one submodule have in common, whatever the plan's harmful share: the costly part."""

    overlap: OverlapOperator
    """The operator of Eq. 1."""
    fitted: FittedProjection | None
    """What takes the place of ``Pi_p``; None for the paper's projection."""
    harmful_basis: torch.Tensor
    """The basis ``U_u (d_out, r)`` of the harmful subspace."""
    stable_rank: float

    def operator(self, plan: Plan) -> OverlapOperator:
        """Return the operator with the plan's projection."""
        if self.fitted is None:
            return self.overlap
        return OverlapOperator(self.overlap.left, self.fitted.of_share(plan.fitted_share))


KnownParts = dict[tuple[str, Pooling, int, bool], OperatorParts]
"""Parts by submodule, pooling, rank, and whether the projection is the paper's."""


def make_edits(
    anatomy: Anatomy,
    plan: Plan,
    inputs: PooledInputs,
    class_rows: Mapping[PromptClass, Sequence[int]],
    advance: Advance,
    known: KnownParts | None = None,
) -> list[PruningEdit]:
    """Return the edit of every submodule in the planned layers, except experts that too few prompts reach.

    For those experts see :mod:`prosafeprune.editing.expert_coverage`.

    Args:
        anatomy: the submodules of the model that the inputs were collected from.
        plan: layers, rank, strength and projection.
        inputs: pooled inputs of the planned layers.
        class_rows: rows of the inputs that belong to each prompt class.
        advance: called after each submodule.
        known: parts of operators made before from the same inputs and rows; those made now are added.

    Raises:
        TooFewDirections: the activations of a submodule outside experts span fewer dimensions than the rank.
    """
    edits: list[PruningEdit] = []
    for layer in plan.layers:
        for group in edited_together(anatomy.of_layer(layer)):
            try:
                require_enough_prompts(group, inputs, class_rows, plan.rank)
                made: list[PruningEdit] = []
                for submodule in group:
                    weight = submodule.weight()
                    parts = _operator_parts(submodule, weight, plan, inputs, class_rows, known)
                    made.append(_edit(submodule, weight, plan, parts))
                edits += made
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


def _operator_parts(
    submodule: Submodule,
    weight: torch.Tensor,
    plan: Plan,
    inputs: PooledInputs,
    class_rows: Mapping[PromptClass, Sequence[int]],
    known: KnownParts | None,
) -> OperatorParts:
    is_orthogonal = plan.projection is Projection.ORTHOGONAL
    key = (submodule.name, plan.pooling, plan.rank, is_orthogonal)
    if known is not None and key in known:
        return known[key]
    outputs = _class_outputs(submodule, weight, inputs, class_rows)
    bases = _bases(outputs, plan.rank)
    benign, harmful, pseudo = PromptClass.BENIGN, PromptClass.HARMFUL, PromptClass.PSEUDO_HARMFUL
    fitted = None
    if not is_orthogonal:
        fitted = fit_projection(outputs[benign], outputs[harmful], outputs[pseudo], bases[pseudo])
    overlap = overlap_operator(bases[benign], bases[harmful], bases[pseudo])
    parts = OperatorParts(overlap, fitted, bases[harmful], stable_rank(weight))
    if known is not None:
        known[key] = parts
    return parts


def _edit(submodule: Submodule, weight: torch.Tensor, plan: Plan, parts: OperatorParts) -> PruningEdit:
    operator = parts.operator(plan)
    measures = EditMeasures(
        submodule=submodule.name,
        kind=submodule.kind,
        layer=submodule.layer,
        stable_rank=parts.stable_rank,
        energy_bound=energy_bound(operator, parts.stable_rank),
        energy=relative_energy(operator, weight),
        harmful_overlap=harmful_overlap(operator, parts.harmful_basis),
    )
    return PruningEdit(submodule, operator, plan.strength_of(submodule.layer), measures)


def _class_outputs(
    submodule: Submodule, weight: torch.Tensor, inputs: PooledInputs, class_rows: Mapping[PromptClass, Sequence[int]]
) -> dict[PromptClass, torch.Tensor]:
    return {name: inputs.outputs(submodule, weight, rows) for name, rows in class_rows.items()}


def _bases(outputs: ByClass, rank: int) -> dict[PromptClass, torch.Tensor]:
    return {name: basis(activations, min(rank, activations.shape[0])) for name, activations in outputs.items()}


class OperatorCache:
    """Makes the edits of plans, for a model that has its base weights at every call."""

    def __init__(
        self, anatomy: Anatomy, inputs: Mapping[Pooling, PooledInputs], class_rows: Mapping[PromptClass, Sequence[int]]
    ) -> None:
        self.anatomy, self.inputs, self.class_rows = anatomy, inputs, class_rows
        self._at_full_strength: dict[Plan, list[PruningEdit]] = {}
        self._parts: KnownParts = {}

    def of(self, plan: Plan) -> list[PruningEdit]:
        """Return the plan's edits, without those of layers at strength 0."""
        return [
            replace(edit, strength=plan.strength_of(layer))
            for layer in plan.layers
            if plan.strength_of(layer) > 0
            for edit in self._made(plan.of_layer(layer).model_copy(update={"strength": 1.0}))
        ]

    def _made(self, plan: Plan) -> list[PruningEdit]:
        if plan not in self._at_full_strength:
            with torch.inference_mode():
                self._at_full_strength[plan] = make_edits(
                    self.anatomy, plan, self.inputs[plan.pooling], self.class_rows, ignore, self._parts
                )
        return self._at_full_strength[plan]
