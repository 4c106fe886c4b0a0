"""Scoring and measuring plans with the model in this process, or with workers on a cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from prosafeprune.activations.pooled_inputs import PooledInputs
from prosafeprune.activations.shards import PooledShard, make_shard, merge_shards
from prosafeprune.editing.make_edits import OperatorCache
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.files.line_store import LineStore
from prosafeprune.method.plan import Plan, Pooling
from prosafeprune.parallel.ray_pool import Pool
from prosafeprune.plan_search.scored_plan import ScoredPlan
from prosafeprune.plan_search.scoring import PlanScorer, ShortAnswers


class PlanEvaluator(Protocol):
    """Scores plans by short answers, and measures them by full-length ones."""

    def expect_scores(self, plans: Sequence[Plan]) -> None:
        """Announce the plans to be scored next, so that workers can start on them."""
        ...

    def score(self, plan: Plan) -> ScoredPlan:
        """Return the score of a plan. Raises InputError as the generator and the judge do."""
        ...

    def expect_measurements(self, plans: Sequence[Plan]) -> None:
        """Announce the plans to be measured next, so that workers can start on them."""
        ...

    def measure(self, plan: Plan) -> Measurement:
        """Measure a plan by generation and judge. Raises InputError as both do."""
        ...


class LocalPlanEvaluator:
    """Evaluates plans on a model in this process, one at a time."""

    def __init__(self, scorer: PlanScorer, edits: OperatorCache) -> None:
        self.scorer, self.edits = scorer, edits

    def expect_scores(self, plans: Sequence[Plan]) -> None:
        """Do nothing: plans are evaluated when asked for."""

    def score(self, plan: Plan) -> ScoredPlan:
        """Return the score of a plan."""
        return self.scorer.scored(plan, self.short_answers(plan))

    def short_answers(self, plan: Plan) -> ShortAnswers:
        """Return the pruned model's short answers to the validation prompts that plans are scored by."""
        return self.scorer.short_answers(self.edits.of(plan))

    def expect_measurements(self, plans: Sequence[Plan]) -> None:
        """Do nothing: plans are evaluated when asked for."""

    def answers(self, plan: Plan) -> LineStore:
        """Return the pruned model's answers to the validation prompts."""
        return self.scorer.answers(self.edits.of(plan))

    def measure(self, plan: Plan) -> Measurement:
        """Measure a plan by generation and judge."""
        return self.scorer.measure(self.edits.of(plan))


class RemotePlanEvaluator:
    """Distributes plans over workers, each with a :class:`LocalPlanEvaluator`; answers are judged in this process."""

    def __init__(self, pool: Pool, scorer: PlanScorer) -> None:
        """Take the workers, and the scorer whose judge is used."""
        self.pool, self.scorer = pool, scorer

    def expect_scores(self, plans: Sequence[Plan]) -> None:
        """Start the workers on these plans."""
        self.pool.expect(_ScoreTask(plan) for plan in plans)

    def score(self, plan: Plan) -> ScoredPlan:
        """Judge a worker's short answers. Raises InputError as it or the judge does, or when workers are lost."""
        return self.scorer.scored(plan, self.pool.result(_ScoreTask(plan)))

    def expect_measurements(self, plans: Sequence[Plan]) -> None:
        """Start the workers on these plans."""
        self.pool.expect(_AnswerTask(plan) for plan in plans)

    def measure(self, plan: Plan) -> Measurement:
        """Judge a worker's answers. Raises InputError as it or the judge does, or when workers are lost."""
        return self.scorer.judged(self.pool.result(_AnswerTask(plan)))


def inputs_to_send(inputs: Mapping[Pooling, PooledInputs], prompts: int) -> dict[Pooling, PooledShard]:
    """Return the pooled inputs of ``prompts`` prompts in a form that can be sent to workers."""
    return {pooling: make_shard(pooled, range(prompts)) for pooling, pooled in inputs.items()}


def sent_inputs(parts: Mapping[Pooling, PooledShard]) -> dict[Pooling, PooledInputs]:
    """Return the pooled inputs of what :func:`inputs_to_send` returned."""
    return {pooling: merge_shards([part]) for pooling, part in parts.items()}


@dataclass(frozen=True)
class _ScoreTask:
    plan: Plan

    def __call__(self, state: Any) -> ShortAnswers:
        evaluator: LocalPlanEvaluator = state
        return evaluator.short_answers(self.plan)


@dataclass(frozen=True)
class _AnswerTask:
    plan: Plan

    def __call__(self, state: Any) -> LineStore:
        evaluator: LocalPlanEvaluator = state
        return evaluator.answers(self.plan)
