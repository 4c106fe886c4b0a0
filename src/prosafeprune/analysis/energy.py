"""What an edit takes away from the weights: stable rank, bound, realised energy, overlap with harm (A.3, D.1, D.3)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from prosafeprune.analysis.analysis_prompts import AnalysisPrompts
from prosafeprune.analysis.base import Analysis, Observation, Work
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.plan_of_model import find_plan
from prosafeprune.analysis.result import Cell, Findings, LineFigure, Table, make_table
from prosafeprune.analysis.summaries import layer_means, submodule_labels, submodule_means
from prosafeprune.analysis.sweeps import describe_layers
from prosafeprune.editing.make_edits import make_edits
from prosafeprune.method.plan import Plan, Projection
from prosafeprune.progress import ignore
from prosafeprune.requests.analyze import AnalysisRequest

MEASURES = {
    "stable_rank": "stable rank",
    "energy_bound": "bound (Theorem 3.2)",
    "energy": "realised energy",
    "harmful_overlap": "overlap with the harmful subspace",
}
SECONDS_A_SUBMODULE = 0.4


class EnergyAnalysis(Analysis):
    """Measures of the full edit (strength 1) of every submodule of every layer, were it the one that is pruned.

    At strength ``lambda`` the energy is ``lambda^2`` times as much.
    """

    settings = ("rank", "projection", "layers", "strength", "against")
    reads = ("calibration",)
    compares = False

    def check(self, request: AnalysisRequest, prompts: AnalysisPrompts) -> None:
        """Raise InputError when the pruned model's plan cannot be read."""
        find_plan(request)

    def work(self, context: Context) -> Work:
        """One pass over the calibration prompts, three decompositions and a norm for each submodule."""
        computed = SECONDS_A_SUBMODULE * len(context.anatomy.submodules)
        return context.passes_for_pooled("calibration") + Work(seconds=computed)

    def observe(self, context: Context, before: Observation | None) -> Observation:
        """Return each measure by submodule."""
        pooled, (rank, projection, _) = context.pooled("calibration"), _edit_of(context.request)
        measures = []
        with context.reporter.stage("Edits", context.anatomy.num_layers) as advance, torch.inference_mode():
            for layer in range(context.anatomy.num_layers):
                plan = Plan(
                    layers=(layer,),
                    rank=rank,
                    strength=1.0,
                    pooling=context.request.pooling,
                    projection=projection,
                )
                # Only the measures are kept: the operators of all layers would take much memory.
                edits = make_edits(context.anatomy, plan, pooled.inputs, pooled.class_rows, ignore)
                measures += [edit.measures for edit in edits]
                advance(1)
        labels = submodule_labels(context.anatomy.submodules)
        return labels | {name: np.array([getattr(one, name) for one in measures]) for name in MEASURES}

    def conclude(self, request: AnalysisRequest, before: Observation, after: Observation | None) -> Findings:
        """Return the means over the model, by layer and by submodule."""
        values = np.stack([before[name] for name in MEASURES], axis=1)
        mean_rank = float(before["stable_rank"].mean())
        rank, projection, planned = _edit_of(request)
        summary = make_table(
            "summary",
            f"The full {projection.value} edit at rank {rank}, over all {len(values)} submodules (shares of 1)",
            ("measure", "value"),
            (
                ("mean stable rank", mean_rank),
                ("bound of the mean stable rank, as in table 9", rank / mean_rank),
                ("mean bound", float(before["energy_bound"].mean())),
                ("mean realised energy", float(before["energy"].mean())),
                ("largest realised energy", float(before["energy"].max())),
                (
                    "largest realised energy as a share of its bound",
                    float((before["energy"] / before["energy_bound"]).max()),
                ),
                ("mean overlap with the harmful subspace", float(before["harmful_overlap"].mean())),
            ),
        )
        submodules = make_table(
            "submodules",
            "The full edit of each submodule",
            ("layer", "submodule", *MEASURES),
            ((layer, kind, *map(float, means)) for layer, kind, means in submodule_means(before, values)),
        )
        energy = make_table(
            "energy",
            "Energy of the full edit under its bound, by layer, mean over its submodules",
            ("layer", "measure", "value"),
            _by_layer(before, "energy_bound", "energy"),
        )
        overlap = make_table(
            "overlap",
            "Overlap of the full edit with the harmful subspace, by layer, mean over its submodules",
            ("layer", "measure", "value"),
            _by_layer(before, "harmful_overlap"),
        )
        figures = (
            _lines(energy, "share of the weights' energy", log=True),
            _lines(overlap, "share of the harmful subspace (0 to 1)"),
        )
        tables = (summary, energy, overlap, submodules)
        return Findings(tables=tables, figures=figures, told=_told(before, projection, planned))


def _edit_of(request: AnalysisRequest) -> tuple[int, Projection, tuple[int, ...]]:
    """Return rank and projection of the edit that is looked at, and the layers of the plan; none without a plan."""
    plan = find_plan(request)
    return (plan.rank, plan.projection, plan.layers) if plan else (request.rank, request.projection, ())


def _told(seen: Observation, projection: Projection, planned: tuple[int, ...]) -> tuple[str, ...]:
    energy, bound, overlap = seen["energy"], seen["energy_bound"], seen["harmful_overlap"]
    told = [
        f"A full edit takes {100 * energy.mean():.1f} % of a submodule's energy on average and "
        f"{100 * energy.max():.1f} % at most; none takes more than {100 * (energy / bound).max():.0f} % of what "
        "Theorem 3.2 allows it.",
        f"It captures {100 * overlap.mean():.1f} % of the harmful subspace on average.",
    ]
    if planned:
        here = np.isin(seen["layers"], planned)
        told.append(
            f"In the plan's layers ({describe_layers(planned)}): {100 * energy[here].mean():.1f} % of the energy, "
            f"{100 * overlap[here].mean():.1f} % of the harmful subspace."
        )
    if projection is not Projection.ORTHOGONAL:
        told.append(
            f"The projection is {projection.value}, not the paper's orthogonal one, and the bound that of an operator "
            "which may lengthen what it reads: r max(1, ||Omega||)^2 / sr(W)."
        )
    return tuple(told)


def _by_layer(seen: Observation, *names: str) -> Iterator[tuple[Cell, ...]]:
    for name in names:
        for layer, mean in layer_means(seen, seen[name]):
            yield layer, MEASURES[name], float(mean)


def _lines(table: Table, y_label: str, *, log: bool = False) -> LineFigure:
    return LineFigure(
        name=table.name,
        title=table.title,
        table=table.name,
        x="layer",
        y="value",
        by="measure",
        x_label="layer",
        y_label=y_label,
        log=log,
    )
