"""``apply`` with a fit: the LoRA adapter that a method of ``compare`` trained becomes a checkpoint or an adapter.

The model is measured before and after, as ``prune`` does, and written only if it keeps the safety floor.
"""

from pathlib import Path

import torch

from prosafeprune.baselines.evaluated_method import warn_of_other_conditions
from prosafeprune.checkpoint.adapter import LoraAdapter
from prosafeprune.checkpoint.writer import EditedTensors, WritableEdits, locate_tensors
from prosafeprune.evaluation.conditions import Conditions
from prosafeprune.evaluation.floor_rule import FloorRule
from prosafeprune.evaluation.lineage import first_ancestor, read_lineage
from prosafeprune.evaluation.measure import warn_of_short_answers
from prosafeprune.evaluation.prompts_record import prompts_record
from prosafeprune.evaluation.sets import sets_in_modes
from prosafeprune.files.staging import check_output, claimed_output, require_outside
from prosafeprune.files.user_path import user_path
from prosafeprune.jobs.fit_input import OwnFit, strength_of
from prosafeprune.jobs.measure_edits import BeforeAfter, MeasuredOn, measure_edits
from prosafeprune.jobs.prune import save_result
from prosafeprune.jobs.prune_result import PruneResult
from prosafeprune.judges.registry import make_judge
from prosafeprune.model.loading import LoadedModel, dtype_name
from prosafeprune.model.replicas import ReplicatedModel
from prosafeprune.model.source import ModelSource, find_source
from prosafeprune.progress import Reporter
from prosafeprune.report.edit_record import model_record, shareable
from prosafeprune.report.record import Record
from prosafeprune.report.run_record import RunRecord, library_versions
from prosafeprune.requests.apply import ApplyRequest
from prosafeprune.requests.parsing import validate_settings
from prosafeprune.requests.recipe import Recipe
from prosafeprune.setup.adapter_support import require_adapter_support
from prosafeprune.setup.load import load_as_asked
from prosafeprune.setup.prepare import bytes_needed, checkpoint_folder, require_output_format
from prosafeprune.setup.prompt_sets import test_prompts


def apply_fit(fit: OwnFit, request: ApplyRequest, output: Path, *, overwrite: bool, reporter: Reporter) -> PruneResult:
    """Measure the base model, merge the fit into it, measure it again and, if it keeps the safety floor, write it.

    Raises:
        InputError: the fit is of another base model, or a prompt is measured on that it was made from; or something
            else cannot be used.
    """
    strength_of(request)
    source = find_source(request.model, request.revision, edited=request.format == "checkpoint")
    output = user_path(output).resolve()
    require_outside(output, fit.path.parent.resolve(), "fit's")
    require_output_format(source, request.format, request.dequantise)
    if request.format == "adapter":
        require_adapter_support(source, trust_remote_code=request.trust_remote_code)
    check_output(output, source.path, bytes_needed(source, request.format), overwrite)
    sha256 = fit.require_base(source)
    recipe = recipe_of_fit(fit, request)
    sets, benign = test_prompts(recipe)
    fit.require_no_leak(sets)
    warn_of_other_conditions(fit.path, fit.made_by, request, reporter)
    tests = MeasuredOn(sets_in_modes(sets, request.thinking), benign)
    judge = make_judge(request, reporter)
    warn_of_short_answers(request.max_new_tokens, reporter)
    with claimed_output(output, overwrite), checkpoint_folder(source, output, reporter) as folder:
        lineage = read_lineage(source.path)
        loaded = load_as_asked(request, folder, source.name, reporter)
        edits = _writable_edits(fit, request, loaded, source, folder)
        found = measure_edits(edits, loaded, judge, tests, request, sha256, reporter, "fine-tuned model")
        ancestor = first_ancestor(source.path, lineage, Conditions.of(judge.name, request))
        record = Record(
            model=model_record(source, loaded.folder, sha256, loaded.tokenizer, loaded.stored_dtype),
            lineage=lineage.steps,
            fit=fit.record_at(strength_of(request)),
            recipe=shareable(recipe),
            judge=judge.name,
            calibration={name.value: prompts for name, prompts in fit.calibration.items()},
            evaluation={test_set.name: prompts_record(test_set.prompts) for test_set in tests.sets},
            edited_tensors=edits.names,
            adapter_sha256=edits.adapter_sha256,
            run=_run_record(loaded, found),
            **found.recorded(FloorRule.of(request), ancestor),
        )
        result = PruneResult(record, found.before, found.after, None, loaded, ancestor=ancestor)
        return save_result(result, output, edits, source, folder, overwrite=overwrite, reporter=reporter)


def recipe_of_fit(fit: OwnFit, request: ApplyRequest) -> Recipe:
    """Return how the model of a fit is measured and written; :func:`shareable`, it is in the record."""
    asked = request.model_dump(exclude={"strength"}, exclude_unset=True)
    seed = fit.made_by.get("seed")
    drawn = {"seed": seed} if isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**63 else {}
    return validate_settings(Recipe, {**asked, **drawn}, "apply")


def _writable_edits(
    fit: OwnFit, request: ApplyRequest, loaded: LoadedModel, source: ModelSource, folder: Path
) -> WritableEdits:
    edits = fit.edits(loaded, strength_of(request))
    located = locate_tensors(folder, [edit.submodule for edit in edits])
    if request.format == "adapter":
        return LoraAdapter(loaded, source, located, edits)
    return EditedTensors(folder, located, edits)


def _run_record(loaded: LoadedModel, found: BeforeAfter) -> RunRecord:
    return RunRecord(
        device=loaded.device_name,
        threads=torch.get_num_threads(),
        processes=loaded.replicas.size if isinstance(loaded, ReplicatedModel) else 1,
        dtype=dtype_name(loaded.run_dtype),
        load=loaded.load,
        calibration_batch_sizes=(),
        answer_batch_sizes=found.batch_sizes,
        shared_head_tokens=0,
        versions=library_versions(),
    )
