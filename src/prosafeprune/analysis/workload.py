"""What an analysis still has to compute on a model, for an estimate of its time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Workload:
    """Forward passes, answers and other computation. What analyses share is named, so that a sum counts it once."""

    shared_passes: Mapping[str, int] = field(default_factory=dict)
    """Prompts to run forward once, by the name of what they collect."""
    shared_answers: frozenset[tuple[str, str]] = frozenset()
    """Prompts to answer, each with the condition it is answered under."""
    own_passes: int = 0
    own_answers: int = 0
    seconds: float = 0.0
    """Everything else, on a slow core."""

    @property
    def passes(self) -> int:
        """All prompts to run forward once."""
        return sum(self.shared_passes.values()) + self.own_passes

    @property
    def answers(self) -> int:
        """All prompts to answer."""
        return len(self.shared_answers) + self.own_answers

    def __add__(self, other: Workload) -> Workload:
        return Workload(
            {**self.shared_passes, **other.shared_passes},
            self.shared_answers | other.shared_answers,
            self.own_passes + other.own_passes,
            self.own_answers + other.own_answers,
            self.seconds + other.seconds,
        )
