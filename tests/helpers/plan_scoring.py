"""Shared by test_scoring and its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from prosafeprune.editing.edits import Edit
from prosafeprune.judges.verdict import AnswerClass, Exchange, Verdict
from prosafeprune.method.plan import Plan
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.loading import LoadedModel
from prosafeprune.plan_search.scored_plan import ScoredPlan
from prosafeprune.plan_search.scoring import PlanScorer, ValidationSettings
from prosafeprune.prompts import PromptClass, PromptSet, validation_prompts

SHORT = 3
"""Tokens of the answers that the scorer's plans are scored by."""


class OddJudge:
    """Calls every other answer, by its letters, a refusal."""

    name = "odd"

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        odd = [sum(map(ord, exchange.answer)) % 2 for exchange in exchanges]
        return [Verdict(AnswerClass.FULL_REFUSAL if one else AnswerClass.FULL_COMPLIANCE, "") for one in odd]


def few_prompts() -> dict[PromptClass, PromptSet]:
    return {name: prompts.sample(12, seed=1) for name, prompts in validation_prompts().items()}


def make_scorer(loaded: LoadedModel, batch_size: int | Literal["auto"] = "auto") -> PlanScorer:
    validation = ValidationSettings(4, few_prompts(), short_answer=SHORT, batch_size=batch_size)
    return PlanScorer(loaded, find_anatomy(loaded.model), [1, 2], OddJudge(), validation)


def score(scorer: PlanScorer, edits: Sequence[Edit]) -> ScoredPlan:
    """Return the scores of edits that were not made from a plan."""
    return scorer.scored(Plan(layers=(1,)), scorer.short_answers(edits))
