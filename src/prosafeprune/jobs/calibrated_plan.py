"""The plan of a pruning: given by the user, selected from a finished search, or searched for now.

Also the ``search`` command (:func:`run_search`), which ends with the plan.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from prosafeprune.activations.pooled_inputs import PooledInputs
from prosafeprune.editing.edits import PruningEdit
from prosafeprune.editing.expert_coverage import ExpertCount, count_experts
from prosafeprune.errors import NoPlanError
from prosafeprune.evaluation.measure import warn_of_short_answers
from prosafeprune.files.cache import digest_of
from prosafeprune.files.resumable_folder import differing, require_usable
from prosafeprune.files.staging import require_outside
from prosafeprune.files.user_path import user_path
from prosafeprune.jobs.search import (
    finished_search,
    identity_without_weights,
    require_resumable_search,
    search,
    search_identity,
)
from prosafeprune.judges.registry import make_judge
from prosafeprune.method.plan import Plan
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.parallel.ray_pool import connected
from prosafeprune.plan_search.figure import frontier_figure
from prosafeprune.plan_search.search_record import SearchRecord
from prosafeprune.plan_search.selection import select_as_paper
from prosafeprune.progress import Reporter
from prosafeprune.report.grid import Grid
from prosafeprune.report.page import REPORT_FILE
from prosafeprune.report.result_view import ResultView
from prosafeprune.report.search_page import search_grid
from prosafeprune.requests.recipe import recipe_of
from prosafeprune.requests.search import SearchRequest
from prosafeprune.setup.finished_search import (
    kept_search_folder,
    plan_of_point,
    read_search,
    require_kept_search,
    require_one_plan,
    require_same_companions,
    require_search_folder,
    require_search_of,
    search_kept_under_name,
)
from prosafeprune.setup.load import LoadedRun, load_run, require_editable
from prosafeprune.setup.prepare import PreparedRun, checkpoint_folder, given_plan, prepare_run

_IN_WORDS = {"system": "--system", "thinking": "--thinking", "calibration": "calibration prompts"}
"""Names of what a search depends on, for messages."""


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


@dataclass(frozen=True)
class KnownPlan:
    """A run's plan, as far as it is known before the model is loaded."""

    plan: Plan | None
    """None when it must be searched for."""
    search: SearchRecord | None
    """Record of the finished search that found it."""
    folder: Path | None
    """Folder of the search; None where the layers are given, or where a dry run finds no search in the cache."""


def known_plan(
    prepared: PreparedRun, judge: str, search_folder: Path | None, choose: int | None, *, hashed: bool = True
) -> KnownPlan:
    """Return the plan that the recipe gives, or that of a finished search with its record.

    Args:
        judge: the name of its judge.
        search_folder: folder of the search; None: that in the cache, where no layers are given.
        choose: number of the point of that search, however long it took; None: the one it selected.
        hashed: whether a search is recognised by the hash of the weights, for which all of them are read. If not, it is
            by the model's name and all else that it depends on.

    Raises:
        InputError: there is no such folder, search or point, it is another search, or the layers are given as well.
        NoPlanError: the search is finished and selected none.
    """
    recipe = prepared.recipe
    require_one_plan(recipe.layers, choose)
    if recipe.layers is not None:
        return KnownPlan(given_plan(recipe), None, None)
    identity = (search_identity if hashed else identity_without_weights)(prepared, judge)
    folder = search_folder or _kept_folder(prepared, identity, hashed=hashed)
    if choose is not None and search_folder is None:
        require_kept_search(folder, recipe.model, choose)
    if folder is None:
        return KnownPlan(None, None, None)
    if choose is not None:
        record = read_search(folder)
        (require_search_of if hashed else require_same_companions)(record, prepared.source.path, folder)
        _warn_of_other_prompts(record, prepared, choose)
        return KnownPlan(plan_of_point(record, choose, folder), record, folder)
    finished = finished_search(recipe, identity, folder)
    if finished is None:
        require_search_folder(folder, recipe.model)
        require_resumable_search(identity, folder)
        return KnownPlan(None, None, folder)
    made_on = "" if hashed else " Whether it was made on these weights is checked by the run, which hashes them."
    prepared.reporter.note(
        f"This search is finished already: its plan is used, and its report is {folder / REPORT_FILE}.{made_on}"
    )
    return KnownPlan(_selected(finished, folder, prepared), finished, folder)


def _kept_folder(prepared: PreparedRun, identity: Mapping[str, Any], *, hashed: bool) -> Path | None:
    """Return the folder in the cache of a run's search; without the weights' hash None if none is known."""
    if hashed:
        return default_search_folder(prepared, identity)
    return search_kept_under_name(prepared.source.name, identity)


