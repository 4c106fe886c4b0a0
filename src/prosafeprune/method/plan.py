"""What is needed to make the same edit again, and making it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from prosafeprune.method.activations import PooledInputs
from prosafeprune.method.measures import EditMeasures, harmful_overlap, relative_energy, stable_rank
from prosafeprune.method.pooling import Pooling
from prosafeprune.method.strength import Strength
from prosafeprune.method.subspaces import (
    LowRankChange,
    OverlapOperator,
    basis,
    low_rank_change,
    overlap_operator,
)
from prosafeprune.model.anatomy import Anatomy, Submodule
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
        weight = self.submodule.take(stored)
        self.submodule.put(stored, self.change_of(weight).added_to(weight))

    def change_of(self, weight: torch.Tensor) -> LowRankChange:
        """Return what the edit adds to the submodule's ``W (d_out, d_in)``, as two factors."""
        operator = OverlapOperator(self.operator.left.to(weight.device), self.operator.right.to(weight.device))
        return low_rank_change(weight, operator, self.strength)


def make_edits(
    anatomy: Anatomy,
    plan: Plan,
    inputs: PooledInputs,
    class_rows: Mapping[PromptClass, Sequence[int]],
    advance: Advance,
) -> list[Edit]:
    """Return the edit of every submodule of the planned layers.

    Args:
        anatomy: the submodules of the model the inputs were collected from.
        plan: layers, rank and strength.
        inputs: pooled inputs for the planned layers.
        class_rows: which rows of the inputs belong to each prompt class.
        advance: told of each submodule that is done.
    """
    edits = []
    for layer in plan.layers:
        for submodule in anatomy.of_layer(layer):
            edits.append(_make_edit(submodule, plan, inputs, class_rows))
            advance(1)
    return edits


def _make_edit(
    submodule: Submodule, plan: Plan, inputs: PooledInputs, class_rows: Mapping[PromptClass, Sequence[int]]
) -> Edit:
    weight = submodule.weight()
    activations = inputs.outputs(submodule, weight)
    # K and V heads may be narrower than the rank; their whole space is then the most a basis can span.
    rank = min(plan.rank, weight.shape[0])
    bases = {name: basis(activations[:, list(rows)], rank) for name, rows in class_rows.items()}
    operator = overlap_operator(
        *(bases[name] for name in (PromptClass.BENIGN, PromptClass.HARMFUL, PromptClass.PSEUDO_HARMFUL))
    )
    rank_of_weight = stable_rank(weight)
    measures = EditMeasures(
        submodule=submodule.name,
        kind=submodule.kind,
        layer=submodule.layer,
        stable_rank=rank_of_weight,
        energy_bound=rank / rank_of_weight,
        energy=relative_energy(operator, weight),
        harmful_overlap=harmful_overlap(operator, bases[PromptClass.HARMFUL]),
    )
    return Edit(submodule, operator, plan.strength_of(submodule.layer), measures)
