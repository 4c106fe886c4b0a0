"""From an adapter and its base to a pruned checkpoint, without calibration."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load

from prosafeprune.checkpoint.adapter import PREFIX, unstacked
from prosafeprune.checkpoint.writer import EditedTensors, locate_named
from prosafeprune.editing.edits import LowRankEdit
from prosafeprune.errors import InputError
from prosafeprune.evaluation.prompts_record import prompts_record
from prosafeprune.files.staging import check_output, require_outside, staged_folder
from prosafeprune.jobs.prune import finish, try_product
from prosafeprune.jobs.prune_result import BeforeAfter, PruneResult
from prosafeprune.judge.registry import make_judge
from prosafeprune.method.overlap_operator import LowRankChange
from prosafeprune.method.plan import Plan
from prosafeprune.model.adapters import WEIGHTS, find_folder
from prosafeprune.model.anatomy import Anatomy, find_anatomy
from prosafeprune.model.loading import LoadedModel, dtype_name, make_meta_model
from prosafeprune.model.source import ModelSource, file_hash, find_source, model_hash
from prosafeprune.model.submodule import Submodule
from prosafeprune.progress import Reporter, SilentReporter
from prosafeprune.report.answers_file import EVIDENCE_FILE
from prosafeprune.report.card import write_card
from prosafeprune.report.page import REPORT_FILE
from prosafeprune.report.record import Record, library_versions, read_record
from prosafeprune.requests.recipe import Recipe
from prosafeprune.requests.validation import validate_settings
from prosafeprune.setup.load import find_and_report_anatomy, load_for_recipe
from prosafeprune.setup.prepare import bytes_needed, checkpoint_folder, test_prompts


@dataclass(frozen=True)
class ApplyResult:
    """A checkpoint made from an adapter."""

    record: Record
    output: Path | None
    """The folder written, or None when too much safety was lost."""
    measured: PruneResult | None
    """What was measured for another strength; None at the adapter's own, whose figures its record holds already."""


@dataclass(frozen=True)
class OwnAdapter:
    """An adapter that this package wrote, whole and unchanged."""

    folder: Path
    record: Record
    tensors: Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class _Place:
    """Where the base lies, and where the result goes."""

    source: ModelSource
    folder: Path
    """The base's checkpoint, or what a GGUF was converted into."""
    output: Path
    overwrite: bool


