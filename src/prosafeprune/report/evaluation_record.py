"""The record of an evaluation: what was measured, on what, and how."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from prosafeprune.ability import TaskScore
from prosafeprune.evaluation.divergence import Divergence
from prosafeprune.evaluation.earlier_evaluation import EvaluationComparison
from prosafeprune.evaluation.prompts_record import PromptsRecord
from prosafeprune.evaluation.scores import Scores
from prosafeprune.requests.evaluate import EvaluationRequest


class EvaluationRecord(BaseModel):
    """Everything about one evaluation. It holds no date."""

    format: int = 1
    request: EvaluationRequest
    made_by: dict[str, Any]
    """What the answers depend on: hashes of the model or its address, and the decoding."""
    sessions: list[dict[str, Any]]
    """How the model ran each time it answered; in half precision the last bits depend on it."""
    judge: str
    prompts: dict[str, PromptsRecord]
    scores: Scores
    ability: dict[str, TaskScore]
    divergence: Divergence | None
    """From the source, on benign prompts; None without one."""
    against: EvaluationComparison | None
    versions: dict[str, str]
