"""The paper's sweeps as analyses: what is measured, and the tables and figures made of it."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from prosafeprune.analysis.analysis import Analysis, Observation, Work
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.planned import plan_of
from prosafeprune.analysis.rates import rates_bars, rates_lines, rates_long, rates_table
from prosafeprune.analysis.request import AnalysisRequest
from prosafeprune.analysis.result import Findings
from prosafeprune.analysis.sweeping import measure_sweep, sweep_sets, sweep_treatments
from prosafeprune.analysis.sweeps import (
    Sweep,
    depth_sweep,
    operator_sweep,
    rank_sweep,
    require_ranks,
    strength_sweep,
    submodule_sweep,
)

PLAN_SETTINGS = ("layers", "rank", "strength", "against", "max_new_tokens", "judge", "judge_model", "sweep_samples")


class SweepAnalysis(Analysis):
    """C.R., S.S. and T.S. of one plan's neighbours or parts, by generation and judge."""

    settings: ClassVar[tuple[str, ...]] = PLAN_SETTINGS
    compares = False
    title: ClassVar[str]
    step: ClassVar[str]
    """What differs from step to step, as a heading."""
    has_axis: ClassVar[bool] = False
    """Whether the steps stand at numbers, which are then drawn as lines."""

    @abstractmethod
    def sweep(self, context: Context) -> Sweep:
        """Return what is measured. Raises InputError when the model or the prompts do not allow it."""

    def work(self, context: Context) -> Work:
        """One pass over the calibration prompts, and every step's answers."""
        sets = sweep_sets(context)
        treatments = sweep_treatments(self.sweep(context), context).values()
        answers = sum(context.answers.missing(treatment, sets) for treatment in treatments)
        return (context.passes_for_pooled("calibration") if answers else Work()) + Work(answers=answers)

    def observe(self, context: Context, before: Observation | None) -> Observation:
        """Return the outcome of every prompt at every step."""
        return measure_sweep(self.sweep(context), context, sweep_sets(context))

    def conclude(self, request: AnalysisRequest, before: Observation, after: Observation | None) -> Findings:
        """Return rates by step, with intervals and changes from the source, and their figure."""
        tables = (
            rates_table("rates", self.title, self.step, before),
            rates_long("rates-long", f"{self.title}, with intervals", self.step, before),
        )
        draw = rates_lines if self.has_axis else rates_bars
        return Findings(tables=tables, figures=(draw("rates", self.title, tables[1].name, self.step),))


class StrengthAnalysis(SweepAnalysis):
    """The plan at several strengths (D.2, figure 11)."""

    settings = (*PLAN_SETTINGS, "strengths")
    title, step, has_axis = "C.R., S.S. and T.S. against strength", "strength (lambda)", True

    def sweep(self, context: Context) -> Sweep:
        """Return the plan at the strengths asked for."""
        return strength_sweep(plan_of(context.request), context.request.strengths)


class RankRatesAnalysis(SweepAnalysis):
    """The plan at several ranks (D.1, figure 10)."""

    settings = (*PLAN_SETTINGS, "ranks")
    title, step, has_axis = "C.R., S.S. and T.S. against rank", "rank r", True

    def sweep(self, context: Context) -> Sweep:
        """Return the plan at the ranks asked for."""
        sweep = rank_sweep(plan_of(context.request), context.request.ranks)
        require_ranks(sweep, min(map(len, context.prompts.calibration.values())))
        return sweep


class SubmodulesAnalysis(SweepAnalysis):
    """Each submodule alone against all (5.1, table 2)."""

    title, step = "One submodule pruned alone, and all of them", "submodules"

    def sweep(self, context: Context) -> Sweep:
        """Return the plan on each kind of submodule."""
        return submodule_sweep(plan_of(context.request), context.anatomy)


class OperatorAnalysis(SweepAnalysis):
    """The operator without the pseudo-harmful projector (5.1, table 3); in memory alone, since it weakens safety."""

    title, step = "The operator with and without Pi_p", "operator"

    def sweep(self, context: Context) -> Sweep:
        """Return the plan with both operators."""
        return operator_sweep(plan_of(context.request))


class DepthAnalysis(SweepAnalysis):
    """The plan's layers against as many at the bottom and the top, and layers near it alone (D.4, tables 10, 11)."""

    title, step = "Where the pruned layers lie", "layers"

    def sweep(self, context: Context) -> Sweep:
        """Return the plan moved through the model."""
        return depth_sweep(plan_of(context.request), context.anatomy.num_layers)
