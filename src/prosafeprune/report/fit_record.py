"""The record of a fit that was made into a model: a LoRA adapter that a method of ``compare`` trained."""

from typing import Any

from pydantic import BaseModel


class FitRecord(BaseModel):
    """What a model was made from, where it was not pruned."""

    method: str
    """The name of the method."""
    settings: dict[str, Any]
    """Its settings, and the seed of the fit."""
    facts: dict[str, Any]
    """What was found when it was fitted, the training losses among it."""
    sha256: str
    """Hash of the fit."""
    strength: float = 1.0
    """Factor at which the trained change was merged."""

    @property
    def given_strength(self) -> float | None:
        """The strength as an option; None for the default."""
        return None if self.strength == 1 else self.strength

    @property
    def in_words(self) -> str:
        """The method and the strength, such as ``sft at strength 0.5``."""
        return self.method if self.strength == 1 else f"{self.method} at strength {self.strength:g}"
