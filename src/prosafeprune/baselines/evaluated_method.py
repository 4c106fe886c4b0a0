"""The method that an evaluation names: read from the file of a fit, or fitted on the bundled prompts."""

from collections.abc import Sequence
from pathlib import Path

from prosafeprune.baselines.fitting import FITTED, FittedMethod, method_from_file
from prosafeprune.baselines.method import FitContext
from prosafeprune.baselines.registry import make_method, read_settings
from prosafeprune.errors import InputError
from prosafeprune.evaluation.prompts_record import prompts_record
from prosafeprune.evaluation.sets import EvaluationSet, require_no_leak
from prosafeprune.evaluation.targets import LocalModel
from prosafeprune.progress import Reporter
from prosafeprune.prompts import PromptClass, bundled_prompts, require_disjoint
from prosafeprune.requests.evaluate import EvaluateRequest
from prosafeprune.requests.recipe import Recipe


def evaluated_method(
    request: EvaluateRequest, output: Path, model: LocalModel, sets: Sequence[EvaluationSet], reporter: Reporter
) -> FittedMethod:
    """Return the method of a request; a fit made now is kept in ``output``.

    Raises:
        InputError: no such method, a file that does not belong to it or to the model, or a prompt that is measured on
            and was fitted on.
    """
    sha256 = model.subject.sha256
    validation = {one: bundled_prompts(one, "validation") for one in PromptClass}
    for prompts in validation.values():
        require_disjoint([prompts], [one.prompts for one in sets])
    if request.fitted is not None:
        method = method_from_file(request.method, request.fitted, sha256)
        require_no_leak(method.made_by.get("calibration", {}), sets)
        return method
    if request.method == "prosafeprune":
        raise InputError(
            "--method prosafeprune needs --fitted, the file that compare wrote; or evaluate a pruned model instead."
        )
    settings = read_settings(request.method_settings)
    others = [name for name in settings if name != request.method]
    if others:
        raise InputError(f"--settings: {others[0]} is not a setting of the evaluated method, {request.method}.")
    samples = Recipe.model_fields["samples"].default
    calibration = {one: bundled_prompts(one, "calibration").spread(samples, request.seed) for one in PromptClass}
    fitted_on = {
        "model": sha256,
        "calibration": {one.value: prompts_record(prompts).model_dump() for one, prompts in calibration.items()},
        "seed": request.seed,
    }
    made = make_method(request.method, settings.get(request.method))
    for prompts in (*calibration.values(), *made.further_prompts()):
        require_disjoint([prompts], [one.prompts for one in sets])
    return FittedMethod(
        made,
        fitted_on,
        output / FITTED,
        lambda: FitContext(model.loaded, calibration, validation, request.batch_size, request.seed, reporter),
    )
