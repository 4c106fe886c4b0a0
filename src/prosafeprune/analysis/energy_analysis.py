"""What an edit removes from the weights: stable rank, bound, energy, overlap with harm (A.3, D.1, D.3)."""

from collections.abc import Iterator

import numpy as np
import torch

from prosafeprune.analysis.aggregates import layer_means, submodule_labels, submodule_means
from prosafeprune.analysis.analysis_prompts import AnalysisPrompts
from prosafeprune.analysis.base import Analysis
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.plan_lookup import find_plan
from prosafeprune.analysis.result import AnalysisResult, Cell, LineFigure, Observation, ResultTable, make_table
from prosafeprune.analysis.time_estimate import Workload
from prosafeprune.editing.make_edits import make_edits
from prosafeprune.method.plan import Plan, Projection, describe_layers, first_layer
from prosafeprune.progress import ignore
from prosafeprune.requests.analyze import AnalyzeRequest

MEASURES = {
    "stable_rank": "stable rank",
    "energy_bound": "bound (Theorem 3.2)",
    "energy": "removed energy",
    "harmful_overlap": "overlap with the harmful subspace",
}
SECONDS_PER_SUBMODULE = 0.4


class EnergyAnalysis(Analysis):
    """Measures of the full edit (strength 1) of every submodule of every layer, each as if it were pruned.

    At strength ``lambda`` the energy is ``lambda^2`` times as much.
    """

    settings = ("rank", "projection", "harmful_share", "layers", "strength", "against")
    default_splits = ("calibration",)
    compares = False

    def check(self, request: AnalyzeRequest, prompts: AnalysisPrompts) -> None:
        """Raise InputError when the pruned model's plan cannot be read."""
        find_plan(request)

    def workload(self, context: Context) -> Workload:
        """One pass over the calibration prompts, three decompositions and a norm per submodule."""
        seconds = SECONDS_PER_SUBMODULE * len(context.anatomy.submodules)
        return context.pooled_workload("calibration") + Workload(seconds=seconds)

    def observe(self, context: Context, before: Observation | None) -> Observation:
        """Return each measure by submodule."""
        pooled, (edited, _) = context.pooled("calibration"), _edited(context.request)
        measures = []
        layers = range(first_layer(edited.pooling), context.anatomy.num_layers)
        with context.reporter.stage("Edits", len(layers)) as advance, torch.inference_mode():
            for layer in layers:
                plan = edited.model_copy(update={"layers": (layer,)})
                # Keep the measures only: the operators of all layers would take much memory.
                edits = make_edits(context.anatomy, plan, pooled.inputs, pooled.class_rows, ignore)
                measures += [edit.measures for edit in edits]
                advance(1)
        labels = submodule_labels([submodule for submodule in context.anatomy.submodules if submodule.layer in layers])
        return labels | {name: np.array([getattr(edit, name) for edit in measures]) for name in MEASURES}

    def conclude(self, request: AnalyzeRequest, before: Observation, after: Observation | None) -> AnalysisResult:
        """Return the means over the model, by layer and by submodule."""
        edited, planned = _edited(request)
        submodules = make_table(
            "submodules",
            "The full edit of each submodule",
            ("layer", "submodule", *MEASURES),
            (
                (layer, kind, *map(float, means))
                for layer, kind, means in submodule_means(before, np.stack([before[name] for name in MEASURES], axis=1))
            ),
        )
        energy = make_table(
            "energy",
            "Energy of the full edit and its bound by layer, mean over its submodules",
            ("layer", "measure", "value"),
            _by_layer(before, "energy_bound", "energy"),
        )
        overlap = make_table(
            "overlap",
            "Overlap of the full edit with the harmful subspace by layer, mean over its submodules",
            ("layer", "measure", "value"),
            _by_layer(before, "harmful_overlap"),
        )
        figures = (
            _lines(energy, "share of the weights' energy", log=True),
            _lines(overlap, "share of the harmful subspace (0 to 1)"),
        )
        tables = (_means(before, edited.rank, edited.projection), energy, overlap, submodules)
        return AnalysisResult(tables=tables, figures=figures, summary=_summary(before, edited.projection, planned))


def _edited(request: AnalyzeRequest) -> tuple[Plan, tuple[int, ...]]:
    """Return the full edit, by the plan's settings or else the request's, and the plan's layers, if there is a plan."""
    plan = find_plan(request)
    given = plan or request
    full = Plan(
        layers=(0,),
        rank=given.rank,
        strength=1.0,
        pooling=request.pooling,
        projection=given.projection,
        harmful_share=given.harmful_share,
    )
    return full, plan.layers if plan else ()


def _means(observation: Observation, rank: int, projection: Projection) -> ResultTable:
    energy, bound = observation["energy"], observation["energy_bound"]
    mean_rank = float(observation["stable_rank"].mean())
    return make_table(
        "summary",
        f"The full {projection.value} edit at rank {rank}, over all {len(energy)} submodules (shares of 1)",
        ("measure", "value"),
        (
            ("mean stable rank", mean_rank),
            ("bound at the mean stable rank, as in table 9", rank / mean_rank),
            ("mean bound", float(bound.mean())),
            ("mean removed energy", float(energy.mean())),
            ("largest removed energy", float(energy.max())),
            ("largest removed energy as a share of its bound", float((energy / bound).max())),
            ("mean overlap with the harmful subspace", float(observation["harmful_overlap"].mean())),
        ),
    )


def _summary(observation: Observation, projection: Projection, planned: tuple[int, ...]) -> tuple[str, ...]:
    energy, overlap = observation["energy"], observation["harmful_overlap"]
    summary = [
        f"A full edit removes {100 * energy.mean():.1f} % of a submodule's energy on average and "
        f"{100 * energy.max():.1f} % at most; none exceeds "
        f"{100 * (energy / observation['energy_bound']).max():.0f} % of its bound (Theorem 3.2).",
        f"It captures {100 * overlap.mean():.1f} % of the harmful subspace on average.",
    ]
    if planned:
        pruned = np.isin(observation["layers"], planned)
        summary.append(
            f"In the plan's layers ({describe_layers(planned)}): {100 * energy[pruned].mean():.1f} % of the energy, "
            f"{100 * overlap[pruned].mean():.1f} % of the harmful subspace."
        )
    if projection is not Projection.ORTHOGONAL:
        summary.append(
            f"The projection is {projection.value}, not the paper's orthogonal one, and its operator may lengthen its "
            "input; the bound is r max(1, ||Omega||)^2 / sr(W)."
        )
    return tuple(summary)


def _by_layer(observation: Observation, *names: str) -> Iterator[tuple[Cell, ...]]:
    for name in names:
        for layer, mean in layer_means(observation, observation[name]):
            yield layer, MEASURES[name], float(mean)


def _lines(table: ResultTable, y_label: str, *, log: bool = False) -> LineFigure:
    return LineFigure(name=table.name, title=table.title, x="layer", y="value", by="measure", y_label=y_label, log=log)
