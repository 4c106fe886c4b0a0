"""The record of a comparison of methods."""

from typing import Any

from pydantic import BaseModel

from prosafeprune.ability import TaskScore
from prosafeprune.evaluation.divergence import Divergence
from prosafeprune.evaluation.earlier_evaluation import EvaluationComparison
from prosafeprune.evaluation.prompts_record import PromptsRecord
from prosafeprune.evaluation.scores import Change, Scores
from prosafeprune.requests.compare import CompareRequest

DEFAULT, OURS = "default", "prosafeprune"
"""Methods that others are compared with: the base model as it is, and pruning."""


class MethodCost(BaseModel):
    """Time and tokens for answering, without loading the model; and the time for fitting the method."""

    answers: int
    seconds_per_answer: float
    tokens_per_answer: float | None
    """None if a custom method does not count them."""
    seconds_per_token: float | None
    answer_ratio: float | None
    """Seconds per answer relative to default; None without default."""
    token_ratio: float | None
    """Seconds per token relative to default, which does not depend on the length of answers."""
    fit_seconds: float | None = None
    """None for a method without fitting, and in records of version 0.1."""


class MethodResult(BaseModel):
    """One method."""

    name: str
    settings: dict[str, Any]
    learned: dict[str, Any]
    """The main values it was fitted to on the calibration prompts."""
    learned_sha256: str | None
    """Hash of everything it was fitted to; None for a method without fitting."""
    fit_is_model: bool = False
    """Whether its fit is a LoRA adapter that ``apply`` can make into a model."""
    scores: Scores
    against_default: EvaluationComparison | None
    """Changes from default, prompt by prompt; None for default and without it."""
    pruning_against: EvaluationComparison | None = None
    """How the pruned model differs from this method, prompt by prompt; None for itself, default, or without it."""
    ability: dict[str, TaskScore] = {}
    """Accuracy on the tasks of general ability; empty where none was asked for."""
    ability_changes: dict[str, Change] = {}
    """Changes from default, question by question, by task; empty for default and without it."""
    divergence: Divergence | None = None
    """From the base model, on benign prompts; None for that model, on a cluster, and where it is not defined."""
    cost: MethodCost
    sessions: list[dict[str, Any]]
    """How the model ran in each session; in half precision, the last bits of results depend on it."""


class ComparisonRecord(BaseModel):
    """Everything about one comparison. It has no date, so equal runs give equal records."""

    format: int = 1
    request: CompareRequest
    made_by: dict[str, Any]
    """What all answers depend on: the model's hashes and the decoding."""
    judge: str
    prompts: dict[str, PromptsRecord]
    calibration: dict[str, PromptsRecord]
    validation: dict[str, PromptsRecord]
    methods: list[MethodResult]
    left_out: dict[str, str]
    """Methods that do not apply to this model, with the reason."""
    versions: dict[str, str]
