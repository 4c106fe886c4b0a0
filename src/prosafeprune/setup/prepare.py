"""What was asked for, checked before the long work: prompts, model, output."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prosafeprune.checkpoint.writer import checkpoint_bytes
from prosafeprune.errors import InputError
from prosafeprune.evaluation.sets import EvaluationSet, SetChoice, choose_sets
from prosafeprune.files.staging import check_output, scratch_folder
from prosafeprune.method.plan import Plan
from prosafeprune.model.gguf import convert_gguf, converted_bytes
from prosafeprune.model.source import ModelSource, find_source
from prosafeprune.parallel.ray_pool import Cluster
from prosafeprune.progress import Reporter
from prosafeprune.prompts import PromptClass, PromptSet, bundled_prompts, read_prompts, require_splits_disjoint
from prosafeprune.requests.recipe import PlanSettings, Recipe

PromptSets = Mapping[PromptClass, PromptSet]
BENIGN_PROMPTS = 50
ADAPTER_SHARE = 10
"""An adapter is a small part of its base; a tenth is more than it takes."""


@dataclass(frozen=True)
class Job:
    """A recipe with everything it names found and checked."""

    recipe: Recipe
    source: ModelSource
    output: Path | None
    overwrite: bool
    calibration: PromptSets
    validation: PromptSets
    """Prompts that a search may look at."""
    evaluation: Sequence[EvaluationSet]
    """Test prompts, which no search may see."""
    benign: PromptSet
    """Benign test prompts, on which the damage of the edit is read."""
    reporter: Reporter
    cluster: Cluster | None = None
    """Whose workers try the plans of a search; None where this process does."""


def prepare_job(
    recipe: Recipe, output: Path | None, overwrite: bool, reporter: Reporter, cluster: Cluster | None = None
) -> Job:
    """Find and check what a recipe names.

    Raises:
        InputError: prompts, model or output cannot be used.
    """
    output = output.expanduser().resolve() if output is not None else None
    calibration = calibration_prompts(recipe)
    evaluation, benign = test_prompts(recipe)
    validation = {name: bundled_prompts(name, "validation") for name in PromptClass}
    tested = [*(one.prompts for one in evaluation), benign]
    require_splits_disjoint(list(calibration.values()), list(validation.values()), tested)
    source = find_source(recipe.model, recipe.revision, edited=recipe.format == "checkpoint")
    if output is not None:
        check_output(output, source.path, bytes_needed(source, recipe.format), overwrite)
    return Job(recipe, source, output, overwrite, calibration, validation, evaluation, benign, reporter, cluster)


def test_prompts(recipe: Recipe) -> tuple[list[EvaluationSet], PromptSet]:
    """Return what a result is measured on: evaluation sets, and benign prompts for the damage.

    Raises:
        InputError: a set that the recipe names cannot be used.
    """
    benign = bundled_prompts(PromptClass.BENIGN, "test").sample(BENIGN_PROMPTS, recipe.seed)
    return _evaluation_sets(recipe), benign


@contextmanager
def checkpoint_folder(source: ModelSource, output: Path | None, reporter: Reporter) -> Iterator[Path]:
    """Give the source's checkpoint folder; a GGUF is converted into one that lasts as long as the context."""
    if not source.is_gguf:
        yield source.path
        return
    with ExitStack() as stack:
        if output is not None:
            folder = stack.enter_context(scratch_folder(output, "converted"))
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="prosafeprune-")))
        convert_gguf(source.path, folder, reporter)
        yield folder


def bytes_needed(source: ModelSource, result: Literal["checkpoint", "adapter"]) -> int:
    """Return the room on the disk that writing a result takes, at most."""
    size = converted_bytes(source.path) if source.is_gguf else checkpoint_bytes(source.path)
    written = size if result == "checkpoint" else size // ADAPTER_SHARE
    return written + (size if source.is_gguf else 0)  # the converted GGUF lies beside it meanwhile


def calibration_prompts(recipe: PlanSettings) -> PromptSets:
    """Return the prompts of each class that subspaces are made from.

    Raises:
        InputError: a file cannot be read, or a class has fewer prompts than the rank.
    """
    sets = {}
    for prompt_class in PromptClass:
        own = getattr(recipe, prompt_class.value)
        prompts = (
            read_prompts(own, prompt_class, recipe.prompt_field)
            if own
            else bundled_prompts(prompt_class, "calibration")
        )
        sets[prompt_class] = prompts.sample(recipe.samples, recipe.seed)
    smallest = min(sets.values(), key=len)
    if len(smallest) < recipe.rank:
        raise InputError(
            f"Rank {recipe.rank} needs at least as many prompts in each class, and there are {len(smallest)} "
            f"{smallest.prompt_class.in_words} ones. Give more prompts or a smaller --rank."
        )
    return sets


def given_plan(settings: PlanSettings) -> Plan | None:
    """Return the plan of settings that name its layers; None when they name none."""
    if settings.layers is None:
        return None
    return Plan(
        layers=settings.layers,
        rank=settings.rank,
        strength=settings.strength,
        pooling=settings.pooling,
        projection=settings.projection,
    )


def _evaluation_sets(recipe: Recipe) -> list[EvaluationSet]:
    """Return the bundled test prompts, which every run is measured on, and what else the recipe names."""
    sets = choose_sets(SetChoice(suite="bundled"))
    if recipe.suite == "paper" or recipe.benchmark:
        further = SetChoice(
            suite="paper" if recipe.suite == "paper" else None,
            benchmarks=recipe.benchmark,
            data_dir=recipe.data_dir,
            samples=recipe.benchmark_samples,
            seed=recipe.seed,
        )
        sets += choose_sets(further)
    return sets
