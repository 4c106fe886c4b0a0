"""The paper's sweeps as analyses: what each measures, and its tables and figures."""

from abc import abstractmethod
from typing import ClassVar

from prosafeprune.analysis.analysis_prompts import AnalysisPrompts
from prosafeprune.analysis.base import Analysis
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.plan_lookup import require_plan
from prosafeprune.analysis.rates import rates_figure, rates_long, rates_summary, rates_table
from prosafeprune.analysis.result import AnalysisResult, Observation
from prosafeprune.analysis.sweeps import (
    Sweep,
    depth_sweep,
    measure_sweep,
    operator_sweep,
    rank_sweep,
    strength_sweep,
    submodule_sweep,
    sweep_conditions,
    sweep_sets,
    sweep_split,
)
from prosafeprune.analysis.time_estimate import Workload
from prosafeprune.errors import InputError
from prosafeprune.method.plan import Plan
from prosafeprune.requests.analyze import AnalyzeRequest
from prosafeprune.setup.load import require_layers

PLAN_SETTINGS = (
    *("layers", "rank", "strength", "projection", "harmful_share", "against", "max_new_tokens", "judge"),
    *("judge_model", "safety", "sweep_samples"),
)


class PlanAnalysis(Analysis):
    """An analysis of one plan, computed again from the calibration prompts and measured by generation and judge."""

    settings: ClassVar[tuple[str, ...]] = PLAN_SETTINGS
    compares = False

    def splits(self, request: AnalyzeRequest) -> tuple[str, ...]:
        """Return the splits that plans are computed from and measured on."""
        return ("calibration", sweep_split(request))

    def judges_answers(self, request: AnalyzeRequest) -> bool:
        """Return True: the rates are by a judge."""
        return True

    def check(self, request: AnalyzeRequest, prompts: AnalysisPrompts) -> None:
        """Raise InputError when there is no plan, or no prompts to measure it on."""
        require_plan(request, prompts.calibration)
        sweep_sets(request, prompts)


class SweepAnalysis(PlanAnalysis):
    """C.R., S.S. and T.S. of one plan's neighbours or parts, by generation and judge."""

    title: ClassVar[str]
    step: ClassVar[str]
    """What differs between the steps, as a heading."""
    has_axis: ClassVar[bool] = False
    """Whether the steps have numeric values, drawn as lines."""
    notes: ClassVar[tuple[str, ...]] = ()
    """How to read the result, in sentences."""

    @abstractmethod
    def sweep(self, plan: Plan, context: Context) -> Sweep:
        """Return what is measured."""

    def workload(self, context: Context) -> Workload:
        """One pass over the calibration prompts, and the answers of every step."""
        conditions = list(sweep_conditions(self._sweep(context), context).values())
        answers = context.answers_workload(conditions, sweep_sets(context.request, context.prompts))
        return context.pooled_workload("calibration") + answers if answers.answers else answers

    def observe(self, context: Context, before: Observation | None) -> Observation:
        """Return the outcome of every prompt at every step."""
        return measure_sweep(self._sweep(context), context)

    def conclude(self, request: AnalyzeRequest, before: Observation, after: Observation | None) -> AnalysisResult:
        """Return rates by step, with intervals and changes from the base model, and their figure."""
        tables = (
            rates_table(self.title, self.step, before),
            rates_long(f"{self.title}, with intervals", self.step, before),
        )
        figure = rates_figure(self.title, self.step, has_axis=self.has_axis)
        summary = (*rates_summary(before, self.step), *self.notes)
        return AnalysisResult(tables=tables, figures=(figure,), summary=summary)

    def _sweep(self, context: Context) -> Sweep:
        plan = require_plan(context.request)
        require_layers(plan, context.anatomy)
        return self.sweep(plan, context)


class StrengthAnalysis(SweepAnalysis):
    """The plan at several strengths (D.2, figure 11)."""

    settings = (*PLAN_SETTINGS, "strengths")
    title, step, has_axis = "C.R., S.S. and T.S. against strength", "strength (lambda)", True

    def sweep(self, plan: Plan, context: Context) -> Sweep:
        """Return the plan at the requested strengths."""
        return strength_sweep(plan, context.request.strengths)


class RankRatesAnalysis(SweepAnalysis):
    """The plan at several ranks (D.1, figure 10)."""

    settings = (*PLAN_SETTINGS, "ranks")
    title, step, has_axis = "C.R., S.S. and T.S. against rank", "rank r", True

    def check(self, request: AnalyzeRequest, prompts: AnalysisPrompts) -> None:
        """Raise InputError also when there are fewer calibration prompts than the largest rank."""
        super().check(request, prompts)
        largest, fewest = max(request.ranks), min(map(len, prompts.calibration.values()))
        if largest > fewest:
            raise InputError(
                f"--ranks {largest}: needs at least as many calibration prompts in each class, and there are {fewest}. "
                "Pass smaller ranks or more prompts."
            )

    def sweep(self, plan: Plan, context: Context) -> Sweep:
        """Return the plan at the requested ranks."""
        return rank_sweep(plan, context.request.ranks)


class SubmodulesAnalysis(SweepAnalysis):
    """Each submodule alone against all (5.1, table 2)."""

    title, step = "One submodule pruned alone, and all of them", "submodules"
    notes = ("gate, up and down together are the MLP. In the paper all submodules together are best (table 2).",)

    def sweep(self, plan: Plan, context: Context) -> Sweep:
        """Return the plan on each kind of submodule."""
        return submodule_sweep(plan, context.anatomy)


class OperatorAnalysis(SweepAnalysis):
    """The operator without the pseudo-harmful projector (5.1, table 3); in memory only, since it weakens safety."""

    title, step = "The operator with and without Pi_p", "operator"
    notes = (
        "Both operators use the paper's orthogonal projections, whatever the plan uses. Without Pi_p the entire "
        "harmful subspace outside the benign directions is removed; in the paper this costs refusals (table 3).",
    )

    def sweep(self, plan: Plan, context: Context) -> Sweep:
        """Return the plan with both operators."""
        return operator_sweep(plan)


class DepthAnalysis(SweepAnalysis):
    """The plan's layers against as many at the bottom and the top, and single layers near it (D.4, tables 10, 11)."""

    title, step = "Position of the pruned layers", "layers"
    notes = ("A plan with several strengths is measured at its largest throughout, so that only the layers differ.",)

    def sweep(self, plan: Plan, context: Context) -> Sweep:
        """Return the plan moved through the model."""
        return depth_sweep(plan, context.anatomy.num_layers)
