"""The plan whose parts and neighbours analyses look at."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from prosafeprune.analysis.request import AnalysisRequest
from prosafeprune.checkpoint.staging import OURS
from prosafeprune.errors import InputError
from prosafeprune.method.plan import Plan
from prosafeprune.setup.job import given_plan


def find_plan(request: AnalysisRequest) -> Plan | None:
    """Return the plan of the request's layers or, without them, the one that its pruned model was made by, if any.

    Raises:
        InputError: the pruned model's record cannot be read, or it was pruned with another pooling than is asked for.
    """
    plan = given_plan(request)
    if plan is not None or request.against is None:
        return plan
    record = Path(request.against).expanduser() / OURS
    if not record.is_file():
        return None
    try:
        plan = Plan.model_validate(json.loads(record.read_text(encoding="utf-8"))["plan"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise InputError(f"{record}: cannot be read as a record. Name the plan's --layers.") from error
    if plan.pooling is not request.pooling:
        raise InputError(f"{request.against}: was pruned with --pooling {plan.pooling.value}. Give that too.")
    return plan


def require_plan(request: AnalysisRequest) -> Plan:
    """Return the plan. Raises InputError as :func:`find_plan`, and when there is none."""
    plan = find_plan(request)
    if plan is None:
        raise InputError("Of which plan? Name its --layers, or with --against a model that prosafeprune pruned.")
    return plan
