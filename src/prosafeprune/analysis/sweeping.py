"""A sweep measured by generation and judge: outcomes prompt by prompt, and the tables made of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from prosafeprune.analysis.sweeps import Sweep
from prosafeprune.analysis.treatments import UNTREATED, TreatedModel, Treatment
from prosafeprune.analysis.variants import Variant, VariantEdits
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.prompts import PromptClass
from prosafeprune.search.study import describe_plan

MEASURED = (PromptClass.PSEUDO_HARMFUL, PromptClass.HARMFUL)


def measure_sweep(sweep: Sweep, model: TreatedModel, edits: VariantEdits) -> dict[str, np.ndarray]:
    """Measure every step of a sweep; what was measured before, by this sweep or another, is not done again.

    Returns:
        By prompt class ``(steps, prompts)``, whether each answer was as wished; the steps' labels, places on the axis
        (NaN where there is none) and what was done, each ``(steps,)``.

    Raises:
        InputError: as the generator, the judge and the making of edits do. What was answered is kept.
    """
    found: dict[Variant | None, Measurement] = {None: model.measure(UNTREATED)}
    for number, variant in enumerate(sweep.variants, 1):
        model.reporter.note(f"{sweep.name}, {number} of {len(sweep.variants)}: {describe_variant(variant)}.")
        found[variant] = model.measure(treatment_of(variant, edits))
    steps = sweep.steps
    return {
        "label": np.array([step.label for step in steps]),
        "value": np.array([np.nan if step.value is None else step.value for step in steps]),
        "done": np.array([describe_variant(step.variant) if step.variant else "nothing" for step in steps]),
        **stack_outcomes([found[step.variant] for step in steps]),
    }


def stack_outcomes(measurements: Sequence[Measurement]) -> dict[str, np.ndarray]:
    """Return by prompt class ``(measurements, prompts)``, whether each answer was as wished, all sets in a row."""
    return {
        prompt_class.value: np.array(
            [[good for one in measured.of(prompt_class) for good in one.outcomes] for measured in measurements]
        )
        for prompt_class in MEASURED
    }


def treatment_of(variant: Variant, edits: VariantEdits) -> Treatment:
    """Return the treatment that a variant is."""
    identity = {"variant": variant.model_dump(mode="json")}
    return Treatment(describe_variant(variant), identity, partial(edits.of, variant))


def describe_variant(variant: Variant) -> str:
    """Return a variant in a few words."""
    parts = [describe_plan(variant.plan)]
    if variant.kinds is not None:
        parts.append(f"{' '.join(variant.kinds)} alone")
    if variant.harmful_only:
        parts.append("without Pi_p")
    return ", ".join(parts)
