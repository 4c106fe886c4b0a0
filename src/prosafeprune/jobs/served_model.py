"""The model of ``chat``, ``playground`` and ``serve``: a base model in memory, with the edits a request may choose."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from prosafeprune.checkpoint.safetensors_file import stored_tensors
from prosafeprune.checkpoint.writer import locate_tensors
from prosafeprune.editing.make_edits import OperatorCache
from prosafeprune.errors import InputError
from prosafeprune.files.resumable_folder import differing
from prosafeprune.jobs.adapter_input import OwnAdapter, open_adapter
from prosafeprune.jobs.written_weights import require_recorded_weights
from prosafeprune.method.plan import Plan
from prosafeprune.model.adapters import find_folder
from prosafeprune.model.anatomy import Anatomy, find_anatomy
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.model_hash import model_hash
from prosafeprune.model.source import ModelSource, find_source, is_adapter_folder
from prosafeprune.plan_search.search_record import SearchRecord
from prosafeprune.progress import Reporter
from prosafeprune.report.record import Record, read_record
from prosafeprune.requests.measuring import ModelOptions
from prosafeprune.requests.recipe import Recipe
from prosafeprune.serving.corrections import Applied
from prosafeprune.serving.engine import Engine
from prosafeprune.serving.served_edit import ServedEdit, from_difference
from prosafeprune.setup.calibrate import collect_inputs
from prosafeprune.setup.finished_search import read_search, require_search_of
from prosafeprune.setup.load import load_as_asked, require_layers
from prosafeprune.setup.prepare import checkpoint_folder, prepare_run

BASE = "base"
"""Name of the base model."""
PRUNED = "pruned"
"""Name of the edit of a pruned checkpoint or an adapter; those of a search are called plan-1, plan-2, ..."""
Side = Literal["base", "pruned"]
"""Which of two models answers, where both are shown."""
LISTED = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Strengths that a list of models names; any other works as well."""


class UnknownModelError(InputError):
    """No model has the name that was asked for."""


@dataclass(frozen=True)
class ServedModel:
    """A base model that answers, and the edits that it may answer under."""

    engine: Engine
    source: ModelSource
    edits: dict[str, ServedEdit]
    """Edits by name."""
    default: str | None
    """The edit that is used unless another is chosen; None without any."""
    record: Record | None = None
    """Record of the pruned checkpoint or adapter."""
    pruned: Path | None = None
    """Its folder."""
    search: SearchRecord | None = None

    def names(self) -> list[str]:
        """Return the names of the models: the base model, and each edit at its own and at some other strengths."""
        at = [
            name if strength is None else f"{name}@{strength:g}" for name in self.edits for strength in (None, *LISTED)
        ]
        return [BASE, *at]

    def applied(self, name: str) -> Applied | None:
        """Return what a model's name stands for: an edit at strengths, or None for the base model.

        ``pruned`` is the edit of the plan or model given, ``pruned@0.6`` the same at strength 0.6 in every layer.

        Raises:
            UnknownModelError: there is no such model.
            InputError: the strength is not one that the plan takes.
        """
        if name in (BASE, self.source.name):
            return None
        edit_name, at, strength = name.partition("@")
        if edit_name == PRUNED and self.default is not None:
            edit_name = PRUNED if PRUNED in self.edits else self.default
        try:
            edit, asked = self.edits[edit_name], float(strength) if at else None
        except (KeyError, ValueError):
            known = ", ".join([BASE, *self.edits])
            at_strength = f", or a strength, such as {next(iter(self.edits))}@0.6" if self.edits else ""
            raise UnknownModelError(f"There is no model {name[:80]!r}. Ask for {known}{at_strength}.") from None
        return Applied(edit, edit.at(asked))


def opening_system(search: Path | None, system: str | None) -> str | None:
    """Return the system prompt to open a model with, where each conversation has its own.

    It is ``system``, which the chat template may require; with a search that was made without it, none.

    Raises:
        InputError: there is no such search.
    """
    return system if search is None or read_search(search).made_by.get("system") == system else None


@contextmanager
def served_model(
    options: ModelOptions, pruned: str | None, search: Path | None, reporter: Reporter
) -> Iterator[ServedModel]:
    """Load the base model and the edits, and yield both.

    Args:
        pruned: folder or hub id of a checkpoint or adapter that ``prune`` made from it, if any.
        search: folder of a finished search on it, if any.

    Raises:
        InputError: model, checkpoint, adapter or search cannot be used, or do not belong together.
    """
    source = find_source(options.model, options.revision, edited=False)
    own = _open_pruned(pruned, source, reporter) if pruned is not None else None
    found = read_search(search) if search is not None else None
    if found is not None and search is not None:
        require_search_of(found, source.path, search)
    with checkpoint_folder(source, None, reporter) as folder:
        loaded = load_as_asked(options, folder, source.name, reporter)
        anatomy = find_anatomy(loaded.model)
        edits: dict[str, ServedEdit] = {}
        if own is not None:
            edits[PRUNED] = _pruned_edit(own, loaded, anatomy)
        if found is not None and search is not None:
            edits |= _search_edits(found, search, options, loaded, anatomy, reporter)
        default = PRUNED if own is not None else f"plan-{found.chosen}" if found and found.chosen else None
        engine = Engine(loaded, list(edits.values()))
        try:
            record = own.record if own is not None else None
            yield ServedModel(
                engine, source, edits, default or next(iter(edits), None), record, own.folder if own else None, found
            )
        finally:
            engine.close()


@dataclass(frozen=True)
class _Checkpoint:
    """A checkpoint that ``prune`` wrote."""

    name: str
    folder: Path
    record: Record
    plan: Plan


