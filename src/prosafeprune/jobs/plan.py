"""The plan of a pruning: given by the user, selected from a finished search, or searched for now."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from prosafeprune.activations.pooled_inputs import PooledInputs
from prosafeprune.editing.edits import PruningEdit
from prosafeprune.editing.expert_coverage import ExpertCount, count_experts
from prosafeprune.errors import NoPlanError
from prosafeprune.files.staging import require_outside
from prosafeprune.jobs.search import search
from prosafeprune.method.plan import Plan
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.source import model_hash
from prosafeprune.parallel.ray_pool import connected
from prosafeprune.progress import Reporter
from prosafeprune.report.page import REPORT_FILE
from prosafeprune.requests.recipe import recipe_of
from prosafeprune.requests.search import SearchRequest
from prosafeprune.search.record import SearchRecord
from prosafeprune.setup.finished_search import plan_of_point, read_search, require_search_of
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
    record = read_search(search_folder)
    require_search_of(record, model_hash(job.source.path), search_folder)
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


def default_search_folder(job: Job) -> Path:
    """Return the default folder of a search: next to the output, or in the current folder."""
    if job.output is not None:
        return job.output.parent / f"{job.output.name}-search"
    return Path(f"search-{slug(job.source.name)}")
