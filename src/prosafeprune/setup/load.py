"""The model of a run in memory, with its submodules and its judge."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from transformers import PreTrainedModel

from prosafeprune.checkpoint.names import with_originals
from prosafeprune.errors import InputError
from prosafeprune.judges import Judge
from prosafeprune.method.plan import Plan
from prosafeprune.model.anatomy import Anatomy, Skipped, find_anatomy
from prosafeprune.model.loading import LoadedModel, load_model
from prosafeprune.model.replicas import load_with_replicas
from prosafeprune.model.submodule import is_quantised
from prosafeprune.parallel.process_group import current_leader
from prosafeprune.progress import Reporter
from prosafeprune.requests.measuring import ModelOptions
from prosafeprune.setup.prepare import PreparedRun, require_layers_below


@dataclass(frozen=True, kw_only=True)
class LoadedRun(PreparedRun):
    """A run with its model in memory."""

    loaded: LoadedModel
    anatomy: Anatomy
    judge: Judge


def load_run(prepared: PreparedRun, folder: Path, judge: Judge) -> LoadedRun:
    """Load the model of a run from a checkpoint ``folder`` and find its submodules.

    Raises:
        InputError: the model cannot be used, or the recipe says it does not fit in memory.
    """
    if prepared.recipe.memory == "low":
        raise InputError(
            "--memory low prunes given layers, one at a time; to search or to measure, the complete model must be in "
            "memory. Leave --memory low out (from Python, call prune_unmeasured)."
        )
    loaded = load_as_asked(prepared.recipe, folder, prepared.source.name, prepared.reporter)
    anatomy = inspect_anatomy(loaded.model, prepared.reporter)
    if loaded.load is not None:
        anatomy = with_originals(anatomy, folder, loaded.run_dtype)
    return LoadedRun(**vars(prepared), loaded=loaded, anatomy=anatomy, judge=judge)


def load_as_asked(options: ModelOptions, folder: Path, name: str, reporter: Reporter) -> LoadedModel:
    """Load a checkpoint folder with the device, dtype and system prompt asked for.

    Raises InputError when the model cannot be used.
    """
    if getattr(options, "load", None) is not None and current_leader() is not None:
        raise InputError("--load: a quantised copy runs in a single process. Start it without torchrun.")
    return load_with_replicas(partial(load_model, folder, name, **options.load_arguments), reporter)


def inspect_anatomy(model: PreTrainedModel, reporter: Reporter) -> Anatomy:
    """Find the submodules of a model; report each kind found, and each matrix that is not edited."""
    anatomy = find_anatomy(model)
    reporter.note(f"{anatomy.num_layers} decoder layers; submodules found:")
    for line in anatomy.describe():
        reporter.note(f"  {line}")
    for name, reason in anatomy.skipped.items():
        report = reporter.warning if reason in (Skipped.EXPERTS, Skipped.ZERO) else reporter.note
        report(f"{name}: not edited ({reason.value}).")
    return anatomy


def require_layers(plan: Plan, anatomy: Anatomy) -> None:
    """Raise InputError when the plan names layers the model does not have, or that have no matrix to prune."""
    require_layers_below(anatomy.num_layers, plan.layers)
    empty = [layer for layer in plan.layers if not anatomy.of_layer(layer)]
    if empty:
        raise InputError(f"--layers {empty[0]}: every matrix of this layer is all zeros. Choose other layers.")


def require_editable(anatomy: Anatomy) -> None:
    """Raise InputError when weights are quantised and not copies: a search edits the weights in memory."""
    if any(is_quantised(submodule.stored) and submodule.original is None for submodule in anatomy.submodules):
        raise InputError(
            "A quantised model cannot be searched: a search edits its weights in memory. Search the unquantised "
            "model, and give the layers it finds with --layers and --strength."
        )