def _warn_of_other_prompts(record: SearchRecord, prepared: PreparedRun, choose: int) -> None:
    """Warn when the edits of a plan will be made from other prompts than in its search.

    Not where another number was drawn, or with another seed: a draft's plan is made from more.
    """
    recipe, before = prepared.recipe, record.made_by
    now: dict[str, Any] = {"system": recipe.system, "thinking": recipe.recorded_thinking}
    if (record.samples, record.seed) == (recipe.samples, recipe.seed):
        now["calibration"] = {name.value: prompts.sha256 for name, prompts in prepared.calibration.items()}
    other = [name for name in differing(before, now) if name in before]
    if other:
        prepared.reporter.warning(
            f"--choose {choose}: the search was made with other {' and '.join(_IN_WORDS[name] for name in other)}, so "
            "its rates are not of the edits that this run makes. For these, give the settings of the search as well."
        )


def searched_plan(run: LoadedRun, folder: Path) -> CalibratedPlan:
    """Search for a plan, or resume the search in ``folder``.

    Raises:
        InputError: the weights are quantised, or the search fails.
        NoPlanError: no plan found keeps the safety floor and complies more than the base model.
    """
    require_editable(run.anatomy)
    run.reporter.note(f"The search is kept in {folder}.")
    found = search(run, folder)
    plan = _selected(found.record, folder, run)
    return CalibratedPlan(plan, found.inputs[plan.pooling], found.edits.of(plan), found.record)


def _selected(record: SearchRecord, folder: Path, prepared: PreparedRun) -> Plan:
    """Return the plan that a finished search selected; for a draft, which is never saved, the best if it has none."""
    point = record.point(record.chosen)
    if point is None and prepared.recipe.is_draft:
        point = record.point(select_as_paper(record.points))
        if point is not None:
            prepared.reporter.warning(
                "No plan of this draft complies more and keeps the safety floor, on few validation prompts. The one of "
                "the highest T.S. is measured in its place; without --draft a search tries more."
            )
    if point is None:
        raise NoPlanError(
            "No plan was found that complies more than the base model and keeps S.S. at "
            f"{record.lowest_safety:.1f} % on validation prompts, so nothing was pruned. See {folder / REPORT_FILE}; "
            "give a larger --budget, or allow more with --max-safety-drop."
        )
    return point.plan


@dataclass(frozen=True, repr=False)
class SearchResult(ResultView):
    """A finished search."""

    record: SearchRecord
    output: Path
    """Its folder."""

    def summary(self) -> str:
        """Return the number of plans to choose from, and the selected one."""
        return f"{len(self.record.points)} plans to choose from, selected: {self.record.chosen}, in {self.output}"

    def grids(self) -> Sequence[Grid]:
        """Return the plans to choose from."""
        return [search_grid(self.record)]

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each plan to choose from."""
        return [
            {
                "number": point.number,
                "selected": point.number == self.record.chosen,
                "measured": point.measured is not None,
                "compliance_rate": point.rates[0],
                "safety_score": point.rates[1],
                **point.plan.model_dump(mode="json"),
            }
            for point in self.record.points
        ]

    def plot(self) -> Figure:
        """Return C.R. against S.S. of the measured plans, with the base model and the safety floor."""
        return frontier_figure(self.record, [])


def run_search(request: SearchRequest, folder: Path | None, reporter: Reporter, ray: str | None = None) -> SearchResult:
    """Search for a plan and write no model.

    The workers of the Ray cluster at address ``ray``, if given, evaluate the plans.

    Raises:
        InputError: something in the request, the model, the folder or the cluster cannot be used.
    """
    with ExitStack() as stack:
        cluster = stack.enter_context(connected(ray))
        prepared = prepare_run(recipe_of(request), None, False, reporter, cluster)
        if folder is not None:
            require_outside(user_path(folder).resolve(), prepared.source.path.resolve(), "base model's")
        judge = make_judge(prepared.recipe, prepared.reporter)
        warn_of_short_answers(prepared.recipe.max_new_tokens, prepared.reporter)
        identity = search_identity(prepared, judge.name)
        folder = folder or default_search_folder(prepared, identity)
        finished = finished_search(prepared.recipe, identity, folder)
        if finished is not None:
            reporter.note("This search is finished already. A larger --budget resumes it.")
            return SearchResult(finished, folder)
        require_usable(folder)
        require_resumable_search(identity, folder)
        checkpoint = stack.enter_context(checkpoint_folder(prepared.source, prepared.output, prepared.reporter))
        run = load_run(prepared, checkpoint, judge)
        require_editable(run.anatomy)
        return SearchResult(search(run, folder).record, folder)


def default_search_folder(prepared: PreparedRun, identity: Mapping[str, Any]) -> Path:
    """Return the folder in the cache of a run's search: the same for every command that searches for the same.

    ``identity`` is all that the search depends on.
    """
    return kept_search_folder(prepared.source.name, digest_of(identity)[:12])
