"""The plans a search tries, in order: what it has learned of each is kept as it comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.scores import pooled_rate
from prosafeprune.files.resumable_folder import ResumableFolder
from prosafeprune.method.plan import Plan, Pooling, Projection
from prosafeprune.progress import Reporter
from prosafeprune.prompts import PromptClass
from prosafeprune.requests.budget import Budget
from prosafeprune.requests.recipe import Recipe
from prosafeprune.search.frontier import plans_to_confirm
from prosafeprune.search.optuna_study import ScoredPlan, describe_plan, search_plans
from prosafeprune.search.plan_evaluators import PlanEvaluator
from prosafeprune.search.record import ValidationRates
from prosafeprune.search.screening import screen
from prosafeprune.search.search_space import FIRST_RANK, RANKS, SearchSpace, paper_windows

RESERVE = 2.0
"""Points of S.S. to spare of the cautious half of the plans that are measured."""
MEASURED = "measured.json"
SCREENED = "screened.json"
JOURNAL = "journal.jsonl"


@dataclass(frozen=True)
class SearchChoices:
    """What a search varies besides layers and strengths: what the user named, else what has proved itself."""

    poolings: tuple[Pooling, ...]
    """The likeliest first."""
    ranks: tuple[int, ...]
    projection: Projection

    @classmethod
    def by(cls, recipe: Recipe) -> SearchChoices:
        """Return what a search by this recipe varies."""
        given, paper = recipe.model_fields_set, recipe.strategy == "paper"
        return cls(
            (recipe.pooling,) if paper or "pooling" in given else (Pooling.SEQUENCE, Pooling.TAIL),
            (recipe.rank,) if paper or "rank" in given else RANKS,
            recipe.projection if paper or "projection" in given else Projection.CONTRASTIVE,
        )


class Trials:
    """Plans tried within a budget, by whoever tries them."""

    def __init__(
        self, tester: PlanEvaluator, recipe: Recipe, varied: SearchChoices, kept: ResumableFolder, reporter: Reporter
    ) -> None:
        self.tester, self.recipe, self.varied, self.kept, self.reporter = tester, recipe, varied, kept, reporter
        self.budget = Budget(recipe.budget)

    def screen(self, layers: Sequence[int]) -> dict[int, ScoredPlan]:
        """Score each layer by itself."""
        varied = self.varied
        rank = FIRST_RANK if FIRST_RANK in varied.ranks else varied.ranks[0]

        def plan(layer: int) -> Plan:
            return Plan(
                layers=(layer,),
                rank=rank,
                strength=(1.0,),
                pooling=varied.poolings[0],
                projection=varied.projection,
            )

        kept: dict[str, Any] = self.kept.read(SCREENED) or {}
        screened = {int(layer): ScoredPlan.model_validate(one) for layer, one in kept.items()}
        self.tester.expect_scores([plan(layer) for layer in layers if layer not in screened])
        for known in screen(lambda layer: self.tester.score(plan(layer)), layers, screened, self.budget, self.reporter):
            screened = known
            self.kept.write(SCREENED, {str(layer): one.model_dump(mode="json") for layer, one in screened.items()})
        return screened

    def automatic(
        self, candidates: Sequence[int], lowest_safety: float, known: Sequence[ScoredPlan]
    ) -> tuple[list[ScoredPlan], dict[str, ValidationRates]]:
        """Score plans of the candidates, and measure those that promise most.

        Args:
            candidates: layers, the best by itself first.
            lowest_safety: S.S. that a plan must keep, in percent.
            known: plans scored before.

        Returns:
            All scored plans, and the rates of those measured, by their plan as JSON.
        """
        scored = search_plans(
            self.tester.score,
            SearchSpace(candidates, self.varied.poolings, self.varied.ranks, self.varied.projection),
            lowest_safety,
            self.budget,
            self.kept.path / JOURNAL,
            self.recipe.seed,
            self.reporter,
            known,
            self.tester.expect_scores,
        )
        promising = plans_to_confirm(scored, lowest_safety, self.recipe.confirmations, RESERVE)
        return scored, self._measure([one.plan for one in promising], lambda: False)

    def windows(self, candidates: Sequence[int], peak: int) -> tuple[list[ScoredPlan], dict[str, ValidationRates]]:
        """Measure windows of the candidates around the silhouette's peak (section 3.3); returns as ``automatic``."""
        recipe, varied = self.recipe, self.varied
        strength = recipe.strength if isinstance(recipe.strength, float) else 1.0
        plans = paper_windows(candidates, peak, varied.poolings[0], recipe.rank, varied.projection, strength)
        done = 0

        def is_spent() -> bool:
            nonlocal done
            done += 1
            return self.budget.is_spent(done - 1)

        measured = self._measure(plans, is_spent, self.budget.trials)
        tried = [plan for plan in plans if plan.model_dump_json() in measured]
        self.tester.expect_scores(tried)
        return [self.tester.score(plan) for plan in tried], measured

    def _measure(
        self, plans: Sequence[Plan], is_spent: Callable[[], bool], most: int | None = None
    ) -> dict[str, ValidationRates]:
        """Measure plans by generation and judge, at most so many of them now."""
        kept: dict[str, Any] = self.kept.read(MEASURED) or {}
        self.tester.expect_measurements([plan for plan in plans if plan.model_dump_json() not in kept][:most])
        for plan in plans:
            key = plan.model_dump_json()
            if key not in kept:
                if is_spent():
                    break
                self.reporter.note(f"Measuring {describe_plan(plan)} on validation prompts.")
                rates = rates_of(self.tester.measure(plan))
                kept[key] = rates.model_dump()
                self.kept.write(MEASURED, kept)
                self.reporter.note(f"C.R. {rates.compliance_rate:.1f}, S.S. {rates.safety_score:.1f}.")
        return {key: ValidationRates.model_validate(value) for key, value in kept.items()}


def rates_of(measurement: Measurement) -> ValidationRates:
    """Return C.R. and S.S. over all sets of their class."""
    return ValidationRates(
        compliance_rate=pooled_rate(measurement.sets, PromptClass.PSEUDO_HARMFUL).percent,
        safety_score=pooled_rate(measurement.sets, PromptClass.HARMFUL).percent,
    )
