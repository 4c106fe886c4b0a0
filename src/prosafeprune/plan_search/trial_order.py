"""Which plans a search tries first, decided as scores arrive; what comes after them, Optuna draws."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prosafeprune.plan_search.frontier import best_of
from prosafeprune.plan_search.scored_plan import ScoredPlan
from prosafeprune.plan_search.search_space import STRENGTHS, SearchSpace, starting_points, stronger, variations

VARIED_WINDOWS = 2
"""How many of the first windows are tried with other harmful shares."""
VARIATIONS = 4
"""Trials with other shares before the best plan is tried at strengths above 1."""


@dataclass(frozen=True)
class TrialOrder:
    """The order of a space's trials: a few windows, other shares of the best ones, and the best plan made stronger.

    What the same share does depends on the window, and how strong an edit a model bears on the model.
    """

    space: SearchSpace
    lowest_safety: float
    """S.S. in percent below which a plan breaks the floor."""

    def points(self, count: int, scored: Mapping[str, ScoredPlan]) -> list[dict[str, Any]]:
        """Return the trials that are decided now, after ``count`` of them; most often none.

        Args:
            count: trials that have ended.
            scored: the plans that they scored, by their JSON.
        """
        if count < self._first:
            return []
        others = self._variations(scored)
        if not self._has_stronger:
            return others if count == self._first else []
        if count == self._first and others:
            return others[:VARIATIONS]
        if count != self._decided(scored):
            return []
        found = list(scored.values())
        best = best_of(found, self.lowest_safety) or max(found, key=lambda candidate: candidate.value)
        return [*stronger(self.space, best.plan, best.has_room(self.lowest_safety)), *others[VARIATIONS:]]

    def before_next(self, count: int, scored: Mapping[str, ScoredPlan]) -> int | None:
        """Return how many trials end before the next decision; None when all decisions are made."""
        if count < self._first:
            return self._first - count
        last = self._decided(scored)
        return last - count if self._has_stronger and count < last else None

    @property
    def _first(self) -> int:
        return len(starting_points(self.space))

    @property
    def _has_stronger(self) -> bool:
        return self.space.strengths[-1] > STRENGTHS[-1]

    def _decided(self, scored: Mapping[str, ScoredPlan]) -> int:
        """Return after how many trials the stronger plans are decided."""
        return self._first + min(VARIATIONS, len(self._variations(scored)))

    def _variations(self, scored: Mapping[str, ScoredPlan]) -> list[dict[str, Any]]:
        first = [self.space.plan_at(point).model_dump_json() for point in starting_points(self.space)]
        windows = sorted((scored[key] for key in first), key=lambda candidate: -candidate.value)[:VARIED_WINDOWS]
        return variations(self.space, {one.plan: one.has_room(self.lowest_safety) for one in windows})
