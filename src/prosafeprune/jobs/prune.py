"""``prune``: from a recipe to a pruned checkpoint, adapter or GGUF file, with its record and report."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from prosafeprune.checkpoint.adapter import LoraAdapter
from prosafeprune.checkpoint.gguf_edits import GgufEdits
from prosafeprune.checkpoint.writer import EditedTensors, WritableEdits, locate_tensors
from prosafeprune.editing.edits import LowRankEdit, PruningEdit
from prosafeprune.errors import InputError
from prosafeprune.evaluation.conditions import Conditions
from prosafeprune.evaluation.floor_rule import FloorRule
from prosafeprune.evaluation.lineage import Lineage, first_ancestor, read_lineage
from prosafeprune.evaluation.measure import warn_of_short_answers
from prosafeprune.evaluation.paired_refusals import FirstAncestor
from prosafeprune.evaluation.prompts_record import calibration_record, prompts_record
from prosafeprune.files.output_names import COST_FILE as COST_FILE
from prosafeprune.files.staging import claimed_output
from prosafeprune.jobs.calibrated_plan import CalibratedPlan, KnownPlan, known_plan, searched_plan
from prosafeprune.jobs.measure_edits import BeforeAfter, MeasuredOn, measure_edits
from prosafeprune.jobs.outlook import estimated_cost, shorter_run
from prosafeprune.jobs.polish import polish, require_polishable
from prosafeprune.jobs.prune_result import PruneResult
from prosafeprune.jobs.safety_gate import measured_output
from prosafeprune.jobs.written_weights import with_weights_hash
from prosafeprune.judges.registry import make_judge
from prosafeprune.method.plan import Plan
from prosafeprune.model.model_hash import model_hash
from prosafeprune.model.replicas import ReplicatedModel
from prosafeprune.model.source import ModelSource
from prosafeprune.model.submodule import is_quantised
from prosafeprune.parallel.ray_pool import connected
from prosafeprune.progress import SILENT, Reporter, TimedReporter
from prosafeprune.report.card import write_card
from prosafeprune.report.edit_record import model_record, shareable
from prosafeprune.report.evidence_file import write_evidence
from prosafeprune.report.not_saved import write_not_saved
from prosafeprune.report.page import REPORT_FILE, Page, write_page
from prosafeprune.report.prune_page import prune_page
from prosafeprune.report.rate_figure import SHARE_FILE, share_image
from prosafeprune.report.record import Record, UnmeasuredRecord
from prosafeprune.report.run_record import run_record
from prosafeprune.requests.recipe import Recipe
from prosafeprune.setup.adapter_support import require_adapter_support
from prosafeprune.setup.calibrate import calibrate
from prosafeprune.setup.load import LoadedRun, load_run, require_layers
from prosafeprune.setup.machine import peak_memory
from prosafeprune.setup.prepare import checkpoint_folder, prepare_run
from prosafeprune.setup.workload import MEASURING_STAGES, PROMPTED_ANSWERS, Cost, CostRecord

Kind = TypeVar("Kind", Record, UnmeasuredRecord)
SaveRun = Callable[[PruneResult, LoadedRun, WritableEdits, Path], PruneResult]
"""Saves what a run made from the base model's checkpoint in a folder."""


