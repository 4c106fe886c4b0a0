"""The plan of a run: given by the user, searched for, or chosen from a finished search."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from prosafeprune.activations.pooled_inputs import PooledInputs
from prosafeprune.editing.edits import PruningEdit
from prosafeprune.editing.expert_coverage import ExpertCount, count_experts
from prosafeprune.errors import InputError, NoPlanError
from prosafeprune.jobs.search import search
from prosafeprune.method.plan import Plan
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.source import model_hash
from prosafeprune.parallel.ray_pool import connected
from prosafeprune.progress import Reporter
from prosafeprune.report.page import REPORT_FILE
from prosafeprune.requests.recipe import Recipe
from prosafeprune.search.record import RECORD, SearchRecord
from prosafeprune.setup.calibrate import calibrate
from prosafeprune.setup.load import LoadedJob, load_job, require_editable, require_layers
from prosafeprune.setup.prepare import Job, checkpoint_folder, given_plan, prepare_job


@dataclass(frozen=True)
class PlannedEdits:
    """A plan with its edits, made while the model had its source's weights."""

    plan: Plan
    inputs: PooledInputs
    edits: list[PruningEdit]
    search: SearchRecord | None = None
    """How it was found; None when the user gave it."""

    def expert_counts(self, anatomy: Anatomy) -> list[ExpertCount]:
        """Return what became of the experts of the plan's layers."""
        planned = [submodule for layer in self.plan.layers for submodule in anatomy.of_layer(layer)]
        return count_experts(planned, [edit.submodule for edit in self.edits])


def make_plan(bench: LoadedJob, search_folder: Path, choose: int | None) -> PlannedEdits:
    """Return the plan of the recipe, or the one that a search finds, or the point of that number.

    Raises:
        InputError: the plan does not fit the model, or there is no such search or point.
        NoPlanError: the search found none that keeps the safety floor and complies more than the source.
    """
    recipe = bench.job.recipe
    if choose is not None:
        record = read_search(search_folder, bench.job)
        point = record.point(choose)
        if point is None:
            raise InputError(
                f"--choose {choose}: the search in {search_folder} has the points 1 to {len(record.points)}."
            )
        return _calibrated(bench, point.plan, record)
    plan = given_plan(recipe)
    if plan is not None:
        return _calibrated(bench, plan, None)
    require_editable(bench.anatomy)
    found = search(bench.job, bench.loaded, bench.anatomy, bench.judge, search_folder)
    if found.plan is None:
        raise NoPlanError(
            "No plan was found that complies more than the source and keeps S.S. at "
            f"{found.record.lowest_safety:.1f} % on validation prompts, so nothing was pruned. Look at "
            f"{search_folder / REPORT_FILE}; give a larger --budget, or allow more with --max-safety-drop."
        )
    return PlannedEdits(found.plan, found.inputs[found.plan.pooling], found.edits_of(found.plan), found.record)


def run_search(
    recipe: Recipe, folder: Path | None, reporter: Reporter, ray: str | None = None
) -> tuple[SearchRecord, Path]:
    """Search for a plan and write no model; return what was found, and where it is kept.

    Plans are tried by the workers of the Ray cluster at the address ``ray``, where one is given.

    Raises:
        InputError: something in the recipe, the model, the folder or the cluster cannot be used.
    """
    with ExitStack() as stack:
        cluster = stack.enter_context(connected(ray))
        job = prepare_job(recipe, None, False, reporter, cluster)
        kept = folder or default_search_folder(job)
        checkpoint = stack.enter_context(checkpoint_folder(job.source, job.output, job.reporter))
        bench = load_job(job, checkpoint)
        require_editable(bench.anatomy)
        return search(job, bench.loaded, bench.anatomy, bench.judge, kept).record, kept


def read_search(folder: Path, job: Job) -> SearchRecord:
    """Return the record of a finished search on the job's model.

    Raises:
        InputError: no such search, or one on another model.
    """
    try:
        record = SearchRecord.model_validate_json((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"{folder}: holds no finished search. Search first, or give its folder with --search."
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / RECORD}: cannot be read. Search again.") from error
    if record.made_by.get("model") != model_hash(job.source.path):
        raise InputError(f"{folder}: is a search on another model. Give the model it was made for.")
    return record


def default_search_folder(job: Job) -> Path:
    """Return where a search is kept unless told otherwise: beside the output, or in the current folder."""
    if job.output is not None:
        return job.output.parent / f"{job.output.name}-search"
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", Path(job.source.name).name).strip("-.")
    return Path(f"search-{name}")


def _calibrated(bench: LoadedJob, plan: Plan, record: SearchRecord | None) -> PlannedEdits:
    require_layers(plan, bench.anatomy)
    job = bench.job
    inputs, edits = calibrate(bench.loaded, bench.anatomy, plan, job.calibration, job.recipe.batch_size, job.reporter)
    return PlannedEdits(plan, inputs, edits, record)
