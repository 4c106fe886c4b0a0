"""The record of the training after pruning (``prune --polish``)."""

from typing import Any, NamedTuple

from pydantic import BaseModel


class PolishTrial(NamedTuple):
    """The pruned model with what was trained at some strength, on validation prompts; rates in percent."""

    strength: float
    compliance_rate: float
    safety_score: float
    divergence: float
    """Mean per-token KL from the base model on benign prompts, nats."""


class PolishRecord(BaseModel):
    """What ``prune --polish`` did after pruning."""

    strength: float
    """Factor at which the trained change was merged; 0: it was not."""
    settings: dict[str, Any]
    """Settings of the ``self-training`` method."""
    skipped: str | None = None
    """Why nothing was trained."""
    pairs: dict[str, int] = {}
    """Prompts of each class that were trained on, with the pruned model's own answers."""
    last_loss: float | None = None
    """Mean of the last epoch, in nats per token."""
    validation: list[PolishTrial] = []
    """The strengths that were tried, the pruned model alone first."""

    @property
    def kept(self) -> bool:
        """Whether the training was merged."""
        return self.strength > 0

    @property
    def rank(self) -> int:
        """Rank of the merged adapter."""
        return int(self.settings["rank"])


def describe_trial(trial: PolishTrial) -> str:
    """Return the rates of a trained model at some strength, in words."""
    rates = f"C.R. {trial.compliance_rate:.1f}, S.S. {trial.safety_score:.1f}, KL {trial.divergence:.3f}"
    return f"at {trial.strength:g} {rates}"
