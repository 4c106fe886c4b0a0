"""The paper's sweeps as analyses: what is measured, and the tables and figures made of it."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from prosafeprune.analysis.analysis_prompts import AnalysisPrompts
from prosafeprune.analysis.base import Analysis, Observation, Work
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.plan_of_model import require_plan
from prosafeprune.analysis.rates import rates_figure, rates_long, rates_table, rates_told
from prosafeprune.analysis.result import Findings
from prosafeprune.analysis.run_sweep import measure_sweep, missing_answers, sweep_sets, sweep_split
from prosafeprune.analysis.sweeps import (
    Sweep,
    depth_sweep,
    operator_sweep,
    rank_sweep,
    strength_sweep,
    submodule_sweep,
)
from prosafeprune.errors import InputError
from prosafeprune.method.plan import Plan
from prosafeprune.requests.analyze import AnalysisRequest
from prosafeprune.setup.load import require_layers

PLAN_SETTINGS = (
    "layers",
    "rank",
    "strength",
    "projection",
    "against",
    "max_new_tokens",
    "judge",
    "judge_model",
    "sweep_samples",
)


class SweepAnalysis(Analysis):
    """C.R., S.S. and T.S. of one plan's neighbours or parts, by generation and judge."""

    settings: ClassVar[tuple[str, ...]] = PLAN_SETTINGS
    compares = False
    title: ClassVar[str]
    step: ClassVar[str]
    """What differs from step to step, as a heading."""
    has_axis: ClassVar[bool] = False
    """Whether the steps stand at numbers, which are then drawn as lines."""
    reading: ClassVar[tuple[str, ...]] = ()
    """How to read it, in sentences."""

    @abstractmethod
    def sweep(self, plan: Plan, context: Context) -> Sweep:
        """Return what is measured."""

    def splits(self, request: AnalysisRequest) -> tuple[str, ...]:
        """Return the splits that plans are made from and measured on."""
        return ("calibration", sweep_split(request))

    def check(self, request: AnalysisRequest, prompts: AnalysisPrompts) -> None:
        """Raise InputError when there is no plan, or nothing to measure it on."""
        require_plan(request, prompts.calibration)
        sweep_sets(request, prompts)

    def work(self, context: Context) -> Work:
        """One pass over the calibration prompts, and every step's answers."""
        answers = missing_answers(self._sweep(context), context)
        return (context.passes_for_pooled("calibration") if answers else Work()) + Work(answers=answers)

    def observe(self, context: Context, before: Observation | None) -> Observation:
        """Return the outcome of every prompt at every step."""
        return measure_sweep(self._sweep(context), context)

    def conclude(self, request: AnalysisRequest, before: Observation, after: Observation | None) -> Findings:
        """Return rates by step, with intervals and changes from the source, and their figure."""
        tables = (
            rates_table("rates", self.title, self.step, before),
            rates_long("rates-long", f"{self.title}, with intervals", self.step, before),
        )
        figure = rates_figure("rates", self.title, tables[1].name, self.step, has_axis=self.has_axis)
        told = (*rates_told(before, self.step), *self.reading)
        return Findings(tables=tables, figures=(figure,), told=told)

    def _sweep(self, context: Context) -> Sweep:
        plan = require_plan(context.request)
        require_layers(plan, context.anatomy)
        return self.sweep(plan, context)


class StrengthAnalysis(SweepAnalysis):
    """The plan at several strengths (D.2, figure 11)."""

    settings = (*PLAN_SETTINGS, "strengths")
    title, step, has_axis = "C.R., S.S. and T.S. against strength", "strength (lambda)", True

    def sweep(self, plan: Plan, context: Context) -> Sweep:
        """Return the plan at the strengths asked for."""
        return strength_sweep(plan, context.request.strengths)


class RankRatesAnalysis(SweepAnalysis):
    """The plan at several ranks (D.1, figure 10)."""

    settings = (*PLAN_SETTINGS, "ranks")
    title, step, has_axis = "C.R., S.S. and T.S. against rank", "rank r", True

    def check(self, request: AnalysisRequest, prompts: AnalysisPrompts) -> None:
        """Raise InputError when there are fewer calibration prompts than the largest rank, too."""
        super().check(request, prompts)
        largest, fewest = max(request.ranks), min(map(len, prompts.calibration.values()))
        if largest > fewest:
            raise InputError(
                f"--ranks {largest}: needs as many calibration prompts in each class at least, and there are {fewest}. "
                "Give smaller ranks or more prompts."
            )

    def sweep(self, plan: Plan, context: Context) -> Sweep:
        """Return the plan at the ranks asked for."""
        return rank_sweep(plan, context.request.ranks)


class SubmodulesAnalysis(SweepAnalysis):
    """Each submodule alone against all (5.1, table 2)."""

    title, step = "One submodule pruned alone, and all of them", "submodules"
    reading = ("gate, up and down together are the MLP. The paper finds all together best (table 2).",)

    def sweep(self, plan: Plan, context: Context) -> Sweep:
        """Return the plan on each kind of submodule."""
        return submodule_sweep(plan, context.anatomy)


class OperatorAnalysis(SweepAnalysis):
    """The operator without the pseudo-harmful projector (5.1, table 3); in memory alone, since it weakens safety."""

    title, step = "The operator with and without Pi_p", "operator"
    reading = (
        "Both operators have the paper's orthogonal projections, whatever those of the plan are. Without Pi_p the "
        "harmful subspace goes whole, benign directions aside; the paper finds that this costs refusals (table 3).",
    )

    def sweep(self, plan: Plan, context: Context) -> Sweep:
        """Return the plan with both operators."""
        return operator_sweep(plan)


class DepthAnalysis(SweepAnalysis):
    """The plan's layers against as many at the bottom and the top, and layers near it alone (D.4, tables 10, 11)."""

    title, step = "Where the pruned layers lie", "layers"
    reading = ("A plan with several strengths is taken at its strongest throughout, so that layers alone differ.",)

    def sweep(self, plan: Plan, context: Context) -> Sweep:
        """Return the plan moved through the model."""
        return depth_sweep(plan, context.anatomy.num_layers)
