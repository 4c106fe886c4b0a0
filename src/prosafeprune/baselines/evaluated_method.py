"""The method that an evaluation names: fitted before, or now on the bundled prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prosafeprune.baselines.fitting import FITTED, FittedMethod, method_from_file
from prosafeprune.baselines.method import FitContext
from prosafeprune.baselines.registry import make_method, read_settings
from prosafeprune.errors import InputError
from prosafeprune.evaluation.calibration_leak import require_no_leak
from prosafeprune.evaluation.prompts_record import prompts_record
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.evaluation.targets import LocalModel
from prosafeprune.progress import Reporter
from prosafeprune.prompts import PromptClass, bundled_prompts, require_disjoint
from prosafeprune.requests.evaluate import EvaluationRequest
from prosafeprune.requests.recipe import Recipe


def evaluated_method(
    request: EvaluationRequest, output: Path, model: LocalModel, sets: Sequence[EvaluationSet], reporter: Reporter
) -> FittedMethod:
    """Return the method of a request; what it learns now is kept in ``output``.

    Raises:
        InputError: no such method, a file that does not belong to it or to the model, or prompts measured on that it
            learned from.
    """
    sha256 = model.subject.sha256
    validation = {one: bundled_prompts(one, "validation") for one in PromptClass}
    for prompts in validation.values():
        require_disjoint([prompts], [chosen.prompts for chosen in sets])
    if request.fitted is not None:
        method = method_from_file(request.method, request.fitted, sha256)
        require_no_leak(method.made_by.get("calibration", {}), sets)
        return method
    if request.method == "prosafeprune":
        raise InputError("--method prosafeprune needs the file that compare fitted, --fitted; or give a pruned model.")
    settings = read_settings(request.settings)
    others = [name for name in settings if name != request.method]
    if others:
        raise InputError(f"--settings: {others[0]} is not the method that is evaluated, {request.method}.")
    samples = Recipe.model_fields["samples"].default
    calibration = {one: bundled_prompts(one, "calibration").sample(samples, request.seed) for one in PromptClass}
    learns_from = {
        "model": sha256,
        "calibration": {one.value: prompts_record(prompts).model_dump() for one, prompts in calibration.items()},
        "seed": request.seed,
    }
    for prompts in calibration.values():
        require_disjoint([prompts], [chosen.prompts for chosen in sets])
    return FittedMethod(
        make_method(request.method, settings.get(request.method)),
        learns_from,
        output / FITTED,
        lambda: FitContext(model.loaded, calibration, validation, request.batch_size, request.seed, reporter),
    )
