"""The record of a search: what was tried, what was found, and the points to choose from."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, model_validator

from prosafeprune.method.plan import Plan
from prosafeprune.plan_search.scored_plan import ScoredPlan

RECORD = "search.json"
FORMAT = 1
"""The number in a record's ``format``: raise it when earlier releases cannot read what is written."""


class ValidationRates(BaseModel):
    """C.R. and S.S. on validation prompts by generation and judge, in percent."""

    compliance_rate: float
    safety_score: float
    change_error: float | None = None
    """Standard error of the change in T.S. from the base model on the same prompts, in points."""
    safety_error: float | None = None
    """Standard error of the change in S.S.; None in searches by earlier versions."""

    @property
    def tradeoff_score(self) -> float:
        """T.S., their mean."""
        return (self.compliance_rate + self.safety_score) / 2


class SearchPoint(BaseModel):
    """A plan on offer."""

    number: int
    """The number that ``--choose`` selects the plan by."""
    plan: Plan
    estimated: ScoredPlan | None
    """Estimated rates; None where the plan was measured without an estimate."""
    measured: ValidationRates | None
    """Measured rates; None where the plan was only estimated."""

    @model_validator(mode="after")
    def _has_rates(self) -> SearchPoint:
        if self.measured is None and self.estimated is None:
            raise ValueError("a point without any rates")
        return self

    @property
    def rates(self) -> tuple[float, float]:
        """C.R. and S.S.: measured if available, else estimated."""
        best = self.measured or self.estimated
        assert best is not None
        return best.compliance_rate, best.safety_score


class SearchRecord(BaseModel):
    """Everything about one search. It holds no date."""

    format: int = FORMAT
    made_by: dict[str, Any]
    """What the search depends on: hashes of model and prompts, judge, space and floor."""
    silhouettes: dict[int, float]
    """Silhouette of each layer (Eq. 4); empty unless ``--strategy paper`` searched around their peak."""
    screened: dict[int, ScoredPlan] = {}
    """Layers scored alone, in searches of version 0.1."""
    candidates: tuple[int, ...]
    """Layers that were searched."""
    source: ValidationRates
    """Rates of the base model."""
    lowest_safety: float
    """S.S. on validation prompts below which a plan breaks the floor."""
    trials: int
    """Number of plans that were scored."""
    points: list[SearchPoint]
    """The plans on offer, from the safest to the most compliant."""
    chosen: int | None
    """Number of the selected point; None when no plan had a higher C.R. than the base model above the floor."""
    samples: int = Field(400, ge=1)
    """Maximum calibration prompts of each class; 400 in records without this field."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of the draw of these prompts."""

    def point(self, number: int | None) -> SearchPoint | None:
        """Return the point of that number, or None."""
        return next((point for point in self.points if point.number == number), None)
