"""The record of a comparison of methods: what was measured, on what, and how."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from prosafeprune.evaluation.earlier_evaluation import EvaluationComparison
from prosafeprune.evaluation.prompts_record import PromptsRecord
from prosafeprune.evaluation.scores import Scores
from prosafeprune.requests.compare import CompareRequest


class Cost(BaseModel):
    """What answering took, without loading the model and without fitting the method."""

    answers: int
    seconds_per_answer: float
    tokens_per_answer: float | None
    """None where a method of the user's own does not count them."""
    seconds_per_token: float | None
    answer_ratio: float | None
    """Seconds per answer, as a ratio to the default's; None without a default."""
    token_ratio: float | None
    """Seconds per token, likewise: longer answers, as of a method that refuses less, do not count here."""


class MethodResult(BaseModel):
    """One method."""

    name: str
    settings: dict[str, Any]
    learned: dict[str, Any]
    """What is worth telling of what it learned from the calibration prompts."""
    learned_sha256: str | None
    """Of what it learned; None for a method that learns nothing."""
    scores: Scores
    against_default: EvaluationComparison | None
    """What has changed, prompt by prompt; None for the default itself, or without it."""
    pruning_against: EvaluationComparison | None = None
    """How the pruned model differs from this method, prompt by prompt; None for itself, the default, or without it."""
    cost: Cost
    sessions: list[dict[str, Any]]
    """How the model ran each time it answered; in half precision the last bits depend on it."""


class ComparisonRecord(BaseModel):
    """Everything about one comparison. It holds no date."""

    format: int = 1
    request: CompareRequest
    made_by: dict[str, Any]
    """What all answers depend on: hashes of the model, and the decoding."""
    judge: str
    prompts: dict[str, PromptsRecord]
    calibration: dict[str, PromptsRecord]
    validation: dict[str, PromptsRecord]
    methods: list[MethodResult]
    left_out: dict[str, str]
    """Methods that found nothing to work with in this model, and why."""
    versions: dict[str, str]
