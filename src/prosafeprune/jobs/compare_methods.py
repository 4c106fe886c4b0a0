"""The methods of a comparison, and the plan of ours: given, of a finished search, or searched for now."""

from __future__ import annotations

from pathlib import Path

from prosafeprune.baselines.method import Method
from prosafeprune.baselines.prosafeprune import ProSafePrune
from prosafeprune.baselines.pruned_checkpoint import PrunedCheckpoint
from prosafeprune.baselines.registry import find_method, make_method, read_settings
from prosafeprune.errors import InputError, NoPlanError
from prosafeprune.evaluation.targets import LocalModel
from prosafeprune.jobs.plan import read_search
from prosafeprune.jobs.search import search
from prosafeprune.judge import Judge
from prosafeprune.method.plan import Plan
from prosafeprune.parallel.ray_pool import Cluster
from prosafeprune.progress import Reporter
from prosafeprune.requests.compare import CompareRequest
from prosafeprune.requests.recipe import Recipe
from prosafeprune.search.record import RECORD, SearchRecord
from prosafeprune.setup.load import find_and_report_anatomy
from prosafeprune.setup.prepare import given_plan, prepare_job

DEFAULT, OURS = "default", "prosafeprune"
SEARCHED_TOKENS = Recipe.model_fields["max_new_tokens"].default
"""Length of the answers that a search judges, as in a search of its own."""


def given_methods(request: CompareRequest, model: str) -> dict[str, Method]:
    """Return the methods by the names they were asked for; ours is missing when its plan is to be searched for.

    Args:
        request: names the methods and their settings.
        model: hash of the model they are used with.

    Raises:
        InputError: an unknown name or setting, two methods of one name, or a pruned checkpoint of another model.
    """
    settings = read_settings(request.settings)
    for name in settings:
        find_method(name)  # else a misspelt one would be passed over
    if OURS in settings:
        raise InputError(f"--settings: {OURS} has none here. Give its plan with --layers, --search or --pruned.")
    methods: dict[str, Method] = {}
    for name in request.methods:
        plan = given_plan(request)
        if name != OURS:
            methods[name] = make_method(name, settings.get(name))
        elif request.pruned is not None:
            methods[name] = PrunedCheckpoint.of(request.pruned, model)
        elif plan is not None:
            methods[name] = ProSafePrune(plan=plan)
    names = [method.name for method in methods.values()]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"--methods: two are called {twice[0]}. Give your own another name.")
    return methods


def found_plan(
    request: CompareRequest,
    model: LocalModel,
    judge: Judge,
    kept: Path,
    reporter: Reporter,
    cluster: Cluster | None = None,
) -> Plan:
    """Return the plan of the search that a request names or, if it names none, of a search that is made now.

    Its plans are tried on the cluster, where there is one. A search is kept in ``kept``, and when it was finished there
    before, it is not done again.

    Raises:
        InputError: no such search, one of another model, or no such point.
        NoPlanError: the search found none that keeps the safety floor and complies more than the source.
    """
    # What the user left out stays left out: a search explores those settings.
    values = request.model_dump(include=set(Recipe.model_fields), exclude_unset=True)
    recipe = Recipe(**{**values, "max_new_tokens": min(request.max_new_tokens, SEARCHED_TOKENS)})
    job = prepare_job(recipe, None, False, reporter, cluster)
    folder = request.search or kept
    if request.search is not None or (kept / RECORD).exists():
        record = read_search(folder, job)
    else:
        loaded = model.loaded
        record = search(job, loaded, find_and_report_anatomy(loaded.model, reporter), judge, folder).record
    return _point(record, request.choose, folder)


def _point(record: SearchRecord, number: int | None, folder: Path) -> Plan:
    wanted = record.chosen if number is None else number
    if wanted is None:
        raise NoPlanError(
            f"The search in {folder} found no plan that complies more than the source and keeps the safety floor. "
            "Choose a point of it with --choose, or give --layers."
        )
    point = record.point(wanted)
    if point is None:
        raise InputError(f"--choose {wanted}: the search in {folder} has the points 1 to {len(record.points)}.")
    return point.plan
