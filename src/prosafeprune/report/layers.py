"""Which layers were pruned and why, and what the edit takes from each of their matrices."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter

from prosafeprune.drawing import BLUE, GREEN, GREY, ORANGE, new_figure
from prosafeprune.method.measures import EditMeasures
from prosafeprune.report.page import Block, Picture, Table

ROW_INCHES = 0.19


def silhouette_picture(by_layer: Mapping[int, float], candidates: Sequence[int], pruned: Sequence[int]) -> Picture:
    """Return how well the classes separate in each layer, with the layers that were searched and those pruned."""
    figure = new_figure()
    axes = figure.subplots()
    axes.axvspan(min(candidates) - 0.5, max(candidates) + 0.5, color=GREY, alpha=0.15, label="searched")
    axes.plot(list(by_layer), list(by_layer.values()), "o-", color=BLUE, markersize=4, label="silhouette")
    if pruned:
        heights = [by_layer[layer] for layer in pruned]
        axes.scatter(pruned, heights, s=80, marker="D", color=ORANGE, zorder=3, label="pruned")
    axes.set_xlabel("decoder layer, counted from 0")
    axes.set_ylabel("silhouette of the three prompt classes")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    figure.legend(loc="outside upper center", ncols=3, fontsize=9, frameon=False)
    peak = max(by_layer, key=lambda layer: by_layer[layer])
    chosen = f" Pruned: {_layers(pruned)}." if pruned else ""
    return Picture(
        figure,
        f"Silhouette by decoder layer, {min(by_layer)} to {max(by_layer)}. It is highest, {by_layer[peak]:.3f}, in "
        f"layer {peak}. Layers {min(candidates)} to {max(candidates)} were searched.{chosen}",
        "How well harmful, benign and pseudo-harmful prompts separate in each layer (Eq. 4): 1 is far apart, 0 is "
        "within one another.",
    )


def edit_blocks(submodules: Sequence[EditMeasures]) -> list[Block]:
    """Return what the edit takes from each kind of matrix in each pruned layer, drawn and as numbers (D.3)."""
    groups = _groups(submodules)
    names = [f"{layer} {kind}" for layer, kind in groups]
    overlap = [_percent(found, "harmful_overlap") for found in groups.values()]
    energy = [_percent(found, "energy") for found in groups.values()]
    bound = [_percent(found, "energy_bound") for found in groups.values()]
    figure = new_figure(height=1.2 + ROW_INCHES * len(names))
    left, right = figure.subplots(1, 2, sharey=True)
    places = range(len(names))
    left.scatter(overlap, places, color=BLUE, s=24)
    left.set_xlabel("harmful subspace captured, %")
    left.set_xlim(left=0)
    right.scatter(energy, places, color=GREEN, marker="D", s=22, label="energy along Ω")
    right.scatter(bound, places, color=ORANGE, marker="|", s=60, label="bound r / sr(W)")
    right.set_xscale("log")
    right.xaxis.set_major_formatter(ScalarFormatter())
    right.xaxis.set_minor_formatter(NullFormatter())
    right.set_xlabel("energy of the matrix, %")
    left.set_yticks(places, names)
    left.set_ylabel("layer and matrix")
    left.invert_yaxis()
    for axes in (left, right):
        axes.grid(alpha=0.25)
    figure.legend(loc="outside upper right", ncols=2, fontsize=9, frameon=False)
    picture = Picture(
        figure,
        f"For each of {len(names)} matrices: the share of the harmful subspace that the overlap operator captures, "
        f"{min(overlap):.1f} to {max(overlap):.1f} %, and the share of the matrix's energy along it, {min(energy):.2g} "
        f"to {max(energy):.2g} %. The table below has the numbers.",
        "Left: how much of the harmful subspace the overlap operator captures. Right: how much of the matrix's energy "
        "lies along it, at strength 1, against the most that Theorem 3.2 allows.",
    )
    rows = [
        [name, f"{one:.1f}", f"{two:.3g}", f"{three:.3g}", f"{_mean(found, 'stable_rank'):.1f}"]
        for name, one, two, three, found in zip(names, overlap, energy, bound, groups.values(), strict=True)
    ]
    headings = ["layer and matrix", "harmful subspace\ncaptured, %", "energy\n%", "its bound\n%", "stable rank"]
    return [picture, Table("What the edit takes from each matrix", headings, rows)]


def _groups(submodules: Sequence[EditMeasures]) -> dict[tuple[int, str], list[EditMeasures]]:
    """Return the submodules of each kind in each layer: one, but for experts."""
    groups: dict[tuple[int, str], list[EditMeasures]] = {}
    for one in submodules:
        groups.setdefault((one.layer, one.kind), []).append(one)
    return groups


def _mean(found: Sequence[EditMeasures], name: str) -> float:
    return statistics.fmean(getattr(one, name) for one in found)


def _percent(found: Sequence[EditMeasures], name: str) -> float:
    return 100 * _mean(found, name)


def _layers(layers: Sequence[int]) -> str:
    return f"layer{'' if len(layers) == 1 else 's'} {', '.join(str(layer) for layer in layers)}"
