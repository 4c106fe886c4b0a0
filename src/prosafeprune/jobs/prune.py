"""The main job: from a recipe to a pruned checkpoint, or an adapter that prunes, with its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from prosafeprune.checkpoint.adapter import LoraAdapter, require_adaptable
from prosafeprune.checkpoint.writer import EditedTensors, Product, locate_tensors
from prosafeprune.errors import InputError
from prosafeprune.evaluation.divergence import divergence_from_base, record_base_answers
from prosafeprune.evaluation.measure import measure
from prosafeprune.evaluation.prompts_record import calibration_record, prompts_record
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.files.staging import staged_folder
from prosafeprune.generation import Decoding
from prosafeprune.generation.replicated import local_generator
from prosafeprune.jobs.plan import PlannedEdits, default_search_folder, make_plan
from prosafeprune.jobs.prune_result import BeforeAfter, PruneResult
from prosafeprune.judge import Judge
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.dense import is_quantised
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.source import ModelSource, model_hash
from prosafeprune.parallel.ray_pool import connected
from prosafeprune.progress import Reporter, SilentReporter
from prosafeprune.prompts import PromptSet
from prosafeprune.report.answers_file import write_evidence
from prosafeprune.report.card import write_card
from prosafeprune.report.page import REPORT_FILE, write_page
from prosafeprune.report.prune_page import prune_page
from prosafeprune.report.record import Record, model_record, run_record
from prosafeprune.requests.recipe import Recipe
from prosafeprune.setup.load import LoadedJob, load_job
from prosafeprune.setup.prepare import Job, checkpoint_folder, prepare_job

NOT_SAVED = "-not-saved.html"
"""Behind the output's name: the report of a result that was not safe to save."""


def run_prune(
    recipe: Recipe,
    output: Path | None,
    *,
    overwrite: bool = False,
    search_folder: Path | None = None,
    choose: int | None = None,
    ray: str | None = None,
    reporter: Reporter | None = None,
) -> PruneResult:
    """Prune the recipe's model, measure it before and after and, unless it lost too much safety, write it.

    Args:
        recipe: what to do.
        output: folder to write; None measures only.
        overwrite: replace a model folder that is there already.
        search_folder: where a search for the plan is kept, to be gone on with; beside the output by default.
        choose: number of a point of the finished search in ``search_folder`` to take.
        ray: address of a Ray cluster whose workers try the plans of a search.
        reporter: told of progress.

    Returns:
        The result. When :attr:`PruneResult.is_safe` is false no model was written, and the report lies beside
        ``output``; see :func:`require_safe`.

    Raises:
        InputError: something in the recipe, the model or the cluster cannot be used.
        NoPlanError: a search found no plan that keeps the safety floor and complies more.
    """
    if ray is not None and (recipe.layers is not None or choose is not None):
        raise InputError("--ray: there is nothing to share, since no plan is searched for. Leave it out.")
    with ExitStack() as stack:
        cluster = stack.enter_context(connected(ray))
        job = prepare_job(recipe, output, overwrite, reporter or SilentReporter(), cluster)
        folder = stack.enter_context(checkpoint_folder(job.source, job.output, job.reporter))
        return _prune_folder(job, folder, search_folder or default_search_folder(job), choose)


def _prune_folder(job: Job, folder: Path, search_folder: Path, choose: int | None) -> PruneResult:
    bench = load_job(job, folder)
    if job.recipe.format == "adapter":
        require_adaptable(bench.anatomy)
    planned = make_plan(bench, search_folder, choose)
    product = _make_product(bench, planned)
    found = try_product(product, bench.loaded, bench.judge, (job.evaluation, job.benign), job.recipe, job.reporter)
    record = _make_record(bench, planned, product, found)
    result = PruneResult(record, found.before, found.after, None, bench.loaded, search=planned.search)
    if job.output is None:
        return result
    return finish(result, job.output, product, job.source, folder, overwrite=job.overwrite, reporter=job.reporter)


def _make_product(bench: LoadedJob, planned: PlannedEdits) -> Product:
    edited = [edit.submodule for edit in planned.edits if not is_quantised(edit.submodule.stored)]
    located = locate_tensors(bench.folder, edited)
    if bench.job.recipe.format == "adapter":
        return LoraAdapter(bench.loaded, bench.job.source, located, planned.edits)
    return EditedTensors(bench.folder, located, planned.edits)


def try_product(
    product: Product,
    loaded: LoadedModel,
    judge: Judge,
    tests: tuple[Sequence[EvaluationSet], PromptSet],
    recipe: Recipe,
    reporter: Reporter,
) -> BeforeAfter:
    """Measure the source in memory on evaluation sets and benign prompts, make it the result, and measure again.

    Raises:
        InputError: out of memory, or the judge went out of reach.
    """
    sets, benign_prompts = tests
    generator = local_generator(loaded, recipe.batch_size)
    decoding = Decoding(max_new_tokens=recipe.max_new_tokens)
    before = measure(generator, sets, judge, decoding, reporter, "Answers of the source")
    with reporter.stage("Benign answers of the source", len(benign_prompts)) as advance:
        benign = record_base_answers(loaded, benign_prompts.texts, BatchSize(recipe.batch_size, loaded.device), advance)
    with reporter.stage("Pruning", len(product)) as advance:
        product.apply_in_memory(advance)
    after = measure(generator, sets, judge, decoding, reporter, "Answers of the result")
    with reporter.stage("Benign answers of the result", len(benign_prompts)) as advance:
        damage = divergence_from_base(benign, loaded, BatchSize(recipe.batch_size, loaded.device), advance)
    return BeforeAfter(before, after, damage, tuple(generator.describe()["batch_sizes"]))


def _make_record(bench: LoadedJob, planned: PlannedEdits, product: Product, found: BeforeAfter) -> Record:
    job, loaded = bench.job, bench.loaded
    return Record(
        model=model_record(job.source, model_hash(job.source.path), loaded.tokenizer, loaded.stored_dtype),
        plan=planned.plan,
        recipe=job.recipe,
        judge=bench.judge.name,
        calibration=calibration_record(job.calibration),
        evaluation={one.name: prompts_record(one.prompts) for one in job.evaluation},
        **found.recorded(),
        edited_tensors=product.names,
        adapter_sha256=product.adapter_sha256,
        submodules=[edit.measures for edit in planned.edits],
        experts=planned.expert_counts(bench.anatomy),
        run=run_record(
            loaded.device_name,
            loaded.run_dtype,
            planned.inputs,
            found.batch_sizes,
            loaded.replicas.size if loaded.replicas is not None else 1,
        ),
    )


def finish(
    result: PruneResult,
    output: Path,
    product: Product,
    source: ModelSource,
    source_folder: Path,
    *,
    overwrite: bool,
    reporter: Reporter,
) -> PruneResult:
    """Write product, card, answers, record and page into ``output``; of an unsafe result the page alone, beside it.

    Raises:
        InputError: the disk is full or fails, or ``output`` has appeared meanwhile.
    """
    page = prune_page(result.record, result.before, result.after, result.search, saved=result.is_safe)
    if not result.is_safe:
        report = output.with_name(f"{output.name}{NOT_SAVED}")
        write_page(page, report)
        return replace(result, report=report)
    with staged_folder(output, overwrite) as staging, reporter.stage("Writing", len(product)) as advance:
        product.write(staging, advance)
        write_card(staging, result.record, source.name if source.is_hub else None, source_folder)
        write_evidence(staging, result.before, result.after)
        result.record.write(staging)
        write_page(page, staging / REPORT_FILE)
    return replace(result, output=output, report=output / REPORT_FILE)
