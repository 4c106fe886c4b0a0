"""The plans that a search evaluates, in order, each result saved as soon as it is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from prosafeprune.errors import InputError
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
"""Points of S.S. above the floor that the cautious half of the plans to confirm must keep."""
MEASURED = "measured.json"
SCREENED = "screened.json"
JOURNAL = "journal.jsonl"
Kept = TypeVar("Kept", bound=BaseModel)


@dataclass(frozen=True)
class SearchChoices:
    """What a search varies besides layers and strengths: what the user set, else values that worked well."""

    poolings: tuple[Pooling, ...]
    """Most promising first."""
    ranks: tuple[int, ...]
    projection: Projection

    @classmethod
    def of(cls, recipe: Recipe) -> SearchChoices:
        """Return what a search with this recipe varies."""
        given, paper = recipe.model_fields_set, recipe.strategy == "paper"
        return cls(
            (recipe.pooling,) if paper or "pooling" in given else (Pooling.SEQUENCE, Pooling.TAIL),
            (recipe.rank,) if paper or "rank" in given else RANKS,
            recipe.projection if paper or "projection" in given else Projection.CONTRASTIVE,
        )


class Trials:
    """Plans evaluated within a budget."""

    def __init__(
        self,
        evaluator: PlanEvaluator,
        recipe: Recipe,
        choices: SearchChoices,
        folder: ResumableFolder,
        reporter: Reporter,
    ) -> None:
        self.evaluator, self.recipe, self.choices, self.folder = evaluator, recipe, choices, folder
        self.reporter = reporter
        self.budget = Budget(recipe.budget)

    def screen(self, layers: Sequence[int]) -> dict[int, ScoredPlan]:
        """Score each layer alone."""
        choices = self.choices
        rank = FIRST_RANK if FIRST_RANK in choices.ranks else choices.ranks[0]

        def plan(layer: int) -> Plan:
            return Plan(
                layers=(layer,),
                rank=rank,
                strength=(1.0,),
                pooling=choices.poolings[0],
                projection=choices.projection,
            )

        screened = {int(layer): one for layer, one in self._kept(SCREENED, ScoredPlan).items() if layer.isdecimal()}
        self.evaluator.expect_scores([plan(layer) for layer in layers if layer not in screened])
        for known in screen(
            lambda layer: self.evaluator.score(plan(layer)), layers, screened, self.budget, self.reporter
        ):
            screened = known
            self.folder.write(SCREENED, {str(layer): one.model_dump(mode="json") for layer, one in screened.items()})
        return screened

    def automatic(
        self, candidates: Sequence[int], lowest_safety: float, known: Sequence[ScoredPlan]
    ) -> tuple[list[ScoredPlan], dict[str, ValidationRates]]:
        """Score plans of the candidate layers, and measure the most promising ones.

        Args:
            candidates: layers, best single layer first.
            lowest_safety: S.S. that a plan must keep, in percent.
            known: plans already scored.

        Returns:
            All scored plans, and the rates of the measured ones, by their plan as JSON.
        """
        scored = search_plans(
            self.evaluator.score,
            SearchSpace(candidates, self.choices.poolings, self.choices.ranks, self.choices.projection),
            lowest_safety,
            self.budget,
            self.folder.path / JOURNAL,
            self.recipe.seed,
            self.reporter,
            known,
            self.evaluator.expect_scores,
        )
        promising = plans_to_confirm(scored, lowest_safety, self.recipe.confirmations, RESERVE)
        return scored, self._measure([one.plan for one in promising], lambda: False)

    def windows(self, candidates: Sequence[int], peak: int) -> tuple[list[ScoredPlan], dict[str, ValidationRates]]:
        """Measure windows of the candidates around the silhouette's peak (section 3.3); returns as ``automatic``."""
        recipe, choices = self.recipe, self.choices
        strength = recipe.strength if isinstance(recipe.strength, float) else 1.0
        plans = paper_windows(candidates, peak, choices.poolings[0], recipe.rank, choices.projection, strength)
        done = 0

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
        saved = self._kept(MEASURED, ValidationRates)
        self.evaluator.expect_measurements([plan for plan in plans if plan.model_dump_json() not in saved][:most])
        for plan in plans:
            key = plan.model_dump_json()
            if key not in saved:
                if is_spent():
                    break
                self.reporter.note(f"Measuring {describe_plan(plan)} on validation prompts.")
                rates = rates_of(self.evaluator.measure(plan))
                saved[key] = rates
                self.folder.write(MEASURED, {one: kept.model_dump() for one, kept in saved.items()})
                self.reporter.note(f"C.R. {rates.compliance_rate:.1f}, S.S. {rates.safety_score:.1f}.")
        return saved

    def _kept(self, name: str, kind: type[Kept]) -> dict[str, Kept]:
        """Return what an earlier run kept in a file, by layer or plan. Raises InputError when the file is damaged."""
        saved: dict[str, Any] = self.folder.read(name) or {}
        try:
            return {key: kind.model_validate(one) for key, one in saved.items()}
        except ValueError as error:
            raise InputError(f"{self.folder.path / name}: is damaged. Remove it, or choose another folder.") from error


def rates_of(measurement: Measurement) -> ValidationRates:
    """Return C.R. and S.S. over all sets of their class."""
    return ValidationRates(
        compliance_rate=pooled_rate(measurement.sets, PromptClass.PSEUDO_HARMFUL).percent,
        safety_score=pooled_rate(measurement.sets, PromptClass.HARMFUL).percent,
    )
