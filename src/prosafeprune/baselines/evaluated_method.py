"""The method that an evaluation measures: fitted now, or read from the file of an earlier fit."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prosafeprune.baselines.fitting import FITTED, FittedMethod, damage_named, fitted_under, method_from_file
from prosafeprune.baselines.learned_prompts import require_not_learned
from prosafeprune.baselines.method import FitContext, Method
from prosafeprune.baselines.registry import find_method, make_method, read_settings
from prosafeprune.errors import InputError
from prosafeprune.evaluation.prompts_record import prompts_record
from prosafeprune.evaluation.sets import EvaluationSet, require_no_leak
from prosafeprune.evaluation.targets import LocalModel
from prosafeprune.progress import Reporter
from prosafeprune.prompts import PromptClass, bundled_prompts, require_disjoint
from prosafeprune.requests.evaluate import EvaluateRequest
from prosafeprune.requests.measuring import ModelOptions
from prosafeprune.requests.recipe import Recipe
from prosafeprune.setup.prompt_sets import in_modes


def evaluated_method(
    request: EvaluateRequest, output: Path, model: LocalModel, sets: Sequence[EvaluationSet], reporter: Reporter
) -> FittedMethod:
    """Return the method of a request; a fit made now is kept in ``output``.

    Raises:
        InputError: no such method, a file that does not belong to it or to the model, or a prompt that is measured on
            and was fitted on.
    """
    sha256 = model.subject.sha256
    validation = {prompt_class: bundled_prompts(prompt_class, "validation") for prompt_class in PromptClass}
    for prompts in validation.values():
        require_disjoint([prompts], [evaluation_set.prompts for evaluation_set in sets])
    if request.fitted is not None:
        found = _method_without_leak(request.method, request.fitted, sha256, sets)
        if found.method.needs_fit:
            warn_of_other_conditions(request.fitted, found.made_by, request, reporter)
        return found
    made = unfitted_method(request)
    samples = Recipe.model_fields["samples"].default
    calibration = {
        prompt_class: bundled_prompts(prompt_class, "calibration").spread(samples, request.seed)
        for prompt_class in PromptClass
    }
    for prompts in (*calibration.values(), *made.further_prompts()):
        require_disjoint([prompts], [evaluation_set.prompts for evaluation_set in sets])
    learned, chosen_by = in_modes(calibration, request.thinking), in_modes(validation, request.thinking)
    fitted_on = {
        "model": sha256,
        "calibration": {
            prompt_class.value: prompts_record(prompts).model_dump() for prompt_class, prompts in learned.items()
        },
        "seed": request.seed,
        **fitted_under(request),
    }
    return FittedMethod(
        made,
        fitted_on,
        output / FITTED,
        lambda: FitContext(model.loaded, learned, chosen_by, request.batch_size, request.seed, reporter),
        (*learned.values(), *made.further_prompts()),
    )


def unfitted_method(request: EvaluateRequest) -> Method:
    """Return the method of a request that names no fit. Raises InputError for a wrong name or setting."""
    if "plan" in find_method(request.method).model_fields and ":" not in request.method:
        raise InputError(
            f"--method {request.method} needs --fitted, the file that compare wrote; or evaluate a pruned model "
            "instead."
        )
    settings = read_settings(request.method_settings)
    others = [name for name in settings if name != request.method]
    if others:
        raise InputError(f"--settings: {others[0]} is not a setting of the evaluated method, {request.method}.")
    return make_method(request.method, settings.get(request.method))


def _method_without_leak(name: str, path: Path, model: str, sets: Sequence[EvaluationSet]) -> FittedMethod:
    """Return the method fitted in a file. Raises InputError as :func:`evaluated_method` does."""
    method = method_from_file(name, path, model)
    with damage_named(path, TypeError, ValueError, AttributeError):
        calibration = method.made_by.get("calibration", {})
        learned = {PromptClass(prompt_class): dict(record) for prompt_class, record in calibration.items()}
    require_no_leak(learned, sets)
    require_not_learned(method.parts.learned_from, path, sets)
    return method


def warn_of_other_conditions(path: Path, made_by: Mapping[str, Any], request: ModelOptions, reporter: Reporter) -> None:
    """Warn of a fit that was made under another system prompt, mode of thinking or dtype than it is measured under."""
    now = fitted_under(request)
    other = [f"--{name}" for name in ("system", "thinking", "dtype") if made_by.get(name) != now.get(name)]
    if other:
        reporter.warning(
            f"{path}: was fitted with another {' and '.join(other)} than it is measured with, so this is not "
            "what the method does when it is fitted for these."
        )
