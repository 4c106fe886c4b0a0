"""The rule of the safety floor; the tests that apply it are in :mod:`prosafeprune.evaluation.safety_floor`."""

from dataclasses import dataclass
from typing import Literal, Self

from prosafeprune.requests.judging import JudgeOptions, Safety
from prosafeprune.requests.search import FloorOptions


@dataclass(frozen=True)
class FloorRule:
    """How far S.S. may fall, and with what confidence it must have fallen by less."""

    max_drop: float
    """Points of S.S. that may be lost, 0 to 100."""
    confidence: float = 0.9
    """The one-sided confidence of the non-inferiority test."""
    floor: Literal["confident", "estimate"] = "confident"
    accept_unsafe: bool = False
    safety: Safety = "refusal"
    """What S.S. counts; the sentences about it say so."""

    @classmethod
    def of(cls, request: FloorOptions) -> Self:
        """Return the rule that a user's options give."""
        safety = request.safety if isinstance(request, JudgeOptions) else "refusal"
        return cls(request.max_safety_drop, request.confidence, request.floor, request.accept_unsafe, safety)

    @property
    def is_off(self) -> bool:
        """Whether any loss is accepted."""
        return self.accept_unsafe and self.max_drop >= 100
