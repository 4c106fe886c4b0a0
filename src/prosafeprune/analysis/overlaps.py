"""How much the subspaces of two classes have in common, rank by rank (D.1, figure 9)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from prosafeprune.analysis.base import Observation
from prosafeprune.analysis.context import Context, Pooled
from prosafeprune.analysis.result import Findings, LineFigure, Table, make_table
from prosafeprune.analysis.summaries import layer_means, submodule_labels
from prosafeprune.method.subspaces import independent_directions, subspace_overlap
from prosafeprune.model.submodule import Submodule
from prosafeprune.prompts import PromptClass

RANKS = (1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18, 20, 24, 28, 32, 40, 48, 64)
PAIRS = {
    "harmful, pseudo-harmful": (PromptClass.HARMFUL, PromptClass.PSEUDO_HARMFUL),
    "harmful, benign": (PromptClass.HARMFUL, PromptClass.BENIGN),
    "pseudo-harmful, benign": (PromptClass.PSEUDO_HARMFUL, PromptClass.BENIGN),
}
THE_PAPERS = "harmful, pseudo-harmful"
CHANCE = "two random subspaces"


def observe_overlaps(context: Context) -> Observation:
    """Return for each pair of classes the overlap ``(submodules, ranks)``, NaN where a subspace is smaller."""
    pooled, submodules = context.pooled("calibration"), context.anatomy.submodules
    ranks = sorted({*RANKS, context.request.rank})
    rows: dict[str, list[list[float]]] = {name: [] for name in (*PAIRS, CHANCE)}
    with context.reporter.stage("Overlaps", len(submodules)) as advance, torch.inference_mode():
        for submodule in submodules:
            for name, overlaps in _overlaps(pooled, submodule, ranks):
                rows[name].append(overlaps)
            advance(1)
    found = {f"overlap {name}": np.array(values) for name, values in rows.items()}
    return {**submodule_labels(submodules), "ranks": np.array(ranks), **found}


def overlap_findings(seen: Observation, rank: int) -> Findings:
    """Return where the overlap is least, its course over ranks, and that of each layer; ``rank`` is marked."""
    series = {name: seen[f"overlap {name}"] for name in (*PAIRS, CHANCE)}
    overlaps = make_table(
        "overlap",
        "Overlap(r): mean cosine of the principal angles; mean and middle 80 % of the submodules",
        ("subspaces", "rank", "overlap", "low", "high", "submodules"),
        (
            (name, int(one), float(there.mean()), *map(float, np.quantile(there, [0.1, 0.9])), len(there))
            for name, values in series.items()
            for one, column in zip(seen["ranks"], values.T, strict=True)
            for there in [column[~np.isnan(column)]]
            if len(there)
        ),
    )
    layers = make_table(
        "layers",
        f"Overlap of the {THE_PAPERS} subspaces by layer, mean over its submodules",
        ("layer", "rank", "overlap"),
        (
            (layer, int(one), None if np.isnan(value) else float(value))
            for layer, values in layer_means(seen, series[THE_PAPERS])
            for one, value in zip(seen["ranks"], values, strict=True)
        ),
    )
    figure = LineFigure(
        name="overlap",
        title=f"Overlap of subspaces by rank; band: middle 80 % of the submodules, {THE_PAPERS}",
        table="overlap",
        x="rank",
        y="overlap",
        by="subspaces",
        low="low",
        high="high",
        band_of=(THE_PAPERS,),
        mark=rank,
        mark_label=f"rank asked for, {rank}",
        x_label="rank r",
        y_label="mean cosine of principal angles (0 to 1)",
    )
    least = _least(overlaps, rank)
    return Findings(tables=(least, overlaps, layers), figures=(figure,), told=_told(least, overlaps, rank))


FLAT = 0.01
"""Overlaps that are nearer than this are told as equal."""


def _told(least: Table, overlaps: Table, rank: int) -> tuple[str, ...]:
    by_name = {str(row[0]): row for row in least.rows}
    _, where, there, at_rank = by_name[THE_PAPERS]
    course = {int(str(row[1])): float(str(row[2])) for row in overlaps.rows if row[0] == THE_PAPERS}
    near = [one for one, value in course.items() if value - float(str(there)) < FLAT]
    others = ", ".join(f"{name} {float(str(row[2])):.2f}" for name, row in by_name.items() if name != THE_PAPERS)
    told = f"The {THE_PAPERS} subspaces have least in common at rank {where}, {float(str(there)):.2f}"
    told += "" if at_rank is None else f" (rank {rank}: {float(str(at_rank)):.2f})"
    told += f"; within {FLAT} of it are ranks {min(near)} to {max(near)}." if len(near) > 1 else "."
    return (
        told,
        f"Least overlaps of the others: {others}. Near rank 1 an overlap is that of the mean activations, which all "
        "prompts share; near the number of prompts it is bound to rise.",
    )


def _least(overlaps: Table, rank: int) -> Table:
    """Return for each pair of subspaces the rank at which they have least in common."""
    by_name: dict[str, dict[int, float]] = {}
    for name, one, overlap, *_ in overlaps.rows:
        by_name.setdefault(str(name), {})[int(str(one))] = float(str(overlap))
    return make_table(
        "least",
        "Where two subspaces have least in common, mean over submodules",
        ("subspaces", "least_at_rank", "overlap_there", f"overlap_at_rank_{rank}"),
        (
            (name, least, one[least], one.get(rank))
            for name, one in by_name.items()
            for least in [min(one, key=one.__getitem__)]
        ),
    )


def _overlaps(pooled: Pooled, submodule: Submodule, ranks: list[int]) -> Iterator[tuple[str, list[float]]]:
    """Yield for each pair of classes, and for chance, the overlap at each rank."""
    directions = {
        name: independent_directions(torch.from_numpy(pooled.activations(submodule, name)).T) for name in PromptClass
    }
    width = directions[PromptClass.HARMFUL].shape[0]
    chance = torch.Generator().manual_seed(0)
    draws = torch.randn(2, width, min(width, ranks[-1]), generator=chance, dtype=torch.float64)
    random = torch.linalg.qr(draws)[0]
    for name, (one, other) in PAIRS.items():
        yield name, [_overlap(directions[one], directions[other], rank) for rank in ranks]
    widest = min(one.shape[1] for one in directions.values())
    yield CHANCE, [_overlap(random[0, :, :widest], random[1, :, :widest], rank) for rank in ranks]


def _overlap(one: torch.Tensor, other: torch.Tensor, rank: int) -> float:
    if rank > min(one.shape[1], other.shape[1]):
        return float("nan")
    return subspace_overlap(one[:, :rank], other[:, :rank])
