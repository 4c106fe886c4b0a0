"""The outcome of a pruning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.paired_refusals import FirstAncestor
from prosafeprune.model.loading import LoadedModel
from prosafeprune.report.record import Record
from prosafeprune.search.record import SearchRecord


@dataclass(frozen=True)
class PruneResult:
    """What was measured, and what was written."""

    record: Record
    before: Measurement
    after: Measurement
    output: Path | None
    """The folder written, or None when nothing was."""
    loaded: LoadedModel
    """The pruned model, in memory."""
    report: Path | None = None
    """The report: in the output or, when the pruned model was not safe to save, next to it."""
    search: SearchRecord | None = None
    """The search that found the plan, if there was one."""
    ancestor: FirstAncestor | None = None
    """Where the base model is itself pruned: the model it was made from at first."""

    @property
    def safety_drop(self) -> float:
        """Points of S.S. lost; negative when it rose."""
        return self.record.safety_drop

    @property
    def is_safe(self) -> bool:
        """Whether the loss of safety is within what the recipe allows, and could have been detected."""
        return self.record.is_safe
