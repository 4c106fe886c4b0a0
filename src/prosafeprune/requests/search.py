"""What a user asks of a search, as one validated object."""

import re
import time
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from prosafeprune.requests.judging import JudgeOptions
from prosafeprune.requests.measuring import AnswerOptions, LoadOptions, ModelOptions, SeedOptions
from prosafeprune.requests.plan_options import CalibrationOptions, OperatorOptions

MAX_AMOUNT = 1_000_000
"""Trials or minutes; two years."""
SECONDS = {"m": 60, "h": 3600}
DRAFT_SEARCH = {"samples": 64, "budget": "3", "confirmations": 3}
"""Default settings of a draft."""
PAPER_BUDGET = "30"
"""Default budget of the paper's strategy: no fewer than the windows that it can measure in a model of any depth."""
SHORT_ANSWER = 20
"""Tokens in which most answers show whether they refuse."""
LARGE_DROP = 50.0
"""Points of S.S. A model is tested only if it refuses at least half, so a larger drop may be all its refusals."""


class Budget:
    """A number of trials (``60``), of minutes (``10m``) or of hours (``1h``)."""

    def __init__(self, text: str) -> None:
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(?:(m)(?:in(?:utes?)?)?|(h)(?:ours?)?)?", text.strip())
        amount = float(found[1]) if found else 0.0
        unit = (found[2] or found[3]) if found else None
        if found is None or not 0 < amount <= MAX_AMOUNT or (unit is None and not amount.is_integer()):
            raise ValueError("give a number of trials such as 60, or a time such as 10m or 1h")
        self._text = text
        self.trials = None if unit else int(amount)
        self.seconds = SECONDS[unit] * amount if unit else None
        self.started = time.monotonic()

    def is_spent(self, trials: int) -> bool:
        """Return whether ``trials`` trials, or the time since this run started, use up the budget."""
        if self.trials is not None:
            return trials >= self.trials
        return self.seconds is not None and time.monotonic() - self.started >= self.seconds

    @property
    def normalised(self) -> str:
        """One text for all that ask for the same: ``1h`` for ``60m`` or ``60 minutes``, ``90m`` for ``1.5h``."""
        if self.seconds is None:
            return str(self.trials)
        unit = "h" if self.seconds % SECONDS["h"] == 0 else "m"
        text = f"{self.seconds / SECONDS[unit]:f}".rstrip("0").rstrip(".") + unit
        try:
            return text if Budget(text).seconds == self.seconds else self._text
        except ValueError:  # too short for six decimals
            return self._text

    @property
    def total(self) -> int:
        """Number of steps of a progress bar: trials or seconds."""
        return self.trials if self.trials is not None else int(self.seconds or 0)

    def steps_done(self, trials: int) -> int:
        """Return how many of the ``total`` steps are done."""
        return trials if self.trials is not None else int(time.monotonic() - self.started)


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
        False, description=f"Confirm a --max-safety-drop above {LARGE_DROP:g} points; at 100 any loss is accepted."
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
    budget: str = Field(
        "10",
        description="How long to search: trials (10) or a time (10m, 1h). By default 10 trials, with --strategy paper "
        "all of its windows.",
    )
    confirmations: int = Field(
        4,
        ge=1,
        description="How many of the best plans by short answers are measured at full length on other validation "
        "prompts before one is selected.",
    )

    @model_validator(mode="before")
    @classmethod
    def _measure_all_windows_of_the_paper(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("strategy") == "paper" and values.get("budget") is None:
            return {**values, "budget": PAPER_BUDGET}
        return values

    @field_validator("budget", mode="before")
    @classmethod
    def _check_budget(cls, value: Any) -> Any:
        return Budget(str(value)).normalised


class PlanSearchRequest(
    SearchOptions,
    SafetyOptions,
    OperatorOptions,
    CalibrationOptions,
    AnswerOptions,
    SeedOptions,
    ModelOptions,
    JudgeOptions,
):
    """What every command takes that may search for layers and strengths."""

    in_both_modes: ClassVar[bool] = True

    @property
    def short_answer(self) -> int:
        """Tokens of the answers that plans are scored by; a thinking model answers only after its reasoning."""
        return self.max_new_tokens if self.thinking != "off" else min(SHORT_ANSWER, self.max_new_tokens)


class SearchRequest(LoadOptions, PlanSearchRequest):
    """Everything that decides the outcome of a search for layers and strengths."""

    data_dir: Path | None = Field(
        None, description="Folder with the files of public sets to calibrate on, instead of their public sources."
    )
