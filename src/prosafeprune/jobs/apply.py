"""``apply``: from an adapter or a fit and its base model to a checkpoint, without calibration."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from prosafeprune.checkpoint.writer import EditedTensors, locate_named, locate_tensors, zero_submodules
from prosafeprune.errors import InputError
from prosafeprune.evaluation.conditions import Conditions
from prosafeprune.evaluation.floor_rule import FloorRule
from prosafeprune.evaluation.lineage import EVIDENCE_FILE, first_ancestor, read_lineage
from prosafeprune.evaluation.measure import warn_of_short_answers
from prosafeprune.evaluation.prompts_record import prompts_record
from prosafeprune.evaluation.sets import require_no_leak, sets_in_modes, warn_of_calibrated_names
from prosafeprune.files.staging import check_output, claimed_output, require_outside
from prosafeprune.files.user_path import user_path
from prosafeprune.jobs.adapter_input import OwnAdapter, open_adapter
from prosafeprune.jobs.apply_fit import apply_fit
from prosafeprune.jobs.fit_input import open_fit
from prosafeprune.jobs.measure_edits import MeasuredOn, measure_edits
from prosafeprune.jobs.prune import save_result, write_documents
from prosafeprune.jobs.prune_result import PruneResult
from prosafeprune.jobs.safety_gate import measured_output
from prosafeprune.judges.registry import make_judge
from prosafeprune.method.plan import Plan
from prosafeprune.model.anatomy import Anatomy, find_anatomy
from prosafeprune.model.loading import LoadedModel, dtype_name, load_tokenizer, make_meta_model
from prosafeprune.model.model_hash import model_hash
from prosafeprune.model.source import ModelSource, find_source
from prosafeprune.progress import SILENT, Reporter
from prosafeprune.prompts.prompt_set import PromptClass
from prosafeprune.report.edit_record import model_record, shareable
from prosafeprune.report.grid import Grid
from prosafeprune.report.page import REPORT_FILE, is_own_page
from prosafeprune.report.prune_grids import prune_grid
from prosafeprune.report.record import Record
from prosafeprune.report.result_view import ChangeView
from prosafeprune.report.run_record import library_versions
from prosafeprune.requests.apply import ApplyRequest
from prosafeprune.requests.parsing import validate_settings
from prosafeprune.requests.recipe import Recipe
from prosafeprune.requests.search import FloorOptions
from prosafeprune.setup.load import inspect_anatomy, load_as_asked
from prosafeprune.setup.prepare import bytes_needed, checkpoint_folder, require_output_format
from prosafeprune.setup.prompt_sets import test_prompts


@dataclass(frozen=True, repr=False)
class ApplyResult(ChangeView):
    """A checkpoint made from an adapter, or a checkpoint or adapter made from a fit."""

    record: Record
    output: Path | None
    """The folder written, or None when too much safety was lost."""
    measured: PruneResult | None
    """What was measured of a fit, or at another strength; None at an adapter's own, whose record has the figures."""

    def grids(self) -> Sequence[Grid]:
        """Return the rates before and after."""
        return [prune_grid(self.record)]


def run_apply(
    adapter: str, request: ApplyRequest, output: Path, *, overwrite: bool = False, reporter: Reporter = SILENT
) -> ApplyResult:
    """Write the pruned checkpoint that ``prune`` would have written instead of the adapter; or the model of a fit.

    At another strength than the adapter's the pruned model is a new one: it is measured before and after, as ``prune``
    does. In both cases it is written only if it keeps the request's safety floor.

    Raises:
        InputError: the adapter is not ours, damaged or of another base model; a bundled prompt that it was calibrated
            on would be measured on; or something else cannot be used.
        SafetyFloorError: the adapter's own record does not keep the safety floor.
    """
    fit = open_fit(adapter)
    if fit is not None:
        made = apply_fit(fit, request, output, overwrite=overwrite, reporter=reporter)
        if made.record.system_warning is not None:
            reporter.warning(made.record.system_warning)
        return ApplyResult(made.record, made.output, made)
    if request.format != "checkpoint":
        raise InputError(f"--format {request.format}: is for a fit; {adapter} is an adapter already. Leave it out.")
    own = open_adapter(adapter)
    plan = own.plan_at(request.strength)
    source = find_source(request.model, request.revision)
    output = user_path(output).resolve()
    require_outside(output, own.folder.resolve(), "adapter's")
    require_output_format(source, "checkpoint", request.dequantise, adapters=False)
    check_output(output, source.path, bytes_needed(source, "checkpoint"), overwrite)
    own.require_base(source)
    own.require_lineage(read_lineage(source.path))
    with claimed_output(output, overwrite), checkpoint_folder(source, output, reporter) as folder:
        if not _same_strengths(own.plan, plan):
            result, edits = _measure(own, plan, request, source, folder, reporter)
            saved = save_result(result, output, edits, source, folder, overwrite=overwrite, reporter=reporter)
            if saved.record.system_warning is not None:
                reporter.warning(saved.record.system_warning)
            return ApplyResult(saved.record, saved.output, saved)
        if request.of_the_measurement:
            reporter.warning(
                f"{', '.join(request.of_the_measurement)}: without effect, since nothing is measured at the adapter's "
                "own strength. Evaluate the checkpoint."
            )
        tokenizer = load_tokenizer(folder, source.name, trust_remote_code=request.trust_remote_code)
        own.require_tokenizer(source, tokenizer)
        anatomy = _anatomy_on_disk(folder, source.name, request, plan, reporter)
        edits = _edited_tensors(own, plan, anatomy, folder)
        record = own.record.model_copy(update={"recipe": recipe_of(own, request), "adapter_sha256": None})
        with (
            measured_output(output, record, overwrite=overwrite) as staging,
            reporter.stage("Writing", len(edits)) as advance,
        ):
            edits.write(staging, advance)
            record = write_documents(staging, record, source, folder)
            _copy_evidence(own.folder, staging, reporter)
        if record.system_warning is not None:
            reporter.warning(record.system_warning)
        return ApplyResult(record, output, None)


