"""Checks of a request that take a second: before torch is imported or a weight is read."""

from collections.abc import Sequence
from pathlib import Path

from prosafeprune.evaluation.sets import SetChoice, choose_sets
from prosafeprune.model.source import require_local_or_hub
from prosafeprune.progress import SILENT
from prosafeprune.requests.evaluate import EvaluateRequest
from prosafeprune.requests.measuring import ModelOptions
from prosafeprune.requests.recipe import Recipe
from prosafeprune.setup.finished_search import plan_of_point, read_search, require_kept_point, require_one_plan
from prosafeprune.setup.prepare import prepare_job, require_layers_of_config


def check_early(
    recipe: Recipe,
    output: Path | None = None,
    *,
    overwrite: bool = False,
    search: Path | None = None,
    choose: int | None = None,
) -> None:
    """Check model, layers, prompts, output and the search that is named; the job checks them again.

    Raises:
        InputError: one of them cannot be used.
    """
    require_one_plan(recipe.layers, choose)
    if choose is not None and search is not None:
        plan_of_point(read_search(search), choose, search)
    elif choose is not None:
        require_kept_point(recipe.model, choose)
    prepare_job(recipe, output, overwrite, SILENT)


def check_model_early(request: ModelOptions, layers: Sequence[int] | None = None) -> None:
    """Check that there is a model of that name, and that it has these layers.

    Raises:
        InputError: there is no such model, or it lacks one of the layers.
    """
    require_local_or_hub(request.model)
    require_layers_of_config(request.model, request.revision, layers or ())


def check_evaluation_early(request: EvaluateRequest) -> None:
    """Check the model, unless it is served, and the sets to measure on. Raises InputError."""
    if request.endpoint is None:
        check_model_early(request)
    choose_sets(SetChoice.of(request, request.seed))