def run_apply(
    adapter: str,
    base: str,
    output: Path,
    settings: Mapping[str, Any],
    *,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> ApplyResult:
    """Write the pruned checkpoint that ``prune`` would have written in place of the adapter.

    At another strength than the adapter's the result is a new one: it is measured before and after, as ``prune`` does,
    and written only when it keeps the safety floor; see :func:`prosafeprune.jobs.safety_gate.require_safe`.

    Args:
        adapter: folder or hub id of an adapter that ``prune`` wrote.
        base: the model it was made from: a folder, a hub id or a .gguf file.
        output: folder to write.
        settings: fields of the recipe in place of the adapter's own: ``strength``, and what measuring needs.
        overwrite: replace a model folder that is there already.
        reporter: told of progress.

    Raises:
        InputError: the adapter is not ours, damaged or of another base, or something else cannot be used.
    """
    reporter = reporter or SilentReporter()
    own = open_adapter(adapter)
    recipe = _recipe(own.record, settings)
    plan = own.record.plan.model_copy(update={"strength": recipe.strength})
    _require_scalable(own.record.plan, plan)
    source = find_source(base)
    output = output.expanduser().resolve()
    require_outside(output, own.folder.resolve(), "adapter's")
    check_output(output, source.path, bytes_needed(source, "checkpoint"), overwrite)
    _require_base(source, own.record)
    with checkpoint_folder(source, output, reporter) as folder:
        place = _Place(source, folder, output, overwrite)
        if not _same_strengths(own.record.plan, plan):
            result = _measured(own, recipe, plan, place, reporter)
            return ApplyResult(result.record, result.output, result)
        anatomy = find_anatomy(make_meta_model(folder, source.name, trust_remote_code=recipe.trust_remote_code))
        as_checkpoint = own.record.recipe.model_copy(update={"format": "checkpoint"})
        record = own.record.model_copy(update={"recipe": as_checkpoint, "adapter_sha256": None})
        _write_unmeasured(own, record, _tensors(own, plan, anatomy, folder), place, reporter)
        return ApplyResult(record, output, None)


def open_adapter(adapter: str) -> OwnAdapter:
    """Read an adapter and its record.

    Raises:
        InputError: there is none, it is not one of ours, or its weights are not those that its record tells of.
    """
    folder = find_folder(adapter)
    if not folder.is_dir():
        raise InputError(f"{adapter}: no such folder. Give the folder of an adapter that 'prune' wrote.")
    record = read_record(folder)
    if record.adapter_sha256 is None:
        raise InputError(f"{adapter}: is a pruned model and no adapter. It can be used as it is.")
    file = folder / WEIGHTS
    if not file.is_file() or file_hash(file) != record.adapter_sha256:
        raise InputError(f"{file}: is missing, damaged or not what its record tells of. Fetch or make it again.")
    return OwnAdapter(folder, record, load(file.read_bytes()))


def _recipe(record: Record, settings: Mapping[str, Any]) -> Recipe:
    """Return the recipe of the adapter with other settings, and its layers spelled out where they were searched for."""
    given = {name: value for name, value in settings.items() if value is not None}
    before = {**record.recipe.model_dump(), "layers": record.plan.layers, "strength": record.plan.strength}
    return validate_settings(Recipe, {**before, "format": "checkpoint", **given})


def _require_scalable(old: Plan, new: Plan) -> None:
    lost = [layer for layer in old.layers if old.strength_of(layer) == 0 < new.strength_of(layer)]
    if lost:
        raise InputError(
            f"The adapter has strength 0 in layer {lost[0]}, so it holds nothing to make stronger there. Prune anew."
        )


def _same_strengths(one: Plan, two: Plan) -> bool:
    return all(one.strength_of(layer) == two.strength_of(layer) for layer in one.layers)


def _require_base(source: ModelSource, record: Record) -> None:
    found, wanted = model_hash(source.path), record.model.sha256
    if found != wanted:
        raise InputError(
            f"{source.name}: is not the model that the adapter was made from ({Path(record.model.name).name}, sha256 "
            f"{wanted[:12]}; this one has {found[:12]}). Give that one, unchanged."
        )


def _tensors(own: OwnAdapter, plan: Plan, anatomy: Anatomy, folder: Path) -> EditedTensors:
    submodules = [submodule for submodule in anatomy.submodules if submodule.layer in plan.layers]
    located = locate_named(folder, submodules, own.record.edited_tensors)
    return EditedTensors(folder, located, _edits(own, plan, submodules))


def _edits(own: OwnAdapter, plan: Plan, submodules: Sequence[Submodule]) -> list[LowRankEdit]:
    """Return the adapter's edits at the strengths of ``plan``, submodule by submodule."""
    by_module: dict[str, list[Submodule]] = {}
    for submodule in submodules:
        by_module.setdefault(submodule.module_name, []).append(submodule)
    edits = []
    for module_name, group in by_module.items():
        factors = [own.tensors.get(f"{PREFIX}{module_name}.lora_{name}.weight") for name in "BA"]
        if factors[0] is None or factors[1] is None:
            raise InputError(f"{own.folder}: has no factors for {module_name}. Fetch or make the adapter again.")
        old, new = own.record.plan.strength_of(group[0].layer), plan.strength_of(group[0].layer)
        whole = LowRankChange(factors[0] if old == new else factors[0] * (new / old), factors[1])
        parts = unstacked(whole, group, plan.rank)
        edits += [LowRankEdit(submodule, part) for submodule, part in zip(group, parts, strict=True)]
    return edits


def _write_unmeasured(
    own: OwnAdapter, record: Record, tensors: EditedTensors, place: _Place, reporter: Reporter
) -> None:
    with staged_folder(place.output, place.overwrite) as staging, reporter.stage("Writing", len(tensors)) as advance:
        tensors.write(staging, advance)
        write_card(staging, record, place.source.name if place.source.is_hub else None, place.folder)
        for name in (EVIDENCE_FILE, REPORT_FILE):
            if (own.folder / name).is_file():
                shutil.copyfile(own.folder / name, staging / name)
            else:
                reporter.warning(f"The adapter has no {name}, so the result has none either.")
        record.write(staging)


def _measured(own: OwnAdapter, recipe: Recipe, plan: Plan, place: _Place, reporter: Reporter) -> PruneResult:
    tests = test_prompts(recipe)
    judge = make_judge(recipe, reporter)
    loaded = load_for_recipe(recipe, place.folder, place.source.name, reporter)
    tensors = _tensors(own, plan, find_and_report_anatomy(loaded.model, reporter), place.folder)
    found = try_product(tensors, loaded, judge, tests, recipe, reporter)
    record = _record(own.record, recipe, plan, loaded, found).model_copy(
        update={"judge": judge.name, "evaluation": {one.name: prompts_record(one.prompts) for one in tests[0]}}
    )
    result = PruneResult(record, found.before, found.after, None, loaded)
    return finish(
        result, place.output, tensors, place.source, place.folder, overwrite=place.overwrite, reporter=reporter
    )


def _record(old: Record, recipe: Recipe, plan: Plan, loaded: LoadedModel, found: BeforeAfter) -> Record:
    run = old.run.model_copy(
        update={
            "device": loaded.device_name,
            "threads": torch.get_num_threads(),
            "dtype": dtype_name(loaded.run_dtype),
            "answer_batch_sizes": found.batch_sizes,
            "versions": library_versions(),
        }
    )
    return old.model_copy(
        update={**found.recorded(), "plan": plan, "recipe": recipe, "adapter_sha256": None, "run": run}
    )
