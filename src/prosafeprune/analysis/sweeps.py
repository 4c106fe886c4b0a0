"""The variants that each sweep of the paper measures (sections 5.1, D.1, D.2 and D.4)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict

from prosafeprune.editing.edits import AblationEdit, Edit, PruningEdit
from prosafeprune.editing.make_edits import OperatorCache, class_bases
from prosafeprune.method.overlap_operator import harmful_operator
from prosafeprune.method.plan import Plan, Projection, describe_layers
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.prompts import PromptClass
from prosafeprune.search.optuna_study import describe_plan

BASE = "base model"
MLP = ("gate", "up", "down")
NEIGHBOURS = 2
"""Layers on either side of the plan that are measured alone: table 11 has 14 to 18 around the plan's 16."""


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


@dataclass(frozen=True)
class Step:
    """One point of a sweep."""

    label: str
    variant: Variant | None
    """None for the base model."""
    value: float | None = None
    """Its position on the axis, if the axis is numeric."""


@dataclass(frozen=True)
class Sweep:
    """Variants measured on the same prompts and shown together."""

    title: str
    steps: Sequence[Step]

    @property
    def variants(self) -> list[Variant]:
        """What is measured besides the base model, each once."""
        return list(dict.fromkeys(step.variant for step in self.steps if step.variant is not None))


def strength_sweep(plan: Plan, strengths: Sequence[float]) -> Sweep:
    """Return the plan at each of ``strengths``, the same for all its layers (figure 11); 0 is the base model."""
    steps = [
        Step(f"{strength:g}", Variant(plan=_changed(plan, strength=strength)) if strength else None, strength)
        for strength in sorted({0.0, *strengths})
    ]
    return Sweep("Strength", steps)


def rank_sweep(plan: Plan, ranks: Sequence[int]) -> Sweep:
    """Return the plan at each of ``ranks`` (figure 10)."""
    steps = [Step(str(rank), Variant(plan=_changed(plan, rank=rank)), rank) for rank in sorted(set(ranks))]
    return Sweep("Rank", [Step(BASE, None), *steps])


def submodule_sweep(plan: Plan, anatomy: Anatomy) -> Sweep:
    """Return the plan on each kind of submodule alone, and on all (table 2); gate, up and down count as the MLP."""
    groups: dict[str, list[str]] = {}
    for layer in plan.layers:
        for submodule in anatomy.of_layer(layer):
            kinds = groups.setdefault("MLP" if submodule.kind in MLP else submodule.kind, [])
            if submodule.kind not in kinds:
                kinds.append(submodule.kind)
    steps = [Step(name, Variant(plan=plan, kinds=tuple(kinds))) for name, kinds in groups.items()]
    return Sweep("Submodules", [Step(BASE, None), *steps, Step("all", Variant(plan=plan))])


def operator_sweep(plan: Plan) -> Sweep:
    """Return the plan with the paper's operator and with the operator without ``Pi_p`` (table 3).

    Both have orthogonal projections, whatever the plan has: otherwise they would differ in more than ``Pi_p``.
    """
    plan = _changed(plan, projection=Projection.ORTHOGONAL, harmful_share=None)
    return Sweep(
        "Operator",
        [
            Step(BASE, None),
            Step("(I - Pi_s) Pi_u Pi_p", Variant(plan=plan)),
            Step("(I - Pi_s) Pi_u", Variant(plan=plan, harmful_only=True)),
        ],
    )


def depth_sweep(plan: Plan, num_layers: int) -> Sweep:
    """Return the plan on its layers, on as many at the bottom and at the top, and on each layer near it alone.

    These are tables 10 and 11, with the plan's layers as their middle ones. Of several strengths the largest is used
    throughout, so that only the layers differ.
    """
    strength = max(plan.strength_of(layer) for layer in plan.layers)
    count = len(plan.layers)
    blocks = {"bottom": tuple(range(count)), "plan": plan.layers, "top": tuple(range(num_layers - count, num_layers))}
    near = range(max(0, min(plan.layers) - NEIGHBOURS), min(num_layers, max(plan.layers) + NEIGHBOURS + 1))
    steps = [
        Step(f"{name}: {describe_layers(layers)}", Variant(plan=_changed(plan, layers=layers, strength=strength)))
        for name, layers in blocks.items()
    ]
    steps += [
        Step(f"layer {layer}", Variant(plan=_changed(plan, layers=(layer,), strength=strength))) for layer in near
    ]
    return Sweep("Depth", [Step(BASE, None), *steps])


def _changed(plan: Plan, **changes: object) -> Plan:
    """Return the plan with these changes, validated."""
    return Plan.model_validate({**plan.model_dump(), **changes})
