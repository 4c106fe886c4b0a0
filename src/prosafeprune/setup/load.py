"""A job's model in memory, looked at and ready to be worked on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from transformers import PreTrainedModel

from prosafeprune.errors import InputError
from prosafeprune.judge import Judge
from prosafeprune.judge.registry import make_judge
from prosafeprune.method.plan import Plan
from prosafeprune.model.anatomy import Anatomy, Skipped, find_anatomy
from prosafeprune.model.dense import is_quantised
from prosafeprune.model.loading import LoadedModel, load_model
from prosafeprune.model.replicas import load_with_replicas
from prosafeprune.progress import Reporter
from prosafeprune.requests.recipe import Recipe
from prosafeprune.setup.prepare import Job


@dataclass(frozen=True)
class LoadedJob:
    """The model, what it is made of, and who judges its answers."""

    job: Job
    folder: Path
    """The checkpoint, or what a GGUF was converted into."""
    loaded: LoadedModel
    anatomy: Anatomy
    judge: Judge


def load_job(job: Job, folder: Path) -> LoadedJob:
    """Load the job's model and find its submodules.

    Raises:
        InputError: the judge cannot be reached, or the model cannot be used; or it may not be held in memory.
    """
    recipe = job.recipe
    if recipe.memory == "low":
        raise InputError(
            "--memory low prunes given layers, one at a time; to search or to measure, the whole model must be in "
            "memory. Leave --memory low out (from Python, call prune_unmeasured)."
        )
    judge = make_judge(recipe, job.reporter)  # first, since a server may be out of reach
    loaded = load_for_recipe(recipe, folder, job.source.name, job.reporter)
    return LoadedJob(job, folder, loaded, find_and_report_anatomy(loaded.model, job.reporter), judge)


def load_for_recipe(recipe: Recipe, folder: Path, name: str, reporter: Reporter) -> LoadedModel:
    """Load a checkpoint folder where and how a recipe says. Raises InputError when the model cannot be used."""
    load = partial(
        load_model,
        folder,
        name,
        device=recipe.device,
        dtype=recipe.dtype,
        trust_remote_code=recipe.trust_remote_code,
    )
    return load_with_replicas(load, reporter)


def find_and_report_anatomy(model: PreTrainedModel, reporter: Reporter) -> Anatomy:
    """Find the submodules, and tell what was found, one line per kind, and what is left alone."""
    anatomy = find_anatomy(model)
    reporter.note(f"{anatomy.num_layers} decoder layers; submodules found:")
    for line in anatomy.describe():
        reporter.note(f"  {line}")
    for name, reason in anatomy.skipped.items():
        tell = reporter.warning if reason is Skipped.EXPERTS else reporter.note
        tell(f"{name}: left as it is ({reason.value}).")
    return anatomy


def require_layers(plan: Plan, anatomy: Anatomy) -> None:
    """Raise InputError when the plan names layers the model does not have."""
    beyond = [layer for layer in plan.layers if layer >= anatomy.num_layers]
    if beyond:
        raise InputError(
            f"--layers {', '.join(map(str, beyond))}: the model has {anatomy.num_layers} layers, counted 0 to "
            f"{anatomy.num_layers - 1}."
        )


def require_editable(anatomy: Anatomy) -> None:
    """Raise InputError when weights are quantised: a search tries its plans on the weights in memory."""
    if any(is_quantised(submodule.stored) for submodule in anatomy.submodules):
        raise InputError(
            "Quantised weights cannot be searched: plans are tried on the weights themselves. Search the unquantised "
            "model, and give the layers it finds with --layers and --strength."
        )
