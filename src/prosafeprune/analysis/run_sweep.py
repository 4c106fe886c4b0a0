"""A sweep measured by generation and judge: the outcome of every prompt at every step."""

from collections.abc import Sequence

import numpy as np

from prosafeprune.analysis.analysis_prompts import AnalysisPrompts, Split
from prosafeprune.analysis.answer_store import BASE_MODEL, Condition
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.plan_lookup import is_from_pruned_model
from prosafeprune.analysis.result import Observation
from prosafeprune.analysis.sweeps import Sweep, Variant, describe_variant, variant_edits
from prosafeprune.errors import InputError
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.prompts import PromptClass
from prosafeprune.requests.analyze import AnalyzeRequest

MEASURED = (PromptClass.PSEUDO_HARMFUL, PromptClass.HARMFUL)
NO_EDIT = "none"


def sweep_sets(request: AnalyzeRequest, prompts: AnalysisPrompts) -> list[EvaluationSet]:
    """Return the prompts of every step: the benchmarks that were named, or bundled prompts.

    A sweep around the user's own plan selects what works best, so it leaves the bundled test prompts alone. The plan of
    a pruned model was usually selected on validation prompts, where it would look better than its neighbours; it is
    measured on test prompts.

    Raises:
        InputError: the benchmarks are all of one class.
    """
    split = sweep_split(request)
    if request.suite is not None or request.benchmark:
        sets = list(prompts.test_sets)
        missing = [name.in_words for name in MEASURED if not any(one.prompt_class is name for one in sets)]
        if missing:
            raise InputError(f"--benchmark: none has {missing[0]} prompts, which sweeps need. Name one that does.")
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
    uses_test = request.suite is not None or bool(request.benchmark) or is_from_pruned_model(request)
    return "test" if uses_test else "validation"


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

    Under :func:`set_key` is the title of each prompt's set, ``(prompts,)``.
    """
    outcomes: Observation = {}
    for prompt_class in MEASURED:
        outcomes[prompt_class.value] = np.array(
            [[good for one in measured.of(prompt_class) for good in one.outcomes] for measured in measurements]
        )
        sets = measurements[0].of(prompt_class)
        outcomes[set_key(prompt_class)] = np.repeat([one.title for one in sets], [len(one.outcomes) for one in sets])
    return outcomes


def set_key(prompt_class: PromptClass) -> str:
    """Return the key of the sets of a class's prompts in an observation."""
    return f"set of {prompt_class.value}"
