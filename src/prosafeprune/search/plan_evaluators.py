"""Who says what plans do, estimated and measured: a model in this process, or workers on a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from prosafeprune.activations.pooled_inputs import PooledInputs
from prosafeprune.activations.shards import PooledShard, make_shard, merge_shards
from prosafeprune.editing.operator_cache import OperatorCache
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.files.line_store import LineStore
from prosafeprune.method.plan import Plan, Pooling
from prosafeprune.parallel.ray_pool import Pool
from prosafeprune.search.optuna_study import ScoredPlan
from prosafeprune.search.scoring import PlanScorer


class PlanEvaluator(Protocol):
    """Tries plans."""

    def add_inputs(self, inputs: Mapping[Pooling, PooledInputs]) -> None:
        """Be given the pooled inputs that plans of further poolings need."""
        ...

    def expect_scores(self, plans: Sequence[Plan]) -> None:
        """Be told which plans are to be estimated next."""
        ...

    def score(self, plan: Plan) -> ScoredPlan:
        """Estimate what a plan does. Raises InputError as ``PlanScorer.score`` does."""
        ...

    def expect_measurements(self, plans: Sequence[Plan]) -> None:
        """Be told which plans are to be measured next."""
        ...

    def measure(self, plan: Plan) -> Measurement:
        """Measure what a plan does, by generation and judge. Raises InputError as both do."""
        ...


class LocalPlanEvaluator:
    """Tries plans on a model in this process, one at a time."""

    def __init__(self, scorer: PlanScorer, edits: OperatorCache) -> None:
        self.scorer, self.edits = scorer, edits

    def add_inputs(self, inputs: Mapping[Pooling, PooledInputs]) -> None:
        """Let plans of further poolings be tried."""
        self.edits.inputs = {**self.edits.inputs, **inputs}

    def expect_scores(self, plans: Sequence[Plan]) -> None:
        """Take no notice."""

    def score(self, plan: Plan) -> ScoredPlan:
        """Estimate what a plan does."""
        found = self.scorer.score(self.edits.of(plan))
        return ScoredPlan(
            plan=plan,
            compliance_rate=found.compliance_rate,
            safety_score=found.safety_score,
            divergence=found.divergence,
        )

    def expect_measurements(self, plans: Sequence[Plan]) -> None:
        """Take no notice."""

    def answers(self, plan: Plan) -> LineStore:
        """Return the pruned model's answers to the validation prompts."""
        return self.scorer.answers(self.edits.of(plan))

    def measure(self, plan: Plan) -> Measurement:
        """Measure what a plan does."""
        return self.scorer.measure(self.edits.of(plan))


class RemotePlanEvaluator:
    """Has plans tried by workers, each with a :class:`LocalPlanEvaluator`; the answers are judged here."""

    def __init__(self, pool: Pool, scorer: PlanScorer, prompts: int) -> None:
        """Take the workers, who judges, and of how many prompts there are pooled inputs."""
        self.pool, self.scorer, self.prompts = pool, scorer, prompts

    def add_inputs(self, inputs: Mapping[Pooling, PooledInputs]) -> None:
        """Send the workers further inputs."""
        self.pool.change(_AddInputs(inputs_to_send(inputs, self.prompts)))

    def expect_scores(self, plans: Sequence[Plan]) -> None:
        """Give the plans to the workers."""
        self.pool.expect(_Score(plan) for plan in plans)

    def score(self, plan: Plan) -> ScoredPlan:
        """Return what a worker estimates. Raises InputError as it does, or when workers are lost."""
        scored: ScoredPlan = self.pool.result(_Score(plan))
        return scored

    def expect_measurements(self, plans: Sequence[Plan]) -> None:
        """Give the plans to the workers."""
        self.pool.expect(_Answer(plan) for plan in plans)

    def measure(self, plan: Plan) -> Measurement:
        """Have a worker's answers judged. Raises InputError as it or the judge does, or when workers are lost."""
        return self.scorer.judged(self.pool.result(_Answer(plan)))


def inputs_to_send(inputs: Mapping[Pooling, PooledInputs], prompts: int) -> dict[Pooling, PooledShard]:
    """Return pooled inputs of so many prompts in a form that can be sent."""
    return {pooling: make_shard(one, range(prompts)) for pooling, one in inputs.items()}


def sent_inputs(parts: Mapping[Pooling, PooledShard]) -> dict[Pooling, PooledInputs]:
    """Return pooled inputs that were sent."""
    return {pooling: merge_shards([part]) for pooling, part in parts.items()}


@dataclass(frozen=True)
class _AddInputs:
    inputs: Mapping[Pooling, PooledShard]

    def __call__(self, state: Any) -> LocalPlanEvaluator:
        tester: LocalPlanEvaluator = state
        tester.add_inputs(sent_inputs(self.inputs))
        return tester


@dataclass(frozen=True)
class _Score:
    plan: Plan

    def __call__(self, state: Any) -> ScoredPlan:
        tester: LocalPlanEvaluator = state
        return tester.score(self.plan)


@dataclass(frozen=True)
class _Answer:
    plan: Plan

    def __call__(self, state: Any) -> LineStore:
        tester: LocalPlanEvaluator = state
        return tester.answers(self.plan)
