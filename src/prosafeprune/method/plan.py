"""What is needed to make the same edit again, and making it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from prosafeprune.activations.pooled_inputs import PooledInputs
from prosafeprune.editing.expert_coverage import edited_together, require_enough_prompts
from prosafeprune.method.energy import EditMeasures, energy_bound, harmful_overlap, relative_energy, stable_rank
from prosafeprune.method.fitted_projection import OF_HARMFUL, fitted_projection
from prosafeprune.method.pooling import Pooling
from prosafeprune.method.projection import Projection
from prosafeprune.method.strength import Strength
from prosafeprune.method.subspaces import (
    LowRankChange,
    OverlapOperator,
    TooFewDirections,
    basis,
    low_rank_change,
    overlap_operator,
)
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.submodule import Submodule
from prosafeprune.progress import Advance
from prosafeprune.prompts.prompt_set import PromptClass


class Plan(BaseModel):
    """Layers, rank and strength of an edit, and how activations are pooled (table 5)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: tuple[int, ...] = Field(min_length=1)
    rank: int = Field(default=16, ge=1)
    strength: Strength | tuple[Strength, ...] = 0.9
    """One for all layers, or one for each, in the order of the layers."""
    pooling: Pooling = Pooling.SEQUENCE
    projection: Projection = Projection.ORTHOGONAL

    @model_validator(mode="after")
    def _one_strength_a_layer(self) -> Plan:
        if isinstance(self.strength, tuple) and len(self.strength) != len(self.layers):
            raise ValueError(f"{len(self.strength)} strengths are given for {len(self.layers)} layers")
        return self

    def strength_of(self, layer: int) -> float:
        """Return the strength of one of the plan's layers."""
        return self.strength[self.layers.index(layer)] if isinstance(self.strength, tuple) else self.strength

    def of_layer(self, layer: int) -> Plan:
        """Return the part of the plan that is one of its layers."""
        return self.model_copy(update={"layers": (layer,), "strength": self.strength_of(layer)})


@dataclass(frozen=True)
class Edit:
    """The edit of one submodule: its operator, the strength, and what it takes away."""

    submodule: Submodule
    operator: OverlapOperator
    strength: float
    measures: EditMeasures

    def apply(self, stored: torch.Tensor) -> None:
        """Prune a stored matrix in place (Eq. 3): computed in float32, rounded once to the stored dtype."""
        self.submodule.put(stored, self.pruned(self.submodule.take(stored)))

    def pruned(self, weight: torch.Tensor) -> torch.Tensor:
        """Return what the edit makes of the submodule's ``W (d_out, d_in)`` (Eq. 3)."""
        return self.change_of(weight).added_to(weight)

    def change_of(self, weight: torch.Tensor) -> LowRankChange:
        """Return what the edit adds to the submodule's ``W (d_out, d_in)``, as two factors."""
        return change_by(self.operator, self.strength, weight)


def change_by(operator: OverlapOperator, strength: float, weight: torch.Tensor) -> LowRankChange:
    """Return what an operator adds to ``W (d_out, d_in)`` at a strength, on the weight's device."""
    there = OverlapOperator(operator.left.to(weight.device), operator.right.to(weight.device))
    return low_rank_change(weight, there, strength)


def make_edits(
    anatomy: Anatomy,
    plan: Plan,
    inputs: PooledInputs,
    class_rows: Mapping[PromptClass, Sequence[int]],
    advance: Advance,
) -> list[Edit]:
    """Return the edit of every submodule of the planned layers, but of experts that too few prompts reach.

    Such an expert is left whole, see :mod:`prosafeprune.editing.expert_coverage`.

    Args:
        anatomy: the submodules of the model the inputs were collected from.
        plan: layers, rank and strength.
        inputs: pooled inputs for the planned layers.
        class_rows: which rows of the inputs belong to each prompt class.
        advance: told of each submodule that is done.

    Raises:
        TooFewDirections: the activations of a submodule that is no expert's span too little.
    """
    edits: list[Edit] = []
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

    K and V heads may be narrower than the rank; their whole space is then the most a basis can span.

    Raises:
        TooFewDirections: a class has fewer independent directions than the rank.
    """
    return _bases(_class_outputs(submodule, weight, inputs, class_rows), rank)


def _class_outputs(
    submodule: Submodule, weight: torch.Tensor, inputs: PooledInputs, class_rows: Mapping[PromptClass, Sequence[int]]
) -> dict[PromptClass, torch.Tensor]:
    return {name: inputs.outputs(submodule, weight, rows) for name, rows in class_rows.items()}


def _bases(outputs: Mapping[PromptClass, torch.Tensor], rank: int) -> dict[PromptClass, torch.Tensor]:
    return {name: basis(activations, min(rank, activations.shape[0])) for name, activations in outputs.items()}


def _make_edit(
    submodule: Submodule, plan: Plan, inputs: PooledInputs, class_rows: Mapping[PromptClass, Sequence[int]]
) -> Edit:
    weight = submodule.weight()
    outputs = _class_outputs(submodule, weight, inputs, class_rows)
    bases = _bases(outputs, plan.rank)
    operator = _operator(plan.projection, outputs, bases)
    rank_of_weight = stable_rank(weight)
    measures = EditMeasures(
        submodule=submodule.name,
        kind=submodule.kind,
        layer=submodule.layer,
        stable_rank=rank_of_weight,
        energy_bound=energy_bound(operator, rank_of_weight),
        energy=relative_energy(operator, weight),
        harmful_overlap=harmful_overlap(operator, bases[PromptClass.HARMFUL]),
    )
    return Edit(submodule, operator, plan.strength_of(submodule.layer), measures)


def _operator(
    projection: Projection, outputs: Mapping[PromptClass, torch.Tensor], bases: Mapping[PromptClass, torch.Tensor]
) -> OverlapOperator:
    benign, harmful, pseudo_harmful = PromptClass.BENIGN, PromptClass.HARMFUL, PromptClass.PSEUDO_HARMFUL
    operator = overlap_operator(bases[benign], bases[harmful], bases[pseudo_harmful])
    if projection is Projection.ORTHOGONAL:
        return operator
    classes = (outputs[benign], outputs[harmful], outputs[pseudo_harmful])
    return OverlapOperator(operator.left, fitted_projection(*classes, bases[pseudo_harmful], OF_HARMFUL[projection]))
