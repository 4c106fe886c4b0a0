"""A sweep measured by generation and judge: the outcome of every prompt at every step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prosafeprune.analysis.analysis_prompts import AnalysisPrompts, Split
from prosafeprune.analysis.base import Observation
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.plan_of_model import is_of_pruned
from prosafeprune.analysis.sweep_answers import UNTREATED, Treatment
from prosafeprune.analysis.sweeps import Sweep
from prosafeprune.analysis.variants import Variant, describe_variant, edits_of
from prosafeprune.errors import InputError
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.prompts import PromptClass
from prosafeprune.requests.analyze import AnalysisRequest

MEASURED = (PromptClass.PSEUDO_HARMFUL, PromptClass.HARMFUL)


def sweep_sets(request: AnalysisRequest, prompts: AnalysisPrompts) -> list[EvaluationSet]:
    """Return what every step is measured on: the benchmarks that were named, else bundled prompts.

    Around a plan of the user's a sweep looks for what works best, so it leaves the bundled test prompts alone. The plan
    of a pruned model has been chosen, by validation prompts as a rule: on these it would look better than its
    neighbours, and it is shown on test prompts.

    Raises:
        InputError: the benchmarks are all of one class.
    """
    split = sweep_split(request)
    if request.suite is not None or request.benchmark:
        sets = list(prompts.test_sets)
        missing = [name.in_words for name in MEASURED if not any(one.prompt_class is name for one in sets)]
        if missing:
            raise InputError(f"--benchmark: none has {missing[0]} prompts, and sweeps need them. Name one that has.")
        return sets
    return [
        EvaluationSet(
            f"{split}-{name.in_words}",
            f"{split} {name.in_words}",
            prompts.of(split)[name].sample(request.sweep_samples, request.seed),
        )
        for name in MEASURED
    ]


def sweep_split(request: AnalysisRequest) -> Split:
    """Return which prompts the steps are measured on; see :func:`sweep_sets`."""
    chosen_before = request.suite is not None or bool(request.benchmark) or is_of_pruned(request)
    return "test" if chosen_before else "validation"


def treatment_of(variant: Variant, context: Context) -> Treatment:
    """Return the treatment that a variant is."""
    identity = {"variant": variant.model_dump(mode="json"), "calibration": context.calibrated_with}
    return Treatment(describe_variant(variant), identity, lambda: edits_of(variant, context.edits))


def sweep_treatments(sweep: Sweep, context: Context) -> dict[Variant | None, Treatment]:
    """Return what is done to the model in a sweep, the source first, each thing once."""
    return {None: UNTREATED, **{variant: treatment_of(variant, context) for variant in sweep.variants}}


def missing_answers(sweep: Sweep, context: Context) -> int:
    """Return how many answers a sweep still has to have."""
    sets = sweep_sets(context.request, context.prompts)
    return sum(context.answers.missing(treatment, sets) for treatment in sweep_treatments(sweep, context).values())


def measure_sweep(sweep: Sweep, context: Context) -> Observation:
    """Measure every step of a sweep; what was measured before, by this sweep or another, is not done again.

    Returns:
        By prompt class ``(steps, prompts)``, whether each answer was as wished; and ``(steps,)`` each: labels, places
        on the axis (NaN where there is none) and what was done.

    Raises:
        InputError: as the generator, the judge and the making of edits do. What was answered is kept.
    """
    found, sets = {}, sweep_sets(context.request, context.prompts)
    for number, (variant, treatment) in enumerate(sweep_treatments(sweep, context).items()):
        context.reporter.note(f"{sweep.title}, {number} of {len(sweep.variants)}: {treatment.title}.")
        found[variant] = context.measure(treatment, sets)
    steps = sweep.steps
    return {
        "labels": np.array([step.label for step in steps]),
        "values": np.array([np.nan if step.value is None else step.value for step in steps], dtype=np.float64),
        "done": np.array([describe_variant(step.variant) if step.variant else "nothing" for step in steps]),
        **stack_outcomes([found[step.variant] for step in steps]),
    }


def stack_outcomes(measurements: Sequence[Measurement]) -> Observation:
    """Return by prompt class ``(measurements, prompts)``, whether each answer was as wished, all sets in a row.

    Under ``set of`` and the class stands the title of each prompt's set, ``(prompts,)``.
    """
    found: Observation = {}
    for prompt_class in MEASURED:
        found[prompt_class.value] = np.array(
            [[good for one in measured.of(prompt_class) for good in one.outcomes] for measured in measurements]
        )
        sets = measurements[0].of(prompt_class)
        found[set_key(prompt_class)] = np.repeat([one.title for one in sets], [len(one.outcomes) for one in sets])
    return found


def set_key(prompt_class: PromptClass) -> str:
    """Return the name under which the sets of a class's prompts are kept."""
    return f"set of {prompt_class.value}"
