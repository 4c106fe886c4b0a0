"""Prompts, model and output of a run, found and checked before the long work."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from prosafeprune.checkpoint.conversion import convert_source, converted_bytes
from prosafeprune.errors import InputError
from prosafeprune.evaluation.earlier_pruning import EarlierPruning, read_earlier_pruning
from prosafeprune.evaluation.sets import SetChoice, choose_sets
from prosafeprune.files.staging import check_output, scratch_folder
from prosafeprune.files.user_path import user_path
from prosafeprune.method.plan import Plan
from prosafeprune.model.hub_headers import source_without_weights
from prosafeprune.model.model_files import checkpoint_bytes
from prosafeprune.model.model_hash import model_hash
from prosafeprune.model.source import ModelSource, early_config, find_source, layer_count, require_local_or_hub
from prosafeprune.parallel.ray_pool import Cluster
from prosafeprune.progress import SILENT, Reporter
from prosafeprune.requests.evaluate import EvaluateRequest
from prosafeprune.requests.measuring import ModelOptions
from prosafeprune.requests.plan_options import PlanOptions
from prosafeprune.requests.recipe import Recipe
from prosafeprune.setup.finished_search import (
    plan_of_point,
    read_search,
    require_kept_point,
    require_one_plan,
    require_search_folder,
)
from prosafeprune.setup.run_prompts import RunPrompts, read_run_prompts

ADAPTER_SHARE = 0.1
"""An adapter takes less than this fraction of its base model's size."""


@dataclass(frozen=True, kw_only=True)
class PreparedRun(RunPrompts):
    """A recipe with everything it names found and checked."""

    recipe: Recipe
    source: ModelSource
    """The base model."""
    output: Path | None
    reporter: Reporter
    cluster: Cluster | None = None
    """Its workers evaluate the plans of a search; None: this process does."""
    earlier: EarlierPruning | None = None
    """The pruned model that the new one replaces."""

    def of_a_copy(self) -> Self:
        """Return the run of a copy that a server measures again: without prompts that the server is not asked."""
        return replace(self, spot_check=(), prompted=())


def prepare_run(
    recipe: Recipe,
    output: Path | None,
    overwrite: bool,
    reporter: Reporter,
    cluster: Cluster | None = None,
    *,
    source: ModelSource | None = None,
) -> PreparedRun:
    """Find and check what a recipe names.

    Args:
        source: the base model, if it was found before.

    Raises:
        InputError: prompts, model or output cannot be used.
    """
    if recipe.is_draft and output is not None:
        raise InputError(
            "A draft is measured on too few prompts to save a model. Leave out --output, or --draft and a "
            "--test-samples below 100."
        )
    if recipe.load is not None and cluster is not None:
        raise InputError("--load: a quantised copy is searched in a single process. Leave out --ray.")
    output = user_path(output).resolve() if output is not None else None
    require_layers_of_config(recipe.model, recipe.revision, recipe.layers or ())
    earlier = read_earlier_pruning(user_path(recipe.earlier)) if recipe.earlier is not None else None
    if earlier is not None:  # before anything that its record names is read
        earlier.require_base(model_hash(find_source(recipe.model, recipe.revision).path))
        recipe = _calibrated_as(earlier, recipe, reporter)
    prompts = read_run_prompts(recipe, earlier, reporter)
    source = source or find_source(recipe.model, recipe.revision, edited=_edits_weights(recipe))
    if recipe.format == "gguf" and not source.is_gguf:
        raise InputError(
            f"{source.name}: is not a GGUF file, which --format gguf edits. Leave it out, or give a .gguf."
        )
    if output is not None:
        require_output_format(source, recipe.format, recipe.dequantise, adapters=recipe.memory == "normal")
        check_output(output, source.path, bytes_needed(source, recipe.format), overwrite)
    return PreparedRun(
        **vars(prompts),
        recipe=recipe,
        source=source,
        output=output,
        reporter=reporter,
        cluster=cluster,
        earlier=earlier,
    )


def _calibrated_as(earlier: EarlierPruning, recipe: Recipe, reporter: Reporter) -> Recipe:
    """Return the recipe with the sources and the number of earlier calibration prompts, unless the user gives others.

    What was fixed with conversations or operators' policies would else be pruned again without any.
    """
    taken = earlier.calibration_settings(recipe.model_fields_set)
    other = {name: value for name, value in taken.items() if value != getattr(recipe, name)}
    if other:
        options = " and ".join(f"--{name} {value}" for name, value in other.items())
        reporter.note(f"Calibrated as {earlier.folder} was: {options}. To change that, give the option.")
    return recipe.model_copy(update=other)