def _same_strengths(plan: Plan, other: Plan) -> bool:
    return all(plan.strength_of(layer) == other.strength_of(layer) for layer in plan.layers)


def recipe_of(own: OwnAdapter, request: ApplyRequest) -> Recipe:
    """Return the recipe in the record of the checkpoint that a request makes of an adapter.

    Raises:
        InputError: the request's strength does not fit the adapter's plan.
    """
    plan = own.plan_at(request.strength)
    made = _own_recipe(own.record, request) if _same_strengths(own.plan, plan) else None
    return shareable(made or _measured_recipe(own.record, plan, request))


def _own_recipe(record: Record, request: ApplyRequest) -> Recipe:
    """Return the adapter's recipe with what the user decides: what may run, where keys may go, the safety floor."""
    decided = request.model_dump(
        include={"model", "revision", "trust_remote_code", "judge_endpoint", "dequantise", *FloorOptions.model_fields}
    )
    return record.recipe.model_copy(update={**decided, "format": "checkpoint"})


def _measured_recipe(record: Record, plan: Plan, request: ApplyRequest) -> Recipe:
    """Return the recipe of the pruned model at another strength: calibration as recorded, all else as requested."""
    asked = request.model_dump(exclude={"strength"})
    made = {**plan.model_dump(), "format": "checkpoint", "memory": "normal", "unmeasured": False, "earlier": None}
    measured = {"draft": False, "test_samples": None}  # on all prompts, whatever the adapter was measured on
    return validate_settings(
        Recipe, {**record.recipe.model_dump(), **asked, **made, **measured}, "The adapter's recipe"
    )


def _anatomy_on_disk(folder: Path, name: str, request: ApplyRequest, plan: Plan, reporter: Reporter) -> Anatomy:
    """Return the submodules of a model that is not loaded, without those of the plan's layers that are all zeros.

    A model with experts is loaded: which tensor on disk is which part of a stacked parameter is known by its values.
    """
    anatomy = find_anatomy(make_meta_model(folder, name, trust_remote_code=request.trust_remote_code))
    if anatomy.has_experts:
        return inspect_anatomy(load_as_asked(request, folder, name, reporter).model, reporter)
    planned = [submodule for submodule in anatomy.submodules if submodule.layer in plan.layers]
    return anatomy.leaving_alone(zero_submodules(folder, planned))


def _edited_tensors(own: OwnAdapter, plan: Plan, anatomy: Anatomy, folder: Path) -> EditedTensors:
    edits = own.edits(plan, anatomy)
    submodules = [edit.submodule for edit in edits]
    if anatomy.has_experts:
        return EditedTensors(folder, locate_tensors(folder, submodules), edits)
    located = locate_named(folder, submodules, own.record.edited_tensors)
    return EditedTensors(folder, located, edits)


def _copy_evidence(adapter_folder: Path, folder: Path, reporter: Reporter) -> None:
    for name, is_ours in ((EVIDENCE_FILE, Path.is_file), (REPORT_FILE, is_own_page)):
        if is_ours(adapter_folder / name):
            shutil.copyfile(adapter_folder / name, folder / name)
        else:
            reporter.warning(f"The adapter has no {name} of prosafeprune's, so the pruned model has none either.")


def _measure(
    own: OwnAdapter, plan: Plan, request: ApplyRequest, source: ModelSource, folder: Path, reporter: Reporter
) -> tuple[PruneResult, EditedTensors]:
    recipe = _measured_recipe(own.record, plan, request)
    sets, benign = test_prompts(recipe)
    known = own.record.calibration
    calibration = {name: known[name].model_dump() for name in PromptClass if name in known}
    require_no_leak(calibration, sets)
    warn_of_calibrated_names(calibration, sets, reporter)
    tests = MeasuredOn(sets_in_modes(sets, request.thinking), benign)
    judge = make_judge(request, reporter)
    warn_of_short_answers(request.max_new_tokens, reporter)
    loaded = load_as_asked(request, folder, source.name, reporter)
    edits = _edited_tensors(own, plan, inspect_anatomy(loaded.model, reporter), folder)
    sha256 = model_hash(source.path)
    found = measure_edits(edits, loaded, judge, tests, request, sha256, reporter)
    lineage = read_lineage(source.path)
    ancestor = first_ancestor(source.path, lineage, Conditions.of(judge.name, request))
    measured: dict[str, Any] = {
        **found.recorded(FloorRule.of(request), ancestor),
        "model": model_record(source, loaded.folder, sha256, loaded.tokenizer, loaded.stored_dtype),
        "lineage": lineage.steps,
        "judge": judge.name,
        "evaluation": {test_set.name: prompts_record(test_set.prompts) for test_set in tests.sets},
        "plan": plan,
        "recipe": shareable(recipe),
        "adapter_sha256": None,
        "since": None,  # of the adapter's strength
        "run": _run_record(own.record, loaded, found.batch_sizes),
    }
    record = own.record.model_copy(update=measured)
    return PruneResult(record, found.before, found.after, None, loaded, ancestor=ancestor), edits


def _run_record(old: Record, loaded: LoadedModel, batch_sizes: tuple[int, ...]) -> Any:
    update = {
        "device": loaded.device_name,
        "threads": torch.get_num_threads(),
        "dtype": dtype_name(loaded.run_dtype),
        "load": loaded.load,
        "answer_batch_sizes": batch_sizes,
        "versions": library_versions(),
    }
    return old.run.model_copy(update=update)
