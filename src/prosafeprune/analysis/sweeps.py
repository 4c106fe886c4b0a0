"""The variants that each sweep of the paper measures (5.1, D.1, D.2, D.4), and each prompt's outcome under them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from prosafeprune.analysis.analysis_prompts import AnalysisPrompts
from prosafeprune.analysis.answer_store import BASE_MODEL, Condition
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.plan_lookup import is_from_pruned_model
from prosafeprune.analysis.result import Observation
from prosafeprune.editing.edits import Edit, OperatorEdit, PruningEdit
from prosafeprune.editing.make_edits import OperatorCache, class_bases
from prosafeprune.errors import InputError
from prosafeprune.evaluation.judged_set import counted_once
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.method.overlap_operator import harmful_operator
from prosafeprune.method.plan import LARGEST_STRENGTH, Plan, Projection, describe_layers, describe_plan, first_layer
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.prompts import PromptClass
from prosafeprune.prompts.bundled import Split
from prosafeprune.requests.analyze import AnalyzeRequest

BASE = "base model"
MEASURED = (PromptClass.PSEUDO_HARMFUL, PromptClass.HARMFUL)
NO_EDIT = "none"
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


def _harmful_only(edit: PruningEdit, plan: Plan, plans: OperatorCache) -> OperatorEdit:
    submodule, inputs = edit.submodule, plans.inputs[plan.pooling]
    with torch.inference_mode():
        weight = submodule.weight()
        bases = class_bases(submodule, weight, plan.rank, inputs, plans.class_rows)
        operator = harmful_operator(bases[PromptClass.BENIGN], bases[PromptClass.HARMFUL])
    return OperatorEdit(submodule, operator, edit.strength)


@dataclass(frozen=True)
class Step:
    """One point of a sweep."""

    label: str
    variant: Variant | None
    """What is pruned; None for the base model."""
    value: float | None = None
    """The step's position on a numeric axis."""


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

    Both have orthogonal projections, whatever the plan has: otherwise they would differ in more than ``Pi_p``. These
    take strengths up to 1.
    """
    largest, given = LARGEST_STRENGTH[Projection.ORTHOGONAL], plan.strength
    strength = tuple(min(one, largest) for one in given) if isinstance(given, tuple) else min(given, largest)
    plan = _changed(plan, projection=Projection.ORTHOGONAL, harmful_share=None, strength=strength)
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
    count, first = len(plan.layers), first_layer(plan.pooling)
    blocks = {
        "bottom": tuple(range(first, first + count)),
        "plan": plan.layers,
        "top": tuple(range(num_layers - count, num_layers)),
    }
    near = range(max(first, min(plan.layers) - NEIGHBOURS), min(num_layers, max(plan.layers) + NEIGHBOURS + 1))
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


def sweep_sets(request: AnalyzeRequest, prompts: AnalysisPrompts) -> list[EvaluationSet]:
    """Return the prompts of every step: the benchmarks and files that were named, or bundled prompts.

    A sweep around the user's own plan selects what works best, so it leaves the bundled test prompts alone. The plan of
    a pruned model was usually selected on validation prompts, where it would look better than its neighbours; it is
    measured on test prompts.

    Raises:
        InputError: the benchmarks and files are all of one class.
    """
    split = sweep_split(request)
    if _names_prompts(request):
        sets = list(prompts.test_sets)
        rated = {evaluation_set.prompt_class for evaluation_set in sets if not evaluation_set.is_policy}
        missing = [name.in_words for name in MEASURED if name not in rated]
        if missing:
            raise InputError(
                f"Sweeps need {missing[0]} prompts, and of what is named to measure on, none has {missing[0]} prompts. "
                f"Name a --benchmark that does, or your own with --test-{missing[0]}."
            )
        return sets
    return [
        EvaluationSet(
            f"{split}-{name.in_words}",
            f"{split} {name.in_words}",
            prompts.of(split)[name].sample(request.sweep_samples, request.seed),
        )
        for name in MEASURED
    ]


def sweep_split(request: AnalyzeRequest) -> Split:
    """Return the split that the steps are measured on; see :func:`sweep_sets`."""
    return "test" if _names_prompts(request) or is_from_pruned_model(request) else "validation"


def _names_prompts(request: AnalyzeRequest) -> bool:
    own = (request.test_pseudo_harmful, request.test_harmful)
    return request.suite is not None or bool(request.benchmark) or any(own)


def variant_condition(variant: Variant, context: Context) -> Condition:
    """Return a variant as a condition to measure."""
    identity = {"variant": variant.model_dump(mode="json"), "calibration": context.calibration_hashes}
    return Condition(describe_variant(variant), identity, lambda: variant_edits(variant, context.edits))


def sweep_conditions(sweep: Sweep, context: Context) -> dict[Variant | None, Condition]:
    """Return the conditions of a sweep, each once, the base model first."""
    return {None: BASE_MODEL, **{variant: variant_condition(variant, context) for variant in sweep.variants}}


def measure_sweep(sweep: Sweep, context: Context) -> Observation:
    """Measure every step of a sweep, except what this sweep or another has measured before.

    Returns:
        By prompt class ``(steps, prompts)``, whether each answer has the wanted outcome; and ``(steps,)`` each: labels,
        positions on the axis (NaN without one) and edits.

    Raises:
        InputError: generation, judging or making the edits fails. Finished answers are kept.
    """
    measured, sets = {}, sweep_sets(context.request, context.prompts)
    for number, (variant, condition) in enumerate(sweep_conditions(sweep, context).items()):
        context.reporter.note(f"{sweep.title}, {number} of {len(sweep.variants)}: {condition.title}.")
        measured[variant] = context.answers.measure(condition, sets)
    steps = sweep.steps
    return {
        "labels": np.array([step.label for step in steps]),
        "values": np.array([np.nan if step.value is None else step.value for step in steps], dtype=np.float64),
        "done": np.array([describe_variant(step.variant) if step.variant else NO_EDIT for step in steps]),
        **stack_outcomes([measured[step.variant] for step in steps]),
    }


def stack_outcomes(measurements: Sequence[Measurement]) -> Observation:
    """Return by prompt class ``(measurements, prompts)``, whether each answer has the wanted outcome, over all sets.

    Under :func:`set_key` is the title of each prompt's set, and under :func:`first_key` whether no earlier set has the
    prompt, ``(prompts,)``.
    """
    outcomes: Observation = {}
    for prompt_class in MEASURED:
        outcomes[prompt_class.value] = np.array(
            [
                [good for judged_set in measured.of(prompt_class) for good in judged_set.outcomes]
                for measured in measurements
            ]
        )
        sets = measurements[0].of(prompt_class)
        outcomes[set_key(prompt_class)] = np.repeat(
            [judged_set.title for judged_set in sets], [len(judged_set.outcomes) for judged_set in sets]
        )
        first = {(judged_set.name, row) for judged_set, row in counted_once(sets)}
        outcomes[first_key(prompt_class)] = np.array(
            [(judged_set.name, row) in first for judged_set in sets for row in range(len(judged_set.outcomes))]
        )
    return outcomes


def set_key(prompt_class: PromptClass) -> str:
    """Return the key of the sets of a class's prompts in an observation."""
    return f"set of {prompt_class.value}"


def first_key(prompt_class: PromptClass) -> str:
    """Return the key of whether a class's prompts count over all sets; older observations lack it."""
    return f"first of {prompt_class.value}"
