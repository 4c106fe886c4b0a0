"""The effect of the rank: the overlap of the classes' subspaces, and the result of a plan at several ranks (D.1)."""

from __future__ import annotations

from prosafeprune.analysis.analysis_prompts import AnalysisPrompts
from prosafeprune.analysis.base import Analysis
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.overlaps import observe_overlaps, overlap_result
from prosafeprune.analysis.plan_lookup import find_plan
from prosafeprune.analysis.result import AnalysisResult, Observation
from prosafeprune.analysis.sweep_analyses import RankRatesAnalysis
from prosafeprune.analysis.workload import Workload
from prosafeprune.requests.analyze import AnalyzeRequest

SECONDS_PER_SUBMODULE = 0.2


class RankAnalysis(Analysis):
    """The mean cosine of the principal angles between the classes' subspaces at many ranks (figure 9).

    With a plan, C.R., S.S. and T.S. at several ranks too (figure 10).
    """

    settings = RankRatesAnalysis.settings
    compares = False

    def __init__(self) -> None:
        self.rates = RankRatesAnalysis()

    def splits(self, request: AnalyzeRequest) -> tuple[str, ...]:
        """Return the splits for the subspaces and, with a plan, for its rates."""
        return self.rates.splits(request) if find_plan(request) is not None else ("calibration",)

    def check(self, request: AnalyzeRequest, prompts: AnalysisPrompts) -> None:
        """Raise InputError when a plan cannot be measured at the requested ranks."""
        if find_plan(request) is not None:
            self.rates.check(request, prompts)

    def workload(self, context: Context) -> Workload:
        """One pass over the calibration prompts, three decompositions per submodule, and a plan's answers."""
        rates = self.rates.workload(context) if find_plan(context.request) is not None else Workload()
        decompositions = SECONDS_PER_SUBMODULE * len(context.anatomy.submodules)
        return context.pooled_workload("calibration") + rates + Workload(seconds=decompositions)

    def observe(self, context: Context, before: Observation | None) -> Observation:
        """Return the overlaps by submodule and rank and, with a plan, its outcomes by rank."""
        overlaps = observe_overlaps(context)
        return overlaps | self.rates.observe(context, None) if find_plan(context.request) is not None else overlaps

    def conclude(self, request: AnalyzeRequest, before: Observation, after: Observation | None) -> AnalysisResult:
        """Return the overlaps by rank, their minima, and the rates."""
        overlaps = overlap_result(before, request.rank)
        if find_plan(request) is None:
            return overlaps
        rates = self.rates.conclude(request, before, after)
        return AnalysisResult(
            tables=(*overlaps.tables, *rates.tables),
            figures=(*overlaps.figures, *rates.figures),
            summary=(*rates.summary, *overlaps.summary),
        )
