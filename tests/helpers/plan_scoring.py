"""Shared by test_scoring and its neighbours."""

from __future__ import annotations

from collections.abc import Sequence

from prosafeprune.judge.verdict import AnswerClass, Exchange, Verdict
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.loading import LoadedModel
from prosafeprune.prompts import PromptClass, PromptSet, validation_prompts
from prosafeprune.search.scoring import PlanScorer

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


def make_scorer(loaded: LoadedModel) -> PlanScorer:
    return PlanScorer(loaded, find_anatomy(loaded.model), [1, 2], OddJudge(), 4, few_prompts(), short_answer=SHORT)
