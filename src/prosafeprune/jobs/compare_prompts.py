"""The prompts of a comparison: to measure on, and to fit the methods on."""

from __future__ import annotations

from dataclasses import dataclass

from prosafeprune.evaluation.sets import EvaluationSet, SetChoice, choose_sets
from prosafeprune.prompts import PromptClass, bundled_prompts, require_splits_disjoint
from prosafeprune.requests.compare import CompareRequest
from prosafeprune.setup.prepare import PromptSets, calibration_prompts


@dataclass(frozen=True)
class ComparisonPrompts:
    """All prompts of a comparison; the splits are disjoint."""

    measured: list[EvaluationSet]
    calibration: PromptSets
    validation: PromptSets


def read_prompts_of(request: CompareRequest) -> ComparisonPrompts:
    """Return all prompts of a comparison.

    Raises:
        InputError: a set cannot be read, or two splits share a prompt.
    """
    found = ComparisonPrompts(
        choose_sets(SetChoice.of(request, request.seed)),
        calibration_prompts(request, request.rank, request.seed),
        {one: bundled_prompts(one, "validation") for one in PromptClass},
    )
    tested = [one.prompts for one in found.measured]
    require_splits_disjoint(list(found.calibration.values()), list(found.validation.values()), tested)
    return found
