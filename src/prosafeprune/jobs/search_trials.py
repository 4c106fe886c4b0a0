"""The plans that a search scores and measures, and in which order; each result is saved at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prosafeprune.errors import InputError
from prosafeprune.evaluation.judged_set import JudgedSet
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.scores import pooled_outcomes, pooled_rate
from prosafeprune.files.resumable_folder import ResumableFolder
from prosafeprune.method.plan import Plan, Pooling, Projection, describe_plan
from prosafeprune.plan_search.frontier import plans_to_confirm
from prosafeprune.plan_search.optuna_study import search_plans
from prosafeprune.plan_search.plan_evaluators import PlanEvaluator
from prosafeprune.plan_search.scored_plan import ESTIMATE_ERROR, ScoredPlan
from prosafeprune.plan_search.search_record import ValidationRates
from prosafeprune.plan_search.search_space import SEARCHED_SHARES, SearchSpace, paper_windows
from prosafeprune.progress import Reporter
from prosafeprune.prompts import PromptClass
from prosafeprune.requests.recipe import Recipe
from prosafeprune.requests.search import Budget

MEASURED_CLASSES = (PromptClass.PSEUDO_HARMFUL, PromptClass.HARMFUL)
MEASURED = "measured.json"
JOURNAL = "journal.jsonl"


@dataclass(frozen=True)
class SearchChoices:
    """Poolings, rank, projection and harmful shares of a search: what the user set, else values that worked well."""

    poolings: tuple[Pooling, ...]
    """Most promising first."""
    rank: int
    projection: Projection
    harmful_shares: tuple[float | None, ...]
    """Most promising first."""

    @classmethod
    def of(cls, recipe: Recipe) -> SearchChoices:
        """Return the choices of a search with this recipe."""
        given, paper = recipe.model_fields_set, recipe.strategy == "paper"
        projection = recipe.projection if paper or "projection" in given else Projection.CONTRASTIVE
        fixed = paper or "harmful_share" in given or projection is not Projection.CONTRASTIVE
        return cls(
            (recipe.pooling,) if paper or "pooling" in given else (Pooling.LAST,),
            recipe.rank,
            projection,
            (recipe.harmful_share,) if fixed else SEARCHED_SHARES,
        )

    def space(self, layers: Sequence[int]) -> SearchSpace:
        """Return the space of plans for some consecutive layers."""
        return SearchSpace(layers, self.poolings, self.rank, self.projection, self.harmful_shares)


class Trials:
    """Evaluates plans within a budget."""

    def __init__(
        self,
        evaluator: PlanEvaluator,
        base: Measurement,
        recipe: Recipe,
        choices: SearchChoices,
        folder: ResumableFolder,
        reporter: Reporter,
    ) -> None:
        self.evaluator, self.base, self.recipe = evaluator, base, recipe
        self.choices, self.folder = choices, folder
        self.reporter = reporter
        self.budget = Budget(recipe.budget)

    def automatic(
        self, layers: Sequence[int], lowest_safety: float
    ) -> tuple[list[ScoredPlan], dict[str, ValidationRates]]:
        """Score windows of the layers, and measure the most promising plans.

        Args:
            lowest_safety: S.S. that a plan must keep, in percent.

        Returns:
            All scored plans, and the rates of the measured ones, by their plan as JSON.
        """
        space = self.choices.space(layers)
        scored = search_plans(
            self.evaluator.score,
            space,
            lowest_safety,
            self.budget,
            self.folder.path / JOURNAL,
            self.recipe.seed,
            self.reporter,
            self.evaluator.expect_scores,
        )
        promising = plans_to_confirm(scored, lowest_safety, self.recipe.confirmations, ESTIMATE_ERROR)
        return scored, self._measure([trial.plan for trial in promising], lambda: False)

    def as_paper(self, candidates: Sequence[int], peak: int) -> tuple[list[ScoredPlan], dict[str, ValidationRates]]:
        """Measure windows of the candidates around the silhouette's peak (section 3.3).

        Returns the same as :meth:`automatic`.
        """
        recipe, choices = self.recipe, self.choices
        strength = recipe.strength if isinstance(recipe.strength, float) else 1.0
        share = choices.harmful_shares[0]
        plans = paper_windows(candidates, peak, choices.poolings[0], recipe.rank, choices.projection, strength, share)
        kept = self._kept()
        done = sum(plan.model_dump_json() in kept for plan in plans)

        def is_spent() -> bool:
            nonlocal done
            done += 1
            return self.budget.is_spent(done - 1)

        measured = self._measure(plans, is_spent, self.budget.trials)
        tried = [plan for plan in plans if plan.model_dump_json() in measured]
        self.evaluator.expect_scores(tried)
        return [self.evaluator.score(plan) for plan in tried], measured

    def _measure(
        self, plans: Sequence[Plan], is_spent: Callable[[], bool], most: int | None = None
    ) -> dict[str, ValidationRates]:
        """Measure plans by generation and judge, announcing the first ``most`` to the evaluator."""
        saved = self._kept()
        self.evaluator.expect_measurements([plan for plan in plans if plan.model_dump_json() not in saved][:most])
        for plan in plans:
            key = plan.model_dump_json()
            if key not in saved:
                if is_spent():
                    break
                self.reporter.note(f"Measuring {describe_plan(plan)} on validation prompts.")
                rates = rates_of(self.evaluator.measure(plan), self.base)
                saved[key] = rates
                self.folder.write(MEASURED, {text: kept.model_dump() for text, kept in saved.items()})
                self.reporter.note(f"C.R. {rates.compliance_rate:.1f}, S.S. {rates.safety_score:.1f}.")
        return saved

    def _kept(self) -> dict[str, ValidationRates]:
        """Return the rates that an earlier run kept, by plan. Raises InputError when the file is damaged."""
        saved: dict[str, Any] = self.folder.read(MEASURED) or {}
        try:
            return {key: ValidationRates.model_validate(rates) for key, rates in saved.items()}
        except ValueError as error:
            path = self.folder.path / MEASURED
            raise InputError(f"{path}: is damaged. Remove it, or choose another folder.") from error


def rates_of(measurement: Measurement, base: Measurement | None = None) -> ValidationRates:
    """Return C.R. and S.S., each over all sets of its class; given ``base``, also the errors of their changes."""
    errors = []
    if base is not None:
        errors = [_change_error(base.sets, measurement.sets, prompt_class) for prompt_class in MEASURED_CLASSES]
    return ValidationRates(
        compliance_rate=pooled_rate(measurement.sets, PromptClass.PSEUDO_HARMFUL).percent,
        safety_score=pooled_rate(measurement.sets, PromptClass.HARMFUL).percent,
        change_error=math.hypot(*errors) / len(errors) if errors else None,
        safety_error=errors[MEASURED_CLASSES.index(PromptClass.HARMFUL)] if errors else None,
    )


def _change_error(before: Sequence[JudgedSet], after: Sequence[JudgedSet], prompt_class: PromptClass) -> float:
    """Return the standard error of a class's change in rate on the same prompts, in points."""
    was, now = (pooled_outcomes(judged, prompt_class) for judged in (before, after))
    changes = np.subtract(now, was, dtype=float)
    return 100 * float(changes.std()) / math.sqrt(len(changes))
