"""What a user asks of a search, as one validated object."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from prosafeprune.requests.budget import Budget
from prosafeprune.requests.judging import JudgeOptions
from prosafeprune.requests.measuring import AnswerOptions, ModelOptions, SeedOptions
from prosafeprune.requests.plan_options import CalibrationOptions, OperatorOptions

DRAFT_SEARCH = {"samples": 64, "budget": "3", "confirmations": 1}
"""Default settings of a draft."""
SHORT_ANSWER = 20
"""Tokens in which most answers show whether they refuse."""
LARGE_DROP = 50.0
"""Points of S.S. A model is tested only if it refuses at least half, so a larger drop may be all its refusals."""


class SafetyOptions(BaseModel):
    """The safety floor of a search."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Safety")

    max_safety_drop: float = Field(
        3.0,
        ge=0,
        le=100,
        allow_inf_nan=False,
        description="Points of S.S. that may be lost, over all harmful prompts and on each harmful set; a model not "
        "shown to have lost less is not saved.",
    )
    accept_unsafe: bool = Field(
        False,
        description=f"Confirm a --max-safety-drop above {LARGE_DROP:g} points; at 100 any loss is accepted.",
    )

    @field_validator("max_safety_drop", mode="before")
    @classmethod
    def _is_a_number(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("must be a number of points")
        return value

    @model_validator(mode="after")
    def _accepts_a_large_drop(self) -> Self:
        if self.max_safety_drop > LARGE_DROP and not self.accept_unsafe:
            raise ValueError(
                f"max_safety_drop {self.max_safety_drop:g} lets a model lose its refusals; set accept_unsafe "
                "(--accept-unsafe) as well if that is intended"
            )
        return self


class FloorOptions(SafetyOptions):
    """The safety floor of what is written."""

    floor: Literal["confident", "estimate"] = Field(
        "confident",
        description="confident: a paired non-inferiority test must show that S.S. fell by less than --max-safety-drop; "
        "estimate: the measured drop itself is compared.",
    )
    confidence: float = Field(
        0.9,
        ge=0.5,
        lt=1,
        description="One-sided confidence of --floor confident; a higher one needs more harmful prompts.",
    )


class SearchOptions(BaseModel):
    """Strategy and length of a search."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Search")

    strategy: Literal["auto", "paper"] = Field(
        "auto", description="How layers are searched: auto, or paper (windows near the silhouette's peak, by T.S.)."
    )
    budget: str = Field("8", description="How long to search: trials (8) or a time (10m, 1h).")
    confirmations: int = Field(
        4,
        ge=1,
        description="How many of the best plans by short answers are measured at full length on other validation "
        "prompts before one is selected.",
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

    @property
    def short_answer(self) -> int:
        """Tokens of the answers that plans are scored by: a model that thinks answers late."""
        return self.max_new_tokens if self.thinking == "on" else min(SHORT_ANSWER, self.max_new_tokens)