def _open_pruned(name: str, source: ModelSource, reporter: Reporter) -> OwnAdapter | _Checkpoint:
    folder = find_folder(name)
    if folder.is_file() and folder.suffix.lower() == ".gguf":
        raise _is_gguf(name)
    if not folder.is_dir():
        raise InputError(f"{name}: no such folder. Give the folder of a checkpoint or adapter that 'prune' wrote.")
    if is_adapter_folder(folder):
        own = open_adapter(name)
        own.require_base(source)
        return own
    record = read_record(folder)
    if record.plan is None:
        raise InputError(
            f"{name}: was made from a fit, not by pruning, so it has no strength. Give it as MODEL, alone."
        )
    found = _Checkpoint(name, folder, record, record.plan)
    if found.record.recipe.format == "gguf":
        raise _is_gguf(name)
    if found.record.model.sha256 != model_hash(source.path):
        raise InputError(f"{name}: was pruned from another model than {source.name}. Give the model it was made from.")
    require_recorded_weights(folder, record, reporter)
    return found


def _is_gguf(name: str) -> InputError:
    return InputError(
        f"{name}: is a GGUF, which runs by itself and not as an edit of its base model. Give it as MODEL, alone, or "
        "prune with --format checkpoint or adapter."
    )


def _pruned_edit(own: OwnAdapter | _Checkpoint, loaded: LoadedModel, anatomy: Anatomy) -> ServedEdit:
    plan = own.plan
    if isinstance(own, OwnAdapter):
        full = plan.model_copy(update={"strength": tuple(float(plan.strength_of(layer) > 0) for layer in plan.layers)})
        changes = [(edit.submodule, edit.change) for edit in own.edits(full, anatomy)]
        return ServedEdit.of(PRUNED, plan, changes, loaded)
    require_layers(plan, anatomy)
    if own.record.polish is not None and own.record.polish.kept:
        plan = with_polish(plan, own.record.polish.rank, anatomy)
    submodules = [submodule for submodule in anatomy.submodules if submodule.layer in plan.layers]
    located, tensors = locate_tensors(loaded.folder, submodules), stored_tensors(own.folder)
    changes = []
    for submodule in submodules:
        stored = located[submodule.name]
        if stored.name not in tensors or tensors[stored.name].shape != stored.tensor.shape:
            raise InputError(f"{own.name}: has no tensor {stored.name} of its base model's shape. Fetch it again.")
        weight, pruned = (stored.layout.take(tensor.read()) for tensor in (stored.tensor, tensors[stored.name]))
        change = from_difference(weight, pruned, plan.rank, plan.strength_of(submodule.layer))
        if change is not None:
            changes.append((submodule, change))
    return ServedEdit.of(PRUNED, plan, changes, loaded)


def with_polish(plan: Plan, rank: int, anatomy: Anatomy) -> Plan:
    """Return the plan of pruning and training together: layers that were trained but not pruned have strength 1."""
    layers = sorted({submodule.layer for submodule in anatomy.submodules})
    strengths = tuple((plan.strength_of(layer) if layer in plan.layers else 0.0) or 1.0 for layer in layers)
    return plan.model_copy(update={"layers": tuple(layers), "strength": strengths, "rank": plan.rank + rank})


def _require_same_prompts(record: SearchRecord, folder: Path, options: ModelOptions) -> None:
    """Raise InputError when the search calibrated under another system prompt or mode of thinking."""
    now = {"system": options.system, "thinking": options.recorded_thinking}
    if record.made_by.get("thinking") == "both":
        del now["thinking"]
    if changed := differing(record.made_by, now):
        given = " and ".join(f"--{name}" for name in changed)
        raise InputError(f"{folder}: the search was made with another {given}, so its plans were. Start with the same.")


def _search_edits(
    record: SearchRecord, folder: Path, options: ModelOptions, loaded: LoadedModel, anatomy: Anatomy, reporter: Reporter
) -> dict[str, ServedEdit]:
    """Make the edits of a search's plans from the calibration prompts, as ``prune --choose`` does."""
    plans = [point.plan for point in record.points]
    if not plans:
        raise InputError(f"{folder}: the search there found no plan. Search again, with a larger --budget.")
    for plan in plans:
        require_layers(plan, anatomy)
    drawn: dict[str, Any] = {"rank": plans[0].rank, "samples": record.samples, "seed": record.seed}
    if record.made_by.get("thinking") == "both":
        drawn["thinking"] = "both"  # of the calibration prompts; answers are given in one mode
    _require_same_prompts(record, folder, options)
    recipe = Recipe.model_validate({**options.model_dump(include=set(ModelOptions.model_fields)), **drawn})
    prepared = prepare_run(recipe, None, False, reporter)
    calibration = {name.value: prompts.sha256 for name, prompts in prepared.calibration.items()}
    if record.made_by.get("calibration") != calibration:
        raise InputError(
            f"{folder}: was calibrated with other prompts than the bundled ones. Prune with the plan (prune --search "
            f"{folder} --choose N), and give the pruned model instead."
        )
    poolings = tuple(dict.fromkeys(plan.pooling for plan in plans))
    layers = sorted({layer for plan in plans for layer in plan.layers})
    inputs, class_rows = collect_inputs(
        loaded, anatomy, prepared.calibration, poolings, layers, "auto", reporter, record.made_by["model"]
    )
    cache = OperatorCache(anatomy, inputs, class_rows)
    edits = {}
    with reporter.stage("Plans of the search", len(record.points)) as advance, torch.inference_mode():
        for point in record.points:
            made = cache.of(point.plan.model_copy(update={"strength": 1.0}))
            changes = [(edit.submodule, edit.change(edit.submodule.weight())) for edit in made]
            edits[f"plan-{point.number}"] = ServedEdit.of(f"plan-{point.number}", point.plan, changes, loaded)
            advance(1)
    return edits
