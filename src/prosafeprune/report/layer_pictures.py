"""Figures of the layers: why some were pruned, and what the edit removes from each matrix."""

import statistics
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter

from prosafeprune.editing.edits import EditMeasures
from prosafeprune.method.plan import layer_runs, listed_layers
from prosafeprune.plan_search.search_record import SearchRecord
from prosafeprune.plotting import BLUE, GREEN, GREY, ORANGE, new_axes, new_figure
from prosafeprune.report.grid import Grid
from prosafeprune.report.page import Block, Picture

ROW_INCHES = 0.19


def layer_pictures(search: SearchRecord, pruned: Sequence[int]) -> list[Picture]:
    """Return the search's figures by layer, with the searched and the pruned layers marked."""
    pictures = [_silhouettes(search, pruned)] if search.silhouettes else []
    return [*pictures, _plans(search, pruned)] if search.points else pictures


def _silhouettes(search: SearchRecord, pruned: Sequence[int]) -> Picture:
    by_layer = search.silhouettes
    figure, axes = _by_layer("silhouette of the three prompt classes")
    for i, layer in enumerate(search.candidates):
        axes.axvspan(layer - 0.5, layer + 0.5, color=GREY, alpha=0.15, linewidth=0, label="" if i else "searched")
    axes.plot(list(by_layer), list(by_layer.values()), "o-", color=BLUE, markersize=4, label="silhouette")
    _mark(axes, {layer: by_layer[layer] for layer in pruned})
    figure.legend(loc="outside upper center", ncols=3, fontsize=9, frameon=False)
    peak = max(by_layer, key=lambda layer: by_layer[layer])
    return Picture(
        figure,
        f"Silhouette by decoder layer, {min(by_layer)} to {max(by_layer)}. It is highest in layer {peak}, "
        f"{by_layer[peak]:.3f}. Searched: {listed_layers(search.candidates)}. Pruned: {listed_layers(pruned)}.",
        "How well harmful, benign and pseudo-harmful prompts separate in each layer (Eq. 4): 1 is far apart, 0 "
        "overlapping.",
    )


def _plans(search: SearchRecord, pruned: Sequence[int]) -> Picture:
    figure, axes = _by_layer("T.S. on validation prompts, %")
    kinds = {"measured": (BLUE, 3.0, "-"), "estimated": (GREY, 1.5, "--")}
    for point in search.points:
        kind = "measured" if point.measured is not None else "estimated"
        colour, width, dashes = kinds[kind]
        if point.plan.layers == tuple(pruned):
            kind, colour = "pruned layers", ORANGE
        rate = sum(point.rates) / 2
        for run in layer_runs(point.plan.layers):
            ends = [run[0] - 0.4, run[-1] + 0.4]
            axes.plot(ends, [rate, rate], color=colour, linewidth=width, linestyle=dashes, label=kind)
    axes.axhline(search.source.tradeoff_score, color=GREEN, linestyle=":", linewidth=1, label="base model")
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="outside upper center", ncols=3, fontsize=9, frameon=False)
    best = max(search.points, key=lambda point: sum(point.rates))
    return Picture(
        figure,
        f"T.S. of {len(search.points)} plans by the layers they prune. The highest, {sum(best.rates) / 2:.1f} %, "
        f"prunes {best.plan.layers_in_words}; the base model has {search.source.tradeoff_score:.1f} %.",
        "Each line is a plan on offer, over the layers that it prunes; dashed: not measured, only estimated.",
    )


def _by_layer(y_label: str) -> tuple[Figure, Axes]:
    figure, axes = new_axes("decoder layer, counted from 0", y_label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure, axes


def _mark(axes: Axes, heights: Mapping[int, float]) -> None:
    """Mark the pruned layers."""
    if heights:
        axes.scatter(list(heights), list(heights.values()), s=80, marker="D", color=ORANGE, zorder=3, label="pruned")


def edit_blocks(submodules: Sequence[EditMeasures]) -> list[Block]:
    """Return what the edit removes from each kind of matrix in each pruned layer, as figure and table (D.3)."""
    groups = _groups(submodules)
    names = [f"{layer} {kind}" for layer, kind in groups]
    overlap = [_percent(found, "harmful_overlap") for found in groups.values()]
    energy = [_percent(found, "energy") for found in groups.values()]
    bound = [_percent(found, "energy_bound") for found in groups.values()]
    figure = new_figure(height=1.2 + ROW_INCHES * len(names))
    left, right = figure.subplots(1, 2, sharey=True)
    rows = range(len(names))
    left.scatter(overlap, rows, color=BLUE, s=24)
    left.set_xlabel("harmful subspace captured, %")
    left.set_xlim(left=0)
    right.scatter(energy, rows, color=GREEN, marker="D", s=22, label="energy along Ω")
    right.scatter(bound, rows, color=ORANGE, marker="|", s=60, label="bound r / sr(W)")
    right.set_xscale("log")
    right.xaxis.set_major_formatter(ScalarFormatter())
    right.xaxis.set_minor_formatter(NullFormatter())
    right.set_xlabel("energy of the matrix, %")
    left.set_yticks(rows, names)
    left.set_ylabel("layer and matrix")
    left.invert_yaxis()
    for axes in (left, right):
        axes.grid(alpha=0.25)
    figure.legend(loc="outside upper right", ncols=2, fontsize=9, frameon=False)
    picture = Picture(
        figure,
        f"For each of {len(names)} matrices: the share of the harmful subspace that the overlap operator captures, "
        f"{min(overlap):.1f} to {max(overlap):.1f} %, and the share of the matrix's energy that it removes, "
        f"{min(energy):.2g} to {max(energy):.2g} %. The table below has the numbers.",
        "Left: share of the harmful subspace that the overlap operator captures. Right: share of the matrix's energy "
        "that it removes at strength 1, and the bound of Theorem 3.2.",
    )
    cells = [
        [name, f"{captured:.1f}", f"{removed:.3g}", f"{limit:.3g}", f"{_mean(found, 'stable_rank'):.1f}"]
        for name, captured, removed, limit, found in zip(names, overlap, energy, bound, groups.values(), strict=True)
    ]
    headings = ["layer and matrix", "harmful subspace\ncaptured, %", "energy\n%", "bound\n%", "stable rank"]
    return [picture, Grid("What the edit removes from each matrix", headings, cells)]


def _groups(submodules: Sequence[EditMeasures]) -> dict[tuple[int, str], list[EditMeasures]]:
    """Return the submodules by layer and kind: one each, several for experts."""
    groups: dict[tuple[int, str], list[EditMeasures]] = {}
    for submodule in submodules:
        groups.setdefault((submodule.layer, submodule.kind), []).append(submodule)
    return groups


def _mean(found: Sequence[EditMeasures], name: str) -> float:
    return statistics.fmean(getattr(measures, name) for measures in found)


def _percent(found: Sequence[EditMeasures], name: str) -> float:
    return 100 * _mean(found, name)
