"""What a user asks of a search, as one validated object."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from prosafeprune.requests.budget import Budget
from prosafeprune.requests.judging import JudgeOptions
from prosafeprune.requests.measuring import AnswerOptions, ModelOptions, SeedOptions
from prosafeprune.requests.plan_options import CalibrationOptions, OperatorOptions


class SafetyOptions(BaseModel):
    """The safety floor."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Safety")

    max_safety_drop: float = Field(
        3.0,
        ge=0,
        le=100,
        allow_inf_nan=False,
        description="Points of S.S. that may be lost; if more are, nothing is saved.",
    )


class SearchOptions(BaseModel):
    """How a plan is searched for."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Search")

    strategy: Literal["auto", "paper"] = Field(
        "auto", description="How layers are searched: auto, or paper (windows near the silhouette's peak, by T.S.)."
    )
    budget: str = Field("60", description="How long to search: trials (60) or minutes (10m).")
    confirmations: int = Field(
        6, ge=1, description="Plans that the search measures by generation before it selects one."
    )

    @field_validator("budget", mode="before")
    @classmethod
    def _check_budget(cls, value: Any) -> Any:
        Budget(str(value))
        return str(value)


class SearchRequest(
    SearchOptions,
    SafetyOptions,
    OperatorOptions,
    CalibrationOptions,
    AnswerOptions,
    SeedOptions,
    ModelOptions,
    JudgeOptions,
):
    """Everything that decides the outcome of a search for layers and strengths."""
