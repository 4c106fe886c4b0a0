"""The methods of a comparison, and the plan of ours: given, from a search, or searched for now."""

from pathlib import Path

from prosafeprune.baselines.method import Method
from prosafeprune.baselines.prosafeprune import PlannedMethod, PromptedProSafePrune, ProSafePrune, PrunedCheckpoint
from prosafeprune.baselines.registry import find_method, make_method, read_settings
from prosafeprune.errors import InputError, NoPlanError
from prosafeprune.evaluation.targets import LocalModel
from prosafeprune.files.resumable_folder import differing
from prosafeprune.files.staging import write_whole
from prosafeprune.jobs.calibrated_plan import default_search_folder
from prosafeprune.jobs.search import FINISHED, finished_search, other_length, search, search_identity
from prosafeprune.judges import Judge
from prosafeprune.method.plan import Plan
from prosafeprune.parallel.ray_pool import Cluster
from prosafeprune.plan_search.search_record import RECORD, SearchRecord
from prosafeprune.progress import Reporter
from prosafeprune.report.comparison_record import OURS
from prosafeprune.requests.compare import CompareRequest
from prosafeprune.requests.recipe import recipe_of
from prosafeprune.requests.search import SearchRequest
from prosafeprune.setup.finished_search import plan_of_point, read_search, require_search_of
from prosafeprune.setup.load import LoadedRun, inspect_anatomy
from prosafeprune.setup.prepare import PreparedRun, given_plan, prepare_run
from prosafeprune.setup.prompt_sets import PromptSets

PLANNED: dict[str, type[PlannedMethod]] = {kind.name: kind for kind in (ProSafePrune, PromptedProSafePrune)}
"""The methods that prune by the plan of the comparison."""
SEARCHED_TOKENS = SearchRequest.model_fields["max_new_tokens"].default
"""Maximum tokens of the answers that a search judges, as in the search command."""


def given_methods(request: CompareRequest, model: str) -> dict[str, Method]:
    """Return the requested methods by name; those of a plan are missing when it must be searched for.

    Args:
        model: hash of the model they are applied to.

    Raises:
        InputError: an unknown name or setting, two methods of one name, or a pruned checkpoint of another model.
    """
    settings = read_settings(request.method_settings)
    for name in settings:
        find_method(name)  # or a misspelt name would go unnoticed
        if name not in request.methods:
            option = "--settings" if request.settings else "--sft-data"
            raise InputError(f"{option}: {name} is not compared. Add it to --methods, or leave the setting out.")
    for name, kind in PLANNED.items():
        taken = kind.model_fields.keys() - {"plan"}
        if settings.get(name, {}).keys() - taken:
            fault = f"takes {', '.join(taken)} alone" if taken else "takes none"
            raise InputError(f"--settings: {name} {fault}. Give its plan with --layers, --search or --pruned.")
    methods: dict[str, Method] = {}
    plan = given_plan(request)
    for name in request.methods:
        if name not in PLANNED:
            methods[name] = make_method(name, settings.get(name))
        elif request.pruned is not None:
            if name != OURS:
                raise InputError(
                    f"{name} cannot take the weights of --pruned: give its plan with --layers or --search."
                )
            methods[name] = PrunedCheckpoint.of(request.pruned, model)
        elif plan is not None:
            methods[name] = planned_method(name, plan, request)
    names = [method.name for method in methods.values()]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"--methods: two are called {twice[0]}. Rename your own.")
    return methods


def planned_method(name: str, plan: Plan, request: CompareRequest) -> Method:
    """Return one of the methods that prune by the plan. Raises InputError when a setting is out of range."""
    return make_method(name, {"plan": plan, **read_settings(request.method_settings).get(name, {})})


