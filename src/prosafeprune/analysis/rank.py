"""What the rank does: how much the classes' subspaces have in common, and what a plan of that rank does (D.1)."""

from __future__ import annotations

from prosafeprune.analysis.analysis_prompts import AnalysisPrompts
from prosafeprune.analysis.base import Analysis, Observation, Work
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.overlaps import observe_overlaps, overlap_findings
from prosafeprune.analysis.plan_of_model import find_plan
from prosafeprune.analysis.result import Findings
from prosafeprune.analysis.sweep_analyses import RankRatesAnalysis
from prosafeprune.requests.analyze import AnalysisRequest

SECONDS_A_SUBMODULE = 0.2


class RankAnalysis(Analysis):
    """The mean cosine of the principal angles between the classes' subspaces, for many ranks (figure 9).

    Where there is a plan, it is measured at several ranks as well (figure 10).
    """

    settings = RankRatesAnalysis.settings
    compares = False

    def __init__(self) -> None:
        self.rates = RankRatesAnalysis()

    def splits(self, request: AnalysisRequest) -> tuple[str, ...]:
        """Return what the subspaces are made from and, where there is a plan, what it is measured on."""
        return self.rates.splits(request) if find_plan(request) is not None else ("calibration",)

    def check(self, request: AnalysisRequest, prompts: AnalysisPrompts) -> None:
        """Raise InputError when a plan cannot be measured at the ranks asked for."""
        if find_plan(request) is not None:
            self.rates.check(request, prompts)

    def work(self, context: Context) -> Work:
        """One pass over the calibration prompts, three decompositions for each submodule, and a plan's answers."""
        answers = self.rates.work(context).answers if find_plan(context.request) is not None else 0
        computed = SECONDS_A_SUBMODULE * len(context.anatomy.submodules)
        return context.passes_for_pooled("calibration") + Work(answers=answers, seconds=computed)

    def observe(self, context: Context, before: Observation | None) -> Observation:
        """Return the overlaps by submodule and rank and, where there is a plan, its outcomes by rank."""
        seen = observe_overlaps(context)
        return seen | self.rates.observe(context, None) if find_plan(context.request) is not None else seen

    def conclude(self, request: AnalysisRequest, before: Observation, after: Observation | None) -> Findings:
        """Return the overlaps over ranks, where they are least, and the rates."""
        found = overlap_findings(before, request.rank)
        if find_plan(request) is None:
            return found
        rates = self.rates.conclude(request, before, after)
        return Findings(
            tables=(*found.tables, *rates.tables),
            figures=(*found.figures, *rates.figures),
            told=(*rates.told, *found.told),
        )
