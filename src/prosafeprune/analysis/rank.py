"""What the rank does: how much the classes' subspaces have in common (D.1, figure 9)."""

from __future__ import annotations

from prosafeprune.analysis.analysis import Analysis, Observation, Work
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.overlaps import observe_overlaps, overlap_findings
from prosafeprune.analysis.request import AnalysisRequest
from prosafeprune.analysis.result import Findings

SECONDS_A_SUBMODULE = 0.8


class RankAnalysis(Analysis):
    """The mean cosine of the principal angles between the classes' subspaces, for many ranks."""

    settings = ("rank",)
    compares = False

    def work(self, context: Context) -> Work:
        """One pass over the calibration prompts, and three decompositions for each submodule."""
        computed = SECONDS_A_SUBMODULE * len(context.anatomy.submodules)
        return context.passes_for_pooled("calibration") + Work(seconds=computed)

    def observe(self, context: Context, before: Observation | None) -> Observation:
        """Return the overlaps by submodule and rank."""
        return observe_overlaps(context)

    def conclude(self, request: AnalysisRequest, before: Observation, after: Observation | None) -> Findings:
        """Return the overlaps over ranks, and where they are least."""
        return overlap_findings(before, request.rank)
