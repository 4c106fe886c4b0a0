"""The plan that analyses examine: the requested one, or that of the pruned model."""

from pathlib import Path
from typing import Any

from prosafeprune.errors import InputError
from prosafeprune.files.staging import RECORD_FILE
from prosafeprune.files.text_file import read_json_object
from prosafeprune.files.user_path import user_path
from prosafeprune.method.plan import Plan
from prosafeprune.requests.analyze import AnalyzeRequest
from prosafeprune.setup.prepare import given_plan
from prosafeprune.setup.prompt_sets import PromptSets


def find_plan(request: AnalyzeRequest) -> Plan | None:
    """Return the plan of the requested layers or, without layers, the plan of the pruned model, if any.

    Raises:
        InputError: the pruned model's record cannot be read, or its pooling differs from the requested one.
    """
    plan = given_plan(request)
    if plan is not None:
        return plan
    record = _read_record(request)
    if record is None:
        return None
    try:
        plan = Plan.model_validate(record["plan"])
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(request) from error
    if plan.pooling is not request.pooling:
        raise InputError(f"{request.against}: was pruned with --pooling {plan.pooling.value}. Pass that option too.")
    return plan


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
        recorded = (_read_record(request) or {}).get("calibration") or {}
        if not isinstance(recorded, dict) or not all(isinstance(one, dict) for one in recorded.values()):
            raise _unreadable(request)
        for name, prompts in calibration.items():
            used = recorded.get(name.value, {})
            if used.get("sha256", prompts.sha256) != prompts.sha256:
                raise InputError(
                    f"{request.against}: its plan was computed from {used.get('count')} {name.in_words} prompts, these "
                    f"are {len(prompts)} others. Pass the same --samples, --seed and files."
                )
    return plan


def is_from_pruned_model(request: AnalyzeRequest) -> bool:
    """Return whether the plan is that of the pruned model, selected earlier and not by this request."""
    return request.layers is None and request.against is not None


def _unreadable(request: AnalyzeRequest) -> InputError:
    return InputError(f"{_record_file(request)}: cannot be read as a record. Name the plan's --layers.")


def _record_file(request: AnalyzeRequest) -> Path:
    return user_path(str(request.against)) / RECORD_FILE


def _read_record(request: AnalyzeRequest) -> dict[str, Any] | None:
    if request.against is None or not _record_file(request).is_file():
        return None
    return read_json_object(_record_file(request), "record")