def base_without_weights(recipe: Recipe) -> AbstractContextManager[ModelSource]:
    """Give the recipe's model for a dry run: of a hub model, the headers of its weights alone.

    With an earlier pruning its weights are needed all the same, to compare their hash.
    """
    if recipe.earlier is not None:
        return nullcontext(find_source(recipe.model, recipe.revision, edited=_edits_weights(recipe)))
    return source_without_weights(recipe.model, recipe.revision, edited=_edits_weights(recipe))


def _edits_weights(recipe: Recipe) -> bool:
    # A search edits the weights in memory, whatever is written; a copy is made of the dequantised weights.
    return recipe.format != "adapter" or recipe.layers is None or recipe.load is not None


def require_layers_of_config(model: str, revision: str | None, layers: Sequence[int]) -> None:
    """Raise InputError when a model's config.json, read before its weights, lacks one of the ``layers``."""
    config = early_config(model, revision) if layers else None
    count = layer_count(config) if config is not None else None
    if count is not None:
        require_layers_below(count, layers)


def require_layers_below(count: int, layers: Sequence[int]) -> None:
    """Raise InputError when one of the ``layers`` is not among the ``count`` of the model."""
    beyond = [layer for layer in layers if layer >= count]
    if beyond:
        more = f" and {len(beyond) - 3} more" if len(beyond) > 3 else ""
        named = ", ".join(map(str, beyond[:3])) + more
        raise InputError(f"--layers {named}: the model has {count} layers, counted 0 to {count - 1}.")


def require_output_format(source: ModelSource, written: str, dequantise: bool, *, adapters: bool = True) -> None:
    """Raise InputError when a quantised model would be written as a checkpoint, and not explicitly in 16 bits.

    So it is when both a checkpoint in 16 bits and another format are asked for.

    Args:
        adapters: whether the command could write an adapter instead.
    """
    if dequantise and written != "checkpoint":
        raise InputError(f"--dequantise: writes a checkpoint in 16 bits, not --format {written}. Leave one out.")
    if source.quantisation is not None and written == "checkpoint" and not dequantise:
        adapter = "--format adapter, which leaves them as they are, or " if adapters else ""
        raise InputError(
            f"{source.name}: its weights are quantised ({source.quantisation}). Choose {adapter}--dequantise, which "
            "writes the pruned model in 16 bits."
        )


@contextmanager
def checkpoint_folder(source: ModelSource, output: Path | None, reporter: Reporter) -> Iterator[Path]:
    """Yield the base model's checkpoint folder; a GGUF or quantised one is converted into one inside the context."""
    if not source.is_converted:
        yield source.path
        return
    with ExitStack() as stack:
        if output is not None:
            folder = stack.enter_context(scratch_folder(output, "converted"))
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="prosafeprune-")))
        convert_source(source, folder, reporter)
        yield folder


def bytes_needed(source: ModelSource, result: Literal["checkpoint", "adapter", "gguf"]) -> int:
    """Return the most disk space that writing a pruned model takes, in bytes."""
    size = converted_bytes(source) if source.is_converted else checkpoint_bytes(source.path)
    written = int(ADAPTER_SHARE * size) if result == "adapter" else size
    return written + (size if source.is_converted else 0)  # what is converted is next to it


def require_servable(recipe: Recipe, output: Path | None, command: str) -> str:
    """Return the command of a server, checked, for a run that measures behind it what it writes. Raises InputError."""
    from prosafeprune.generation.local_server import read_command  # its package imports torch

    command = read_command(command)
    if output is None:
        raise InputError("--serve-with measures what was written, so it needs a folder to write. Give --output.")
    if recipe.thinking == "both":
        raise InputError("--thinking both: is measured in memory, not behind servers. Choose on or off.")
    return command


def given_plan(options: PlanOptions) -> Plan | None:
    """Return the plan of options that name its layers; None when they name none."""
    if options.layers is None:
        return None
    return Plan.model_validate({name: getattr(options, name) for name in Plan.model_fields})


def check_early(
    recipe: Recipe,
    output: Path | None = None,
    *,
    overwrite: bool = False,
    search: Path | None = None,
    choose: int | None = None,
    source: ModelSource | None = None,
) -> None:
    """Check model, layers, prompts, output and the search that is named; the run checks them again.

    Args:
        source: the base model, if it was found before.

    Raises:
        InputError: one of them cannot be used.
    """
    require_one_plan(recipe.layers, choose)
    if choose is not None and search is not None:
        plan_of_point(read_search(search), choose, search)
    elif choose is not None:
        require_kept_point(recipe.model, choose)
    elif search is not None:
        require_search_folder(search, recipe.model)
    prepare_run(recipe, output, overwrite, SILENT, source=source)


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
