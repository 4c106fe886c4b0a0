"""The plan of a pruning: given by the user, selected from a finished search, or searched for now."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from prosafeprune.activations.pooled_inputs import PooledInputs
from prosafeprune.editing.edits import PruningEdit
from prosafeprune.editing.expert_coverage import ExpertCount, count_experts
from prosafeprune.errors import InputError, NoPlanError
from prosafeprune.files.staging import require_outside
from prosafeprune.files.text_file import read_text_file
from prosafeprune.jobs.search import search
from prosafeprune.method.plan import Plan
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.source import model_hash
from prosafeprune.parallel.ray_pool import connected
from prosafeprune.progress import Reporter
from prosafeprune.report.page import REPORT_FILE
from prosafeprune.requests.recipe import recipe_of
from prosafeprune.requests.search import SearchRequest
from prosafeprune.search.record import RECORD, SearchRecord
from prosafeprune.setup.load import LoadedJob, load_job, require_editable
from prosafeprune.setup.prepare import Job, checkpoint_folder, given_plan, prepare_job
from prosafeprune.text import slug


@dataclass(frozen=True)
class CalibratedPlan:
    """A plan with the edits computed for it while the model had its base weights."""

    plan: Plan
    inputs: PooledInputs
    edits: list[PruningEdit]
    search: SearchRecord | None = None
    """The search that found it; None when the user gave it."""

    def expert_counts(self, anatomy: Anatomy) -> list[ExpertCount]:
        """Return, per planned layer with experts, how many are pruned."""
        planned = [submodule for layer in self.plan.layers for submodule in anatomy.of_layer(layer)]
        return count_experts(planned, [edit.submodule for edit in self.edits])


def known_plan(job: Job, search_folder: Path, choose: int | None) -> tuple[Plan | None, SearchRecord | None]:
    """Return the plan that the recipe gives, or point number ``choose`` of a finished search with its record.

    Both are None when a plan must be searched for.

    Raises:
        InputError: there is no such search or point.
    """
    if choose is None:
        return given_plan(job.recipe), None
    record = read_search(search_folder, job)
    return plan_of_point(record, choose, search_folder), record


def searched_plan(job: LoadedJob, folder: Path) -> CalibratedPlan:
    """Search for a plan, or resume the search in ``folder``.

    Raises:
        InputError: the weights are quantised, or the search fails.
        NoPlanError: no plan found keeps the safety floor and complies more than the base model.
    """
    require_editable(job.anatomy)
    found = search(job, folder)
    if found.plan is None:
        raise NoPlanError(
            "No plan was found that complies more than the base model and keeps S.S. at "
            f"{found.record.lowest_safety:.1f} % on validation prompts, so nothing was pruned. See "
            f"{folder / REPORT_FILE}; give a larger --budget, or allow more with --max-safety-drop."
        )
    return CalibratedPlan(found.plan, found.inputs[found.plan.pooling], found.edits_of(found.plan), found.record)


class SearchResult(NamedTuple):
    """A finished search."""

    record: SearchRecord
    output: Path
    """Its folder."""


def run_search(request: SearchRequest, folder: Path | None, reporter: Reporter, ray: str | None = None) -> SearchResult:
    """Search for a plan and write no model.

    The workers of the Ray cluster at address ``ray``, if given, evaluate the plans.

    Raises:
        InputError: something in the request, the model, the folder or the cluster cannot be used.
    """
    with ExitStack() as stack:
        cluster = stack.enter_context(connected(ray))
        job = prepare_job(recipe_of(request), None, False, reporter, cluster)
        folder = folder or default_search_folder(job)
        require_outside(folder.expanduser().resolve(), job.source.path.resolve(), "base model's")
        checkpoint = stack.enter_context(checkpoint_folder(job.source, job.output, job.reporter))
        loaded_job = load_job(job, checkpoint)
        require_editable(loaded_job.anatomy)
        return SearchResult(search(loaded_job, folder).record, folder)


def read_search(folder: Path, job: Job) -> SearchRecord:
    """Return the record of a finished search on the job's model.

    Raises:
        InputError: no such search, or one on another model.
    """
    file = folder / RECORD
    if not file.exists():
        raise InputError(f"{folder}: has no finished search. Run the search first, or give its folder with --search.")
    try:
        record = SearchRecord.model_validate_json(read_text_file(file, "record of a search"))
    except ValueError as error:
        raise InputError(f"{file}: cannot be read as the record of a search. Search again.") from error
    if record.made_by.get("model") != model_hash(job.source.path):
        raise InputError(f"{folder}: is a search on another model. Give the model it was made for.")
    return record


def plan_of_point(record: SearchRecord, number: int, folder: Path) -> Plan:
    """Return the plan of a numbered point of the search in ``folder``. Raises InputError when there is none."""
    point = record.point(number)
    if point is None:
        raise InputError(f"--choose {number}: the search in {folder} has the points 1 to {len(record.points)}.")
    return point.plan


def default_search_folder(job: Job) -> Path:
    """Return the default folder of a search: next to the output, or in the current folder."""
    if job.output is not None:
        return job.output.parent / f"{job.output.name}-search"
    return Path(f"search-{slug(job.source.name)}")
