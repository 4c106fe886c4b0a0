"""What a search found, as numbers: kept, shown, and chosen from later."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from prosafeprune.method.plan import Plan
from prosafeprune.search.optuna_study import ScoredPlan

RECORD = "search.json"


class ValidationRates(BaseModel):
    """C.R. and S.S. on validation prompts by generation and judge, in percent."""

    compliance_rate: float
    safety_score: float

    @property
    def tradeoff_score(self) -> float:
        """Their mean."""
        return (self.compliance_rate + self.safety_score) / 2


class Point(BaseModel):
    """A plan to choose from."""

    number: int
    """What ``--choose`` calls it."""
    plan: Plan
    estimated: ScoredPlan | None
    """None where it was measured without being estimated first."""
    measured: ValidationRates | None
    """None where it was only estimated."""

    @property
    def rates(self) -> tuple[float, float]:
        """C.R. and S.S.: measured where they were, else estimated."""
        best = self.measured or self.estimated
        if best is None:
            raise ValueError("a point without any rates")
        return best.compliance_rate, best.safety_score


class SearchRecord(BaseModel):
    """Everything about one search. It holds no date."""

    format: int = 1
    made_by: dict[str, Any]
    """Hashes of model and prompts, judge, space and floor: what the search depends on."""
    silhouettes: dict[int, float]
    """Of each layer (Eq. 4)."""
    screened: dict[int, ScoredPlan] = {}
    """Layers scored by themselves at full strength; none with ``--strategy paper``."""
    candidates: tuple[int, ...]
    """Layers that were searched."""
    source: ValidationRates
    lowest_safety: float
    """S.S. on validation below which a plan breaks the floor."""
    trials: int
    """Plans that were scored."""
    points: list[Point]
    """From the safest to the most compliant."""
    chosen: int | None
    """Number of the chosen point; None when no plan complied more than the source and kept the floor."""

    def point(self, number: int) -> Point | None:
        """Return the point of that number, or None."""
        return next((one for one in self.points if one.number == number), None)
