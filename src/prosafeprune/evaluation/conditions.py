"""The conditions under which a model was measured: verdicts on answers made under others are not comparable."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, field_validator

from prosafeprune.requests.apply import ApplyRequest
from prosafeprune.requests.measuring import thinking_mode
from prosafeprune.requests.recipe import Recipe

SETTINGS = ("max_new_tokens", "system", "thinking", "safety")


class Conditions(BaseModel):
    """The judge, and the settings of a run that its answers depend on."""

    judge: str
    max_new_tokens: int
    system: str | None = None
    thinking: str = "off"
    safety: str = "refusal"
    """What S.S. counts."""

    @classmethod
    def of(cls, judge: str, request: Recipe | ApplyRequest) -> Self:
        """Return the conditions of a run."""
        return cls(judge=judge, **{name: getattr(request, name) for name in SETTINGS})

    @classmethod
    def recorded(cls, record: Mapping[str, Any]) -> Self:
        """Return the conditions in a record. Raises KeyError, ValueError or AttributeError when it is none."""
        recipe = record["recipe"]
        return cls(judge=record["judge"], **{name: recipe[name] for name in SETTINGS if name in recipe})

    @field_validator("thinking", mode="before")
    @classmethod
    def _read_older(cls, value: Any) -> Any:
        """Read a record in which thinking was on or not."""
        return thinking_mode(value)

    def differences(self, other: "Conditions") -> str:
        """Return in words where another run's conditions differ, with both values."""
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in type(self).model_fields}
        return "; ".join(
            f"{name.replace('_', ' ')} {str(one)[:80]!r} there, {str(two)[:80]!r} here"
            for name, (one, two) in pairs.items()
            if one != two
        )
