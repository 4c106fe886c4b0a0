"""The outcome of a pruning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.paired_refusals import FirstAncestor
from prosafeprune.model.loading import LoadedModel
from prosafeprune.report.grid import Grid
from prosafeprune.report.prune_grids import examples_grid, prune_grid
from prosafeprune.report.rate_figure import scores_figure
from prosafeprune.report.record import Record
from prosafeprune.report.result_view import ResultView, change_in_words, change_rows
from prosafeprune.search.record import SearchRecord
from prosafeprune.setup.workload import CostRecord


@dataclass(frozen=True, repr=False)
class PruneResult(ResultView):
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
    cost: CostRecord | None = None
    """What the run was estimated to take after loading, and took; None from ``apply``."""

    def summary(self) -> str:
        """Return C.R. and S.S. before and after, and the folder written."""
        where = f"in {self.output}" if self.output is not None else "not written"
        return f"{change_in_words(self.record.source, self.record.result)}, {where}"

    def grids(self) -> Sequence[Grid]:
        """Return the rates before and after, and a few answers."""
        return [prune_grid(self.record), examples_grid(self.before, self.after)]

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each set, before and after."""
        return change_rows(self.record.source, self.record.result, self.record.changes)

    def plot(self) -> Figure:
        """Return the rate of each set before and after, with intervals."""
        return scores_figure(self.record.result, self.record.source)

    @property
    def safety_drop(self) -> float:
        """Points of S.S. lost; negative when it rose."""
        return self.record.safety_drop

    @property
    def is_safe(self) -> bool:
        """Whether the loss of safety is within what the recipe allows, and could have been detected."""
        return self.record.is_safe
