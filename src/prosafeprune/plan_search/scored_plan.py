"""A plan with its scores, and the objective that a search maximises."""

from pydantic import BaseModel

from prosafeprune.method.plan import Plan

BENIGN_KL_WEIGHT = 10.0
"""Points of T.S. that a nat of benign KL costs: 0.1 nats cost a point."""
ESTIMATE_ERROR = 3.0
"""Points by which an estimated S.S. may be wrong: the standard error of its change on 96 prompts."""


def objective(compliance_rate: float, safety_score: float, divergence: float) -> float:
    """Return T.S. in percent, less a penalty for benign KL in nats."""
    return (compliance_rate + safety_score) / 2 - BENIGN_KL_WEIGHT * divergence


class ScoredPlan(BaseModel):
    """A plan with the scores that a search estimated for it on validation prompts, in percent."""

    plan: Plan
    compliance_rate: float
    safety_score: float
    divergence: float
    """Mean per-token KL from the base model on benign validation prompts, in nats."""

    def has_room(self, lowest_safety: float) -> bool:
        """Return whether its S.S. is above the floor by more than estimates err, so that it may comply more."""
        return self.safety_score >= lowest_safety + ESTIMATE_ERROR

    @property
    def value(self) -> float:
        """The objective, maximised: T.S., less a penalty for benign KL."""
        return objective(self.compliance_rate, self.safety_score, self.divergence)