def run_prune(
    recipe: Recipe,
    output: Path | None,
    *,
    overwrite: bool = False,
    search_folder: Path | None = None,
    choose: int | None = None,
    ray: str | None = None,
    save: SaveRun | None = None,
    reporter: Reporter = SILENT,
) -> PruneResult:
    """Prune the recipe's model, measure it before and after and, unless it lost too much safety, write it.

    The arguments are those of :func:`prosafeprune.prune`, and what saves the result in place of :func:`save_result`.

    Returns:
        The result. When :attr:`PruneResult.is_safe` is false no model was written, and the report is next to
        ``output``; see :func:`require_safe`.

    Raises:
        InputError: something in the recipe, the model or the cluster cannot be used.
        NoPlanError: a search found no plan that keeps the safety floor and complies more.
    """
    if ray is not None and (recipe.layers is not None or choose is not None):
        raise InputError("--ray: only a search runs on a cluster, and the plan is given. Leave it out.")
    with ExitStack() as stack:
        cluster = stack.enter_context(connected(ray))
        timed = TimedReporter(reporter)
        prepared = prepare_run(recipe, output, overwrite, timed, cluster)
        if save is not None:
            prepared = prepared.of_a_copy()
        lineage = read_lineage(prepared.source.path)
        judge = make_judge(prepared.recipe, prepared.reporter)
        warn_of_short_answers(prepared.recipe.max_new_tokens, prepared.reporter)
        conditions = Conditions.of(judge.name, recipe)
        if prepared.earlier is not None:
            prepared.earlier.require_comparable(conditions)
        if recipe.format == "adapter":
            require_adapter_support(prepared.source, trust_remote_code=recipe.trust_remote_code)
        known = known_plan(prepared, judge.name, search_folder, choose)
        stack.enter_context(claimed_output(prepared.output, overwrite))
        folder = stack.enter_context(checkpoint_folder(prepared.source, prepared.output, prepared.reporter))
        run = load_run(prepared, folder, judge)
        require_polishable(run)
        ancestor = first_ancestor(run.source.path, lineage, conditions)
        result, edits = _prune_in_memory(run, folder, known, lineage, ancestor, timed)
        if run.output is None:
            return result
        if save is not None:
            return save(result, run, edits, folder)
        return save_result(result, run.output, edits, run.source, folder, overwrite=overwrite, reporter=run.reporter)


def _prune_in_memory(
    run: LoadedRun,
    folder: Path,
    known: KnownPlan,
    lineage: Lineage,
    ancestor: FirstAncestor | None,
    timed: TimedReporter,
) -> tuple[PruneResult, WritableEdits]:
    """Measure the loaded model, prune it and measure it again; nothing is written."""
    recipe, plan = run.recipe, known.plan
    estimated = _report_estimate(run, plan, timed)
    loading = timed.total
    sha256 = model_hash(run.source.path)
    if plan is None:
        assert known.folder is not None  # a search has one
        planned = searched_plan(run, known.folder)
    else:
        require_layers(plan, run.anatomy)
        found = calibrate(run.loaded, run.anatomy, plan, run.calibration, recipe.batch_size, run.reporter, sha256)
        planned = CalibratedPlan(plan, *found, known.search)
    added, polished = polish(run, planned.plan, planned.edits, sha256) if recipe.polish else ([], None)
    edits = _writable_edits(run, folder, planned, added)
    tests = MeasuredOn(run.evaluation, run.benign, run.spot_check, run.prompted)
    measured = measure_edits(edits, run.loaded, run.judge, tests, recipe, sha256, run.reporter)
    facts = {**measured.recorded(FloorRule.of(recipe), ancestor), "polish": polished}
    record = _make_record(run, sha256, lineage, planned, edits, facts, measured)
    if record.system_warning is not None:
        timed.warning(record.system_warning)
    for sentence in record.spot_check_warnings:
        timed.warning(sentence)
    if isinstance(edits, GgufEdits):
        edits.record = record.model_dump_json()
    taken = Cost(seconds=timed.total - loading, memory=peak_memory(run.loaded.device), stages={**timed.seconds})
    cost = CostRecord(estimated=estimated, taken=taken)
    timed.note(cost.describe())
    result = PruneResult(
        record,
        measured.before,
        measured.after,
        None,
        run.loaded,
        search=planned.search,
        ancestor=ancestor,
        cost=cost,
        spot_check=measured.spot_check,
        came_back=run.earlier.came_back(measured.after.sets) if run.earlier is not None else (),
    )
    return result, edits


def _report_estimate(run: LoadedRun, plan: Plan | None, timed: TimedReporter) -> Cost:
    """Return what the rest of the run will take, and report it, now and after each long stage of measuring."""
    estimated = estimated_cost(run, plan)
    timed.note(estimated.describe())
    if hint := shorter_run(run.recipe, estimated.seconds, is_searched=plan is None):
        timed.note(hint)
    measuring = {name: estimated.stages[name] for name in MEASURING_STAGES if name in estimated.stages}
    steps = dict.fromkeys(measuring, sum(len(test_set.prompts) for test_set in (*run.evaluation, *run.spot_check)))
    timed.expect(measuring, steps | {PROMPTED_ANSWERS: sum(len(test_set.prompts) for test_set in run.prompted)})
    return estimated


