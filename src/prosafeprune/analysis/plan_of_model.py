"""The plan whose parts and neighbours analyses look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prosafeprune.errors import InputError
from prosafeprune.files.staging import OURS
from prosafeprune.method.plan import Plan
from prosafeprune.requests.analyze import AnalysisRequest
from prosafeprune.setup.prepare import PromptSets, given_plan


def find_plan(request: AnalysisRequest) -> Plan | None:
    """Return the plan of the request's layers or, without them, the one that its pruned model was made by, if any.

    Raises:
        InputError: the pruned model's record cannot be read, or it was pruned with another pooling than is asked for.
    """
    plan = given_plan(request)
    if plan is not None:
        return plan
    record = _record(request)
    if record is None:
        return None
    try:
        plan = Plan.model_validate(record["plan"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{_place(request)}: cannot be read as a record. Name the plan's --layers.") from error
    if plan.pooling is not request.pooling:
        raise InputError(f"{request.against}: was pruned with --pooling {plan.pooling.value}. Give that too.")
    return plan


def require_plan(request: AnalysisRequest, calibration: PromptSets | None = None) -> Plan:
    """Return the plan, to be made again from these calibration prompts.

    Raises:
        InputError: as :func:`find_plan`; there is no plan; or the pruned model's plan was made from other prompts, so
            that what is made here would be another edit.
    """
    plan = find_plan(request)
    if plan is None:
        raise InputError("Of which plan? Name its --layers, or with --against a model that prosafeprune pruned.")
    if calibration is not None and is_of_pruned(request):
        kept = (_record(request) or {}).get("calibration", {})
        for name, prompts in calibration.items():
            made_from = kept.get(name.value, {})
            if made_from.get("sha256", prompts.sha256) != prompts.sha256:
                raise InputError(
                    f"{request.against}: its plan was made from {made_from.get('count')} {name.in_words} prompts, and "
                    f"these are {len(prompts)} others. Give the same --samples, --seed and files."
                )
    return plan


def is_of_pruned(request: AnalysisRequest) -> bool:
    """Tell whether the plan is that of the pruned model, chosen before and not by this request."""
    return request.layers is None and request.against is not None


def _place(request: AnalysisRequest) -> Path:
    return Path(str(request.against)).expanduser() / OURS


def _record(request: AnalysisRequest) -> dict[str, Any] | None:
    if request.against is None or not _place(request).is_file():
        return None
    try:
        found: dict[str, Any] = dict(json.loads(_place(request).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{_place(request)}: cannot be read as a record. Name the plan's --layers.") from error
    return found