def require_named_search(request: CompareRequest, model: Path, calibration: PromptSets) -> None:
    """Check the search that a request names before anything is measured: it is needed only when ours has its turn.

    Raises:
        InputError: no such search, one of another model, no such point, or fewer prompts than its plan's rank.
    """
    if request.search is None or not any(name in PLANNED for name in request.methods):
        return
    record = read_search(request.search)
    require_search_of(record, model, request.search)
    point = record.chosen if request.choose is None else request.choose
    if point is None:  # ours is left out
        return
    plan, fewest = plan_of_point(record, point, request.search), min(map(len, calibration.values()))
    if fewest < plan.rank:
        raise InputError(
            f"--search {request.search}: its plan has rank {plan.rank}, and a class has only {fewest} prompts to "
            f"calibrate on. Give at least {plan.rank} of each class, or leave out --only-mine."
        )


def found_plan(
    request: CompareRequest,
    model: LocalModel,
    judge: Judge,
    own_folder: Path,
    reporter: Reporter,
    cluster: Cluster | None = None,
) -> Plan:
    """Return the plan of the search that a request names or, if it names none, of the one in the cache.

    That search is run or resumed unless it is finished; on the cluster, if there is one. Its record is copied into
    ``own_folder`` of the comparison, and read there next time.

    Raises:
        InputError: no such search, one of another model or under other settings, or no such point.
        NoPlanError: no plan found keeps the safety floor and complies more than the base model.
    """
    if request.search is not None:
        record, folder = read_search(request.search), request.search
        require_search_of(record, model.subject.source.path, folder)
    else:
        record, folder = _own_search(request, model, judge, own_folder, reporter, cluster)
    point = record.chosen if request.choose is None else request.choose
    if point is None:
        raise NoPlanError(
            f"The search in {request.search or own_folder} found no plan that complies more than the base model and "
            "keeps the safety floor. Choose one of its points with --choose, or give --layers."
        )
    return plan_of_point(record, point, folder)


def _own_search(
    request: CompareRequest,
    model: LocalModel,
    judge: Judge,
    own_folder: Path,
    reporter: Reporter,
    cluster: Cluster | None,
) -> tuple[SearchRecord, Path]:
    """Return the search that a comparison makes itself, run or resumed unless it is finished, and its folder."""
    tokens = min(request.max_new_tokens, SEARCHED_TOKENS)
    recipe = recipe_of(request).model_copy(update={"max_new_tokens": tokens})
    prepared = prepare_run(recipe, None, False, reporter, cluster)
    if (own_folder / RECORD).exists():
        record = read_search(own_folder)
        require_search_of(record, prepared.source.path, own_folder)
        _require_same_search(record, prepared, judge, own_folder)
        return record, own_folder
    identity = search_identity(prepared, judge.name)
    folder = default_search_folder(prepared, identity)
    record = finished_search(recipe, identity, folder) or _searched(prepared, model, judge, folder)
    # The comparison resumes with the same plan, also where the cache is gone.
    own_folder.mkdir(exist_ok=True)
    write_whole(own_folder / FINISHED, (folder / FINISHED).read_bytes())
    write_whole(own_folder / RECORD, record.model_dump_json(indent=2) + "\n")
    return record, folder


def _require_same_search(record: SearchRecord, prepared: PreparedRun, judge: Judge, folder: Path) -> None:
    """Raise InputError when an earlier run of the comparison searched under other settings or on other prompts."""
    now = search_identity(prepared, judge.name)
    other = [name for name in differing(record.made_by, now) if name not in ("judge", "dtype")]
    if (folder / FINISHED).exists():  # not in comparisons of earlier versions
        other += [name for name in other_length(prepared.recipe, folder) if name != "selection"]
    if other:
        raise InputError(
            f"{folder}: the plan of this comparison was found with other settings ({', '.join(other)}). Choose another "
            f"--output, name that search to keep its plan (--search {folder}), or pass --overwrite."
        )


def _searched(prepared: PreparedRun, model: LocalModel, judge: Judge, folder: Path) -> SearchRecord:
    loaded = model.loaded
    anatomy = inspect_anatomy(loaded.model, prepared.reporter)
    return search(LoadedRun(**vars(prepared), loaded=loaded, anatomy=anatomy, judge=judge), folder).record