def _writable_edits(
    run: LoadedRun, folder: Path, planned: CalibratedPlan, added: Sequence[LowRankEdit]
) -> WritableEdits:
    if run.recipe.format == "gguf":
        gguf = GgufEdits(run.source.path, planned.edits)
        run.reporter.note(gguf.describe())
        return gguf
    edits: list[PruningEdit | LowRankEdit] = [*planned.edits, *added]
    submodules = [edit.submodule for edit in edits]
    edited = [submodule for submodule in submodules if submodule.original or not is_quantised(submodule.stored)]
    located = locate_tensors(folder, edited)
    if run.recipe.format == "adapter":
        return LoraAdapter(run.loaded, run.source, located, planned.edits)
    return EditedTensors(folder, located, edits)


def _make_record(
    run: LoadedRun,
    sha256: str,
    lineage: Lineage,
    planned: CalibratedPlan,
    edits: WritableEdits,
    facts: dict[str, Any],
    measured: BeforeAfter,
) -> Record:
    """Return the record, whose fields of measurements are ``facts``."""
    loaded = run.loaded
    return Record(
        model=model_record(run.source, loaded.folder, sha256, loaded.tokenizer, loaded.stored_dtype),
        lineage=lineage.steps,
        plan=planned.plan,
        recipe=shareable(run.recipe),
        judge=run.judge.name,
        calibration=calibration_record(run.calibration),
        evaluation={test_set.name: prompts_record(test_set.prompts) for test_set in run.evaluation},
        **facts,
        since=run.earlier.compare(measured.after.sets) if run.earlier is not None else None,
        edited_tensors=edits.names,
        adapter_sha256=edits.adapter_sha256,
        submodules=[edit.measures for edit in planned.edits],
        experts=planned.expert_counts(run.anatomy),
        run=run_record(
            loaded.device_name,
            loaded.run_dtype,
            planned.inputs,
            measured.batch_sizes,
            loaded.replicas.size if isinstance(loaded, ReplicatedModel) else 1,
            load=loaded.load,
        ),
    )


def save_result(
    result: PruneResult,
    output: Path,
    edits: WritableEdits,
    source: ModelSource,
    source_folder: Path,
    *,
    overwrite: bool,
    reporter: Reporter,
) -> PruneResult:
    """Write model, card, answers, record and report into ``output``; of an unsafe result only the report, next to it.

    Raises:
        InputError: the disk is full or fails, or ``output`` has appeared meanwhile.
    """
    page = prune_page(
        result.record, result.before, result.after, result.search, saved=result.is_safe, came_back=result.came_back
    )
    if not result.is_safe:
        return reported_only(result, output, page)
    with (
        measured_output(output, result.record, overwrite=overwrite) as staging,
        reporter.stage("Writing", len(edits)) as advance,
    ):
        edits.write(staging, advance)
        result = write_measured(result, staging, page, source, source_folder)
        if result.cost is not None:
            (staging / COST_FILE).write_text(result.cost.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return replace(result, output=output, report=output / REPORT_FILE)


def write_documents(folder: Path, record: Kind, source: ModelSource, source_folder: Path) -> Kind:
    """Write card, record and, of a measured model, the image to share next to the model; return the record written.

    That of a measured model then has the hash of its weights.
    """
    if isinstance(record, Record):
        record = with_weights_hash(record, folder)
    is_converted = source.is_converted and record.recipe.format == "checkpoint"
    write_card(folder, record, source.name if source.is_hub else None, source_folder, converted=is_converted)
    record.write(folder)
    if isinstance(record, Record):
        (folder / SHARE_FILE).write_bytes(share_image(record))
    return record


def write_measured(
    result: PruneResult, folder: Path, page: Page, source: ModelSource, source_folder: Path
) -> PruneResult:
    """Write documents, answers and report next to the model, and return the result with the record written."""
    record = write_documents(folder, result.record, source, source_folder)
    checked_before, checked_after = result.spot_check
    before, after = [*result.before.sets, *checked_before.sets], [*result.after.sets, *checked_after.sets]
    write_evidence(folder, before, after, result.ancestor)
    write_page(page, folder / REPORT_FILE)
    return replace(result, record=record)


def reported_only(result: PruneResult, output: Path, page: Page) -> PruneResult:
    """Write the report of a model that is not saved next to where it would have been."""
    return replace(result, report=write_not_saved(output, page))
