"""The conditions under which a model was measured: verdicts on answers made under others are not comparable."""

from typing import Any, Self

from pydantic import BaseModel, field_validator

from prosafeprune.requests.apply import ApplyRequest
from prosafeprune.requests.measuring import thinking_mode
from prosafeprune.requests.recipe import Recipe


class AnswerSettings(BaseModel):
    """The settings of a run that its answers and what they count as depend on."""

    max_new_tokens: int
    system: str | None = None
    thinking: str = "off"
    safety: str = "refusal"
    """What S.S. counts: refusals or harmless answers."""

    @field_validator("thinking", mode="before")
    @classmethod
    def _read_older(cls, value: Any) -> Any:
        """Read a record in which thinking was on or not."""
        return thinking_mode(value)


class Conditions(AnswerSettings):
    """The judge, and the settings of a run that its answers depend on."""

    judge: str

    @classmethod
    def of(cls, judge: str, settings: Recipe | ApplyRequest | AnswerSettings) -> Self:
        """Return the conditions of a run with this judge."""
        return cls(judge=judge, **{name: getattr(settings, name) for name in AnswerSettings.model_fields})

    def differences(self, other: "Conditions") -> str:
        """Return in words where another run's conditions differ, with both values."""
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in ("judge", *AnswerSettings.model_fields)}
        return "; ".join(
            f"{name.replace('_', ' ')} {str(there)[:80]!r} there, {str(here)[:80]!r} here"
            for name, (there, here) in pairs.items()
            if there != here
        )
