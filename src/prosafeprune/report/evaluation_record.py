"""The record of an evaluation."""

from typing import Any

from pydantic import BaseModel

from prosafeprune.ability import AbilityComparison, TaskScore
from prosafeprune.evaluation.divergence import Divergence
from prosafeprune.evaluation.earlier_evaluation import EvaluationComparison
from prosafeprune.evaluation.prompts_record import PromptsRecord
from prosafeprune.evaluation.pruning_record import RecordedModel
from prosafeprune.evaluation.scores import Scores
from prosafeprune.requests.evaluate import EvaluateRequest


class EvaluationRecord(BaseModel):
    """Everything about one evaluation. It has no date, so equal runs give equal records."""

    format: int = 1
    request: EvaluateRequest
    made_by: dict[str, Any]
    """What the answers depend on: the model's hashes or address, and the decoding."""
    sessions: list[dict[str, Any]]
    """How the model ran in each session; in half precision, the last bits of results depend on it."""
    learned: dict[str, Any] = {}
    """The main values that the evaluated method was fitted to; empty for one without fitting and the model as it is."""
    judge: str
    prompts: dict[str, PromptsRecord]
    scores: Scores
    ability: dict[str, TaskScore]
    ability_against: AbilityComparison | None = None
    """The earlier evaluation's accuracy, where it has answers to the same questions, and the changes since."""
    divergence: Divergence | None
    """From the base model, on benign prompts; None without one."""
    base: RecordedModel | None = None
    """The model that it is from."""
    against: EvaluationComparison | None
    versions: dict[str, str]
