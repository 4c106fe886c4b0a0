"""The prompts of a comparison: to measure on, and to fit the methods on. Nothing here imports torch."""

from dataclasses import dataclass

from prosafeprune.evaluation.sets import EvaluationSet, SetChoice, choose_sets
from prosafeprune.progress import Reporter
from prosafeprune.prompts import validation_prompts
from prosafeprune.requests.compare import CompareRequest
from prosafeprune.setup.prompt_sets import PromptSets, disjoint_prompts, read_calibration


@dataclass(frozen=True)
class ComparisonPrompts:
    """All prompts of a comparison; the splits are disjoint."""

    measured: list[EvaluationSet]
    calibration: PromptSets
    validation: PromptSets


def read_prompts_of(request: CompareRequest, reporter: Reporter) -> ComparisonPrompts:
    """Return all prompts of a comparison.

    Raises:
        InputError: a set cannot be read, or two splits share a prompt.
    """
    given = read_calibration(request, request.rank, request.seed)
    measured = [*choose_sets(SetChoice.of(request, request.seed)), *given.held_out]
    validation = validation_prompts(request.seed)
    tested = [one.prompts for one in measured]
    calibration, validation = disjoint_prompts(request, request.rank, given.sets, validation, tested, reporter)
    return ComparisonPrompts(measured, calibration, validation)
