"""The plan that analyses examine: the requested one, or that of the pruned model."""

from prosafeprune.errors import InputError
from prosafeprune.evaluation.pruning_record import Pruning, read_pruning
from prosafeprune.files.user_path import user_path
from prosafeprune.method.plan import Plan, require_strength
from prosafeprune.progress import Reporter
from prosafeprune.requests.analyze import AnalyzeRequest
from prosafeprune.setup.prepare import given_plan
from prosafeprune.setup.prompt_sets import PromptSets


def find_plan(request: AnalyzeRequest) -> Plan | None:
    """Return the plan of the requested layers or, without layers, the plan of the pruned model, if any.

    Raises:
        InputError: the pruned model's record cannot be read, its pooling differs from the requested one, or one of the
            strengths to measure is larger than its projection takes.
    """
    plan = given_plan(request) or _pruned_plan(request)
    if plan is not None:
        try:
            require_strength(request.strengths, plan.projection)
        except ValueError as error:
            raise InputError(f"--strengths: {error}.") from error
    return plan


def _pruned_plan(request: AnalyzeRequest) -> Plan | None:
    pruning = _pruning_of(request)
    if pruning is None:
        return None
    plan = pruning.require_plan(str(request.against), "Name the plan's --layers.")
    if plan.pooling is not request.pooling:
        raise InputError(f"{request.against}: was pruned with --pooling {plan.pooling.value}. Pass that option too.")
    return plan


def pooled_as_planned(request: AnalyzeRequest, reporter: Reporter) -> AnalyzeRequest:
    """Return the request with the pooling of the pruned model's plan, unless it names layers or a pooling itself.

    A record that cannot be read leaves it as it is: the analyses that need the plan say what is wrong.
    """
    if not is_from_pruned_model(request) or "pooling" in request.model_fields_set:
        return request
    try:
        pruning = _pruning_of(request)
    except InputError:
        return request
    if pruning is None or pruning.plan is None or pruning.plan.pooling is request.pooling:
        return request
    pooling = pruning.plan.pooling
    reporter.note(f"Activations are pooled as {request.against} was pruned: --pooling {pooling.value}.")
    return request.model_copy(update={"pooling": pooling})


def require_plan(request: AnalyzeRequest, calibration: PromptSets | None = None) -> Plan:
    """Return the plan, to be computed again from these calibration prompts.

    Raises:
        InputError: as :func:`find_plan`; there is no plan; or the pruned model's plan was computed from other prompts,
            which would give another edit.
    """
    plan = find_plan(request)
    if plan is None:
        raise InputError("No plan. Name its --layers, or pass a model that prosafeprune pruned with --against.")
    if calibration is not None and is_from_pruned_model(request):
        pruning = _pruning_of(request)
        for name, prompts in calibration.items():
            used = pruning.calibration.get(name) if pruning is not None else None
            if used is not None and used.sha256 != prompts.sha256:
                raise InputError(
                    f"{request.against}: its plan was computed from {used.count} {name.in_words} prompts, these "
                    f"are {len(prompts)} others. Pass the same --samples, --seed and files."
                )
    return plan


def is_from_pruned_model(request: AnalyzeRequest) -> bool:
    """Return whether the plan is that of the pruned model, selected earlier and not by this request."""
    return request.layers is None and request.against is not None


def _pruning_of(request: AnalyzeRequest) -> Pruning | None:
    if request.against is None:
        return None
    folder = user_path(str(request.against))
    return read_pruning(folder, "Name the plan's --layers.") if folder.is_dir() else None
