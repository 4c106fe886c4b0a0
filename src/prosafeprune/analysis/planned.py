"""The plan whose parts and neighbours analyses look at."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from prosafeprune.analysis.request import AnalysisRequest
from prosafeprune.checkpoint.staging import OURS
from prosafeprune.errors import InputError
from prosafeprune.method.plan import Plan


def plan_of(request: AnalysisRequest) -> Plan:
    """Return the plan of the request's layers or, without them, the one that its pruned model was made by.

    Raises:
        InputError: neither is given, or the pruned model's record cannot be read or pools in another way.
    """
    if request.layers is not None:
        return Plan(layers=request.layers, rank=request.rank, strength=request.strength, pooling=request.pooling)
    record = Path(request.against or "").expanduser() / OURS
    if request.against is None or not record.is_file():
        raise InputError("Of which plan? Name its --layers, or with --against a model that prosafeprune pruned.")
    try:
        plan = Plan.model_validate(json.loads(record.read_text(encoding="utf-8"))["plan"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise InputError(f"{record}: cannot be read as a record. Name the plan's --layers.") from error
    if plan.pooling is not request.pooling:
        raise InputError(f"{request.against}: was pruned with --pooling {plan.pooling.value}. Give that too.")
    return plan
