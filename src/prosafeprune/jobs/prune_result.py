"""The outcome of a pruning."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prosafeprune.evaluation.measure import NOTHING, Measurement
from prosafeprune.evaluation.paired_refusals import FirstAncestor
from prosafeprune.model.loading import LoadedModel
from prosafeprune.plan_search.search_record import SearchRecord
from prosafeprune.report.grid import Grid
from prosafeprune.report.prune_grids import (
    examples_grid,
    model_names,
    prompted_grids,
    prune_grid,
    spot_check_grids,
)
from prosafeprune.report.record import Record
from prosafeprune.report.result_view import ChangeView
from prosafeprune.setup.workload import CostRecord


@dataclass(frozen=True, repr=False)
class PruneResult(ChangeView):
    """What was measured, and what was written."""

    record: Record
    before: Measurement
    after: Measurement
    output: Path | None
    """The folder written, or None when nothing was."""
    loaded: LoadedModel | None
    """The pruned model, in memory; None if it was measured behind a server."""
    report: Path | None = None
    """The report: in the output or, when the pruned model was not safe to save, next to it."""
    search: SearchRecord | None = None
    """The search that found the plan, if there was one."""
    ancestor: FirstAncestor | None = None
    """The first ancestor, if the base model was itself pruned."""
    spot_check: tuple[Measurement, Measurement] = (NOTHING, NOTHING)
    """What was measured beside these, before and after."""
    came_back: Sequence[str] = ()
    """Prompts that an earlier pruning (``--from``) had fixed and that are not answered."""
    cost: CostRecord | None = None
    """What the run was estimated to take after loading, and took; None from ``apply`` and behind a server."""

    def grids(self) -> Sequence[Grid]:
        """Return the rates before and after, those behind a system prompt, and a few answers."""
        beside = [*spot_check_grids(self.record), *prompted_grids(self.record)]
        return [prune_grid(self.record), *beside, examples_grid(self.before, self.after, model_names(self.record))]

    @property
    def safety_drop(self) -> float:
        """Points of S.S. lost; negative when it rose."""
        return self.record.safety_drop

    @property
    def is_safe(self) -> bool:
        """Whether the loss of safety is within what the recipe allows, and could have been detected."""
        return self.record.is_safe
