"""The prompts of a run, read and split so that none is in two sets."""

from collections.abc import Sequence
from dataclasses import dataclass

from prosafeprune.evaluation.earlier_pruning import EarlierPruning
from prosafeprune.evaluation.prompted_base import prompted_sample
from prosafeprune.evaluation.sets import EvaluationSet, require_one_class, sets_in_modes, users_first
from prosafeprune.evaluation.spot_check import spot_check_sets
from prosafeprune.progress import Reporter
from prosafeprune.prompts import PromptSet, validation_prompts
from prosafeprune.prompts.helpful_prompt import HELPFULNESS
from prosafeprune.prompts.overlap import repeats
from prosafeprune.requests.recipe import Recipe
from prosafeprune.setup.calibration_sources import require_not_measured
from prosafeprune.setup.prompt_sets import (
    PromptSets,
    describe_calibration,
    disjoint_prompts,
    in_modes,
    read_calibration,
    test_prompts,
)

SCORING_SHARE = 0.4
"""Share of the validation prompts that plans are scored on; the others confirm the best plans."""
DRAFT_VALIDATION = 40
"""Validation prompts of each class in a draft."""


@dataclass(frozen=True, kw_only=True)
class RunPrompts:
    """The prompts of a run; none is in two of these."""

    calibration: PromptSets
    validation: PromptSets
    """Validation prompts that a search scores plans on."""
    confirmation: PromptSets
    """Validation prompts that a search measures its best plans on; others than ``validation``, so that no plan is
    selected for a lucky score."""
    evaluation: Sequence[EvaluationSet]
    """Test prompts, which no search may see."""
    benign: PromptSet
    """Benign test prompts, for the divergence from the base model."""
    spot_check: Sequence[EvaluationSet] = ()
    """Test prompts that are measured beside those, and not held to the safety floor."""
    prompted: Sequence[EvaluationSet] = ()
    """Parts of ``evaluation`` that the base model also answers behind a system prompt."""


def read_run_prompts(recipe: Recipe, earlier: EarlierPruning | None, reporter: Reporter) -> RunPrompts:
    """Read the prompts of all splits, and report those of the user, and what they lack."""
    given = read_calibration(recipe, recipe.rank, recipe.seed, earlier)
    tests, benign = test_prompts(recipe)
    measured = users_first([*given.held_out, *tests])
    require_one_class(measured)
    require_not_measured(recipe, measured)
    _warn_of_repeats(measured, reporter)
    evaluation = sets_in_modes(measured, recipe.thinking)
    evaluation += earlier.tested_beyond(evaluation) if earlier is not None else []
    tested = [*(test_set.prompts for test_set in evaluation), benign]
    validation = validation_prompts(recipe.seed, beyond=recipe.goes_beyond)
    if recipe.draft:
        validation = {name: prompts.sample(DRAFT_VALIDATION, recipe.seed) for name, prompts in validation.items()}
    calibration, validation = disjoint_prompts(recipe, recipe.rank, given.sets, validation, tested, reporter)
    splits = {name: prompts.split(SCORING_SHARE, recipe.seed) for name, prompts in validation.items()}
    for line in describe_calibration(recipe, given.reduced_to(calibration), earlier):
        reporter.note(line)
    if recipe.lacks_user_harmful and earlier is None:
        reporter.warning(
            "Only harmless prompts of your own are calibrated on, so the pruned model may answer harmful requests of "
            "the same domain. Calibrate on some as well: --harmful FILE."
        )
    if recipe.operator_note is not None:
        reporter.note(recipe.operator_note)
    is_checked = recipe.suite is None and recipe.test_samples is None and recipe.memory != "low"
    users = [calibration[name] for name in given.from_user]
    return RunPrompts(
        calibration=in_modes(calibration, recipe.thinking),
        validation=in_modes({name: split[0] for name, split in splits.items()}, recipe.thinking),
        confirmation=in_modes({name: split[1] for name, split in splits.items()}, recipe.thinking),
        evaluation=evaluation,
        benign=benign,
        spot_check=spot_check_sets(users) if is_checked else (),
        prompted=prompted_sample(evaluation, recipe.prompting_samples, recipe.seed) if _is_prompted(recipe) else (),
    )


def _warn_of_repeats(measured: Sequence[EvaluationSet], reporter: Reporter) -> None:
    """Say which of the user's own sets ask the same several times: that is taken for further evidence."""
    for prompts in (one.prompts for one in measured if one.is_users):
        repeated = len({later for _, later in repeats(prompts.texts)})
        if repeated:
            reporter.warning(
                f"{prompts.source}: {repeated} of {len(prompts)} prompts are nearly equal to an earlier one, so "
                "intervals and safety floor count the same evidence again. Keep one of each."
            )


def _is_prompted(recipe: Recipe) -> bool:
    """Return whether the base model is also measured behind a system prompt; not where that is the run's own."""
    is_measured = recipe.memory != "low" and not recipe.is_draft and recipe.prompting_samples > 0
    return is_measured and HELPFULNESS not in (recipe.system or "")
