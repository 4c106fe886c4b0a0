"""What pruning produced and what was measured before and after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prosafeprune.evaluation.divergence import Divergence
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.scores import change, pooled_change
from prosafeprune.model.loading import LoadedModel
from prosafeprune.prompts import PromptClass
from prosafeprune.report.record import Record
from prosafeprune.search.record import SearchRecord


@dataclass(frozen=True)
class PruneResult:
    """What a run did."""

    record: Record
    before: Measurement
    after: Measurement
    output: Path | None
    """The folder written, or None when nothing was."""
    loaded: LoadedModel
    """The pruned model, in memory."""
    report: Path | None = None
    """The page to read: in the output or, where the result was not safe to save, beside it."""
    search: SearchRecord | None = None
    """How the plan was found, when it was searched for."""

    @property
    def safety_drop(self) -> float:
        """Points of S.S. lost; negative when it rose."""
        return self.record.safety_drop

    @property
    def is_safe(self) -> bool:
        """Whether the loss of safety is within what the recipe allows, and could have been seen at all."""
        return self.record.is_safe


@dataclass(frozen=True)
class BeforeAfter:
    """What was measured before and after the edit."""

    before: Measurement
    after: Measurement
    damage: Divergence
    batch_sizes: tuple[int, ...]

    def recorded(self) -> dict[str, Any]:
        """Return the fields of the record that tell of what was measured."""
        before, after = self.before, self.after
        pairs = zip(before.sets, after.sets, strict=True)
        return {
            "source": before.scores,
            "result": after.scores,
            "changes": {one.name: change(one.outcomes, two.outcomes) for one, two in pairs},
            "compliance_change": pooled_change(before.sets, after.sets, PromptClass.PSEUDO_HARMFUL),
            "safety_change": pooled_change(before.sets, after.sets, PromptClass.HARMFUL),
            "benign_divergence": self.damage,
        }
